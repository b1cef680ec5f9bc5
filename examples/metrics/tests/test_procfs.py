"""What is read from /proc."""

import os

import pytest
from conftest import BOOTED, GIB, FakeHost

from hostmetrics.procfs import NANOSECONDS, Proc

TICK = NANOSECONDS // os.sysconf("SC_CLK_TCK")


def test_the_host(host: FakeHost) -> None:
    found = Proc(host.proc).host()
    assert (found.name, found.kernel, found.cpus) == ("Build_Host.example", "6.1.0-test", 2)
    assert (found.memory, found.booted) == (8 * GIB, float(BOOTED))
    assert found.boot_id == "11111111-0000-4000-8000-000000000000"


def test_work_is_neither_idle_nor_waiting_nor_a_guest_counted_twice(host: FakeHost) -> None:
    host.at(uptime=123.45, busy=[100, 30, 7])
    proc = Proc(host.proc)
    assert proc.cpu_ns() == 137 * TICK
    assert proc.uptime_ns() == 123_450_000_000


def test_the_working_set_leaves_out_the_idle_file_cache(host: FakeHost) -> None:
    host.memory(free=5 * GIB, inactive_file=2 * GIB)
    assert Proc(host.proc).memory() == GIB


def test_a_process(host: FakeHost) -> None:
    host.process(7, name="a) (b c", group=5, ticks=(11, 22), started=333, pages=10, cgroup="0::/x.slice\n")
    (found,) = Proc(host.proc).processes()
    assert (found.pid, found.name, found.group) == (7, "a) (b c", 5)
    assert (found.cpu_ns, found.started_ticks) == (33 * TICK, 333)
    assert found.memory == 10 * os.sysconf("SC_PAGE_SIZE")
    assert found.cgroups == {"": "/x.slice"}


def test_controllers_that_share_a_hierarchy_have_one_path(host: FakeHost) -> None:
    host.process(7, cgroup="4:cpu,cpuacct:/a\n3:memory:/b:c\n1:name=systemd:/d\n0::/\n")
    (found,) = Proc(host.proc).processes()
    assert found.cgroups == {"cpu": "/a", "cpuacct": "/a", "memory": "/b:c", "name=systemd": "/d", "": "/"}


def test_kernel_threads_and_what_has_ended_are_left_out(host: FakeHost) -> None:
    host.process(2, name="kthreadd", parent=0)
    host.process(3, name="rcu_gp", parent=2)
    host.process(4, name="zombie", state="Z")
    host.process(5)
    (host.proc / "6").mkdir()
    assert [process.pid for process in Proc(host.proc).processes()] == [5]


def test_a_process_that_cannot_be_read_is_left_out_with_a_line_in_the_log(
    host: FakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    host.process(5)
    host.process(6)
    (host.proc / "6/stat").write_text("6 (short) S 1\n", encoding="utf-8")
    assert [process.pid for process in Proc(host.proc).processes()] == [5]
    assert "process 6 is left out" in caplog.text


def test_the_real_proc_has_this_process() -> None:
    from pathlib import Path

    found = {process.pid: process for process in Proc(Path("/proc")).processes()}
    mine = found[os.getpid()]
    assert mine.memory > 1024 * 1024
    assert mine.group == os.getpgid(0)
