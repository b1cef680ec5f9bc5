"""Hosts made of files: a /proc and a /sys/fs/cgroup that a test writes as it likes."""

from dataclasses import dataclass
from pathlib import Path

import pytest

GIB = 1024 * 1024 * 1024
BOOTED = 1_700_000_000


@dataclass
class FakeHost:
    """Two processors and 8 GiB."""

    root: Path

    @property
    def proc(self) -> Path:
        return self.root / "proc"

    @property
    def cgroup(self) -> Path:
        return self.root / "cgroup"

    def boot(self, boot_id: str = "11111111-0000-4000-8000-000000000000") -> None:
        write(self.proc / "sys/kernel/random/boot_id", boot_id + "\n")
        write(self.proc / "sys/kernel/hostname", "Build_Host.example\n")
        write(self.proc / "sys/kernel/osrelease", "6.1.0-test\n")
        self.at(uptime=100.0, busy=[0, 0, 0])
        self.memory(free=6 * GIB, inactive_file=GIB)

    def at(self, uptime: float, busy: list[int]) -> None:
        """`busy`: ticks of user, system and softirq."""
        user, system, softirq = busy
        write(self.proc / "uptime", f"{uptime:.2f} 1.00\n")
        line = f"{user} 0 {system} 99999 77777 0 {softirq} 0 5 0"
        write(self.proc / "stat", f"cpu  {line}\ncpu0 {line}\ncpu1 {line}\nbtime {BOOTED}\nprocesses 9\n")

    def memory(self, free: int, inactive_file: int) -> None:
        rows = {"MemTotal": 8 * GIB, "MemFree": free, "Inactive(file)": inactive_file}
        lines = [f"{name}:    {value // 1024} kB" for name, value in rows.items()]
        write(self.proc / "meminfo", "\n".join([*lines, "HugePages_Total:       0"]) + "\n")

    def process(
        self,
        pid: int,
        name: str = "worker",
        group: int | None = None,
        parent: int = 1,
        ticks: tuple[int, int] = (0, 0),
        started: int = 1000,
        pages: int = 256,
        cgroup: str = "0::/\n",
        state: str = "S",
    ) -> None:
        """`ticks`: in user and in kernel mode. `started`: ticks since boot."""
        columns = [state, parent, group or pid, pid, 0, -1, 0, 0, 0, 0, 0, *ticks, 0, 0, 20, 0, 1, 0, started, 0, 0]
        write(self.proc / str(pid) / "stat", f"{pid} ({name}) {' '.join(map(str, columns))}\n")
        write(self.proc / str(pid) / "statm", f"{2 * pages} {pages} 3 1 0 5 0\n")
        write(self.proc / str(pid) / "cgroup", cgroup)

    def unified(self, path: str, usage_usec: int = 0, current: int = 0, inactive_file: int = 0) -> None:
        """A cgroup of version 2, with its counters."""
        write(self.cgroup / "cgroup.controllers", "cpu memory\n")
        directory = self.cgroup / path.lstrip("/")
        write(directory / "cpu.stat", f"usage_usec {usage_usec}\nuser_usec 1\nsystem_usec 1\n")
        write(directory / "memory.current", f"{current}\n")
        write(directory / "memory.stat", f"anon 5\ninactive_file {inactive_file}\n")

    def legacy(self, path: str, usage_ns: int, usage_bytes: int, inactive_file: int) -> None:
        """A cgroup of version 1, with its counters."""
        write(self.cgroup / "cpuacct" / path.lstrip("/") / "cpuacct.usage", f"{usage_ns}\n")
        directory = self.cgroup / "memory" / path.lstrip("/")
        write(directory / "memory.usage_in_bytes", f"{usage_bytes}\n")
        write(directory / "memory.stat", f"cache 1\ntotal_inactive_file {inactive_file}\n")


def write(file: Path, text: str) -> None:
    """At once: a sampler may be reading."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    fake = FakeHost(tmp_path)
    fake.boot()
    return fake
