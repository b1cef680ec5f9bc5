"""What /proc says: the host as a whole, and each process.

Formats: proc(5). Times in /proc are in ticks (`sysconf(_SC_CLK_TCK)`), since boot.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

# Columns of a `cpu` line in /proc/stat that are work: user, nice, system, irq, softirq, steal.
# Guests are in user and nice already; idle and iowait are no work.
_BUSY = (0, 1, 2, 5, 6, 7)

# The parent of all kernel threads.
_KTHREADD = 2


@dataclass(frozen=True)
class Process:
    """One process at one moment."""

    pid: int
    name: str
    """At most 15 bytes, as the kernel keeps it."""
    group: int
    """The process group's id."""
    started_ticks: int
    """Since boot. With the pid it names a process for good."""
    cpu_ns: int
    """Of all its threads, since it was started."""
    memory: int
    """Resident bytes, shared ones included."""
    cgroups: dict[str, str]
    """The path by controller; "" is the unified hierarchy (v2)."""


@dataclass(frozen=True)
class Host:
    """What is true of the host until it is booted again."""

    boot_id: str
    booted: float
    """Seconds since 1970."""
    name: str
    kernel: str
    cpus: int
    memory: int
    """Bytes."""


def ticks_to_seconds(ticks: int) -> float:
    """Since boot."""
    return ticks / _TICKS


class Proc:
    """A proc file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def host(self) -> Host:
        """Raises OSError or ValueError where this is no proc file system."""
        stat = self._lines("stat")
        return Host(
            boot_id=self._text("sys/kernel/random/boot_id"),
            booted=float(next(line.split()[1] for line in stat if line.startswith("btime "))),
            name=self._text("sys/kernel/hostname"),
            kernel=self._text("sys/kernel/osrelease"),
            cpus=sum(1 for line in stat if line.startswith("cpu") and line[3].isdigit()),
            memory=self._meminfo()["MemTotal"],
        )

    def cpu_ns(self) -> int:
        """What all processors have worked since boot."""
        columns = self._lines("stat")[0].split()[1:]
        return sum(int(columns[index]) for index in _BUSY) * NANOSECONDS // _TICKS

    def memory(self) -> int:
        """The working set in bytes, as the kubelet counts it: what is used, less the file cache that nobody
        has asked for lately."""
        info = self._meminfo()
        return max(0, info["MemTotal"] - info["MemFree"] - info.get("Inactive(file)", 0))

    def uptime_ns(self) -> int:
        """Since boot, on the clock that goes on in suspend."""
        seconds, _, fraction = self._text("uptime").split()[0].partition(".")
        return int(seconds) * NANOSECONDS + int(fraction.ljust(9, "0")[:9])

    def processes(self) -> Iterator[Process]:
        """Without kernel threads. A process that ends meanwhile is left out."""
        for entry in self._root.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                process = _process(entry)
            except (FileNotFoundError, ProcessLookupError):
                continue
            except (OSError, ValueError, IndexError) as error:
                log.warning("process %s is left out: %s", entry.name, error)
                continue
            if process is not None:
                yield process

    def _meminfo(self) -> dict[str, int]:
        info = {}
        for line in self._lines("meminfo"):
            name, _, value = line.partition(":")
            number, *unit = value.split()
            info[name] = int(number) * (1024 if unit == ["kB"] else 1)
        return info

    def _text(self, name: str) -> str:
        return (self._root / name).read_text(encoding="utf-8").strip()

    def _lines(self, name: str) -> list[str]:
        return self._text(name).splitlines()


def _process(entry: Path) -> Process | None:
    # The name may hold anything, spaces and parentheses too: the last parenthesis ends it.
    head, _, tail = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    pid, _, name = head.partition(" (")
    # From the third column of proc(5) on.
    columns = tail.split()
    state, parent = columns[0], int(columns[1])
    if int(pid) == _KTHREADD or parent == _KTHREADD or state in "ZX":
        return None
    return Process(
        pid=int(pid),
        name=name,
        group=int(columns[2]),
        started_ticks=int(columns[19]),
        cpu_ns=(int(columns[11]) + int(columns[12])) * NANOSECONDS // _TICKS,
        # What `stat` says of it is an estimate (proc(5)).
        memory=int((entry / "statm").read_text(encoding="ascii").split()[1]) * _PAGE,
        cgroups=_cgroups((entry / "cgroup").read_text(encoding="utf-8", errors="replace")),
    )


def _cgroups(text: str) -> dict[str, str]:
    """`ID:CONTROLLERS:PATH` a line (cgroups(7))."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found
