"""What the cgroup file systems say: processor time and memory of a cgroup and all below it."""

import os
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import Protocol

from hostmetrics.procfs import Process


@dataclass(frozen=True)
class Usage:
    """What a cgroup counts."""

    identity: int
    """Another one for a cgroup that is made again in the same place."""
    made: float
    """Seconds since 1970."""
    cpu_ns: int
    """Since it was made."""
    memory: int
    """The working set in bytes."""


class Hierarchy(Protocol):
    """How a version of cgroups is read."""

    def path(self, process: Process) -> str:
        """The cgroup of a process; "/" where it is in none."""

    def usage(self, path: str) -> Usage | None:
        """None: the cgroup cannot be seen from here, or nobody counts for it."""


class Unified:
    """cgroup v2 (Documentation/admin-guide/cgroup-v2.rst)."""

    def __init__(self, root: Path, namespace: Path) -> None:
        """`namespace`: where this process sees the root of its own cgroup namespace."""
        self._root = root
        self._base = _place(root, namespace)

    def path(self, process: Process) -> str:
        # In a container /proc counts from the container's own cgroup: its neighbour is "/../neighbour".
        return normpath(self._base + process.cgroups.get("", "/"))

    def usage(self, path: str) -> Usage | None:
        directory = self._root / path.lstrip("/")
        try:
            cpu = _fields(directory / "cpu.stat")["usage_usec"] * 1000
            memory = _number(directory / "memory.current")
            inactive = _fields(directory / "memory.stat").get("inactive_file", 0)
            return _usage(directory, cpu, memory - inactive)
        except (OSError, ValueError, KeyError):
            return None


class Legacy:
    """cgroup v1: a hierarchy for each controller. The one of cpuacct says what belongs together."""

    def __init__(self, cpuacct: Path, memory: Path) -> None:
        self._cpuacct, self._memory = cpuacct, memory

    def path(self, process: Process) -> str:
        return normpath(process.cgroups.get("cpuacct", "/"))

    def usage(self, path: str) -> Usage | None:
        cpuacct, memory = self._cpuacct / path.lstrip("/"), self._memory / path.lstrip("/")
        try:
            cpu = _number(cpuacct / "cpuacct.usage")
            used = _number(memory / "memory.usage_in_bytes")
            inactive = _fields(memory / "memory.stat").get("total_inactive_file", 0)
            return _usage(cpuacct, cpu, used - inactive)
        except (OSError, ValueError, KeyError):
            return None


class Absent:
    """There are no cgroups to see."""

    def path(self, process: Process) -> str:
        return "/"

    def usage(self, path: str) -> Usage | None:
        return None


def find(root: Path, namespace: Path = Path("/sys/fs/cgroup")) -> Hierarchy:
    """What is mounted at `root`. Where both versions are, the controllers are in v1."""
    if (root / "cgroup.controllers").exists():
        return Unified(root, namespace)
    if (root / "cpuacct").exists() and (root / "memory").exists():
        return Legacy(root / "cpuacct", root / "memory")
    return Absent()


def _place(root: Path, namespace: Path) -> str:
    """The path of a directory below `root`, by what it is, not by what it is called here; "": it is not there."""
    try:
        wanted = namespace.stat()
    except OSError:
        return ""
    for directory, _, _ in os.walk(root):
        try:
            found = os.path.samestat(os.stat(directory), wanted)
        except OSError:
            continue
        if found:
            return directory.removeprefix(str(root))
    return ""


def _usage(directory: Path, cpu_ns: int, memory: int) -> Usage:
    status = directory.stat()
    return Usage(status.st_ino, status.st_ctime, cpu_ns, max(0, memory))


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _fields(file: Path) -> dict[str, int]:
    pairs = (line.split() for line in file.read_text(encoding="ascii").splitlines())
    return {name: int(value) for name, value in pairs}
