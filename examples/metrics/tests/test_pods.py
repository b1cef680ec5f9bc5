"""What is a Pod, and what its containers are."""

import pytest
from conftest import BOOTED, FakeHost

from hostmetrics import cgroups
from hostmetrics.names import label, numbered
from hostmetrics.pods import NAME_LABEL, Pod, pods, unit
from hostmetrics.procfs import Proc

ID = "0123456789abcdef" * 4
UID = "pod1b2c3d4e_0000_4000_8000_123456789abc"


def found(host: FakeHost) -> dict[tuple[str, str], Pod]:
    hierarchy = cgroups.find(host.cgroup)
    return {(pod.namespace, pod.name): pod for pod in pods(Proc(host.proc).processes(), hierarchy, BOOTED)}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", None),
        ("/user.slice", None),
        ("/system.slice/ssh.service", ("/system.slice/ssh.service", "system", "ssh")),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            ("/system.slice/system-getty.slice/getty@tty1.service", "system", "getty-tty1"),
        ),
        (
            r"/system.slice/dev\x2dsda.mount",
            (r"/system.slice/dev\x2dsda.mount", "system", "dev-sda"),
        ),
        (
            f"/system.slice/docker-{ID}.scope",
            (f"/system.slice/docker-{ID}.scope", "system", "docker-0123456789ab"),
        ),
        (f"/docker/{ID}", (f"/docker/{ID}", "docker", "0123456789ab")),
        (f"/docker/{ID}/inner", (f"/docker/{ID}", "docker", "0123456789ab")),
        (
            "/user.slice/user-1000.slice/session-2.scope",
            ("/user.slice/user-1000.slice/session-2.scope", "user-1000", "session-2"),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/term.service",
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/term.service", "user-1000", "term"),
        ),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{UID}.slice/cri-{ID}.scope",
            (
                f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{UID}.slice",
                "kubepods",
                UID.replace("_", "-"),
            ),
        ),
        (
            f"/kubepods/burstable/{UID.replace('_', '-')}/{ID}",
            (f"/kubepods/burstable/{UID.replace('_', '-')}", "kubepods", UID.replace("_", "-")),
        ),
        ("/init.scope", ("/init.scope", "default", "init")),
    ],
)
def test_which_cgroup_is_a_pod(path: str, expected: tuple[str, str, str] | None) -> None:
    unit_found = unit(path)
    assert (unit_found and (unit_found.path, unit_found.namespace, unit_found.name)) == expected


def test_a_unit_is_a_pod_with_the_counters_of_its_cgroup(host: FakeHost) -> None:
    host.unified("/system.slice/db.service", usage_usec=5, current=1000, inactive_file=400)
    host.process(10, name="postgres", started=500, cgroup="0::/system.slice/db.service\n")
    host.process(11, name="postgres", started=600, cgroup="0::/system.slice/db.service\n")
    pod = found(host)["system", "db"]
    (container,) = pod.containers
    assert (container.name, container.cpu_ns, container.memory) == ("postgres", 5000, 600)
    assert pod.started == container.started == 5.0
    assert pod.labels == {NAME_LABEL: "db"}


def test_cgroups_below_a_unit_are_its_containers(host: FakeHost) -> None:
    for name, usage in (("a.scope", 1), ("b.scope/leaf", 2)):
        host.unified(f"/docker/{ID}/{name}", usage_usec=usage, current=usage)
        host.process(usage + 10, cgroup=f"0::/docker/{ID}/{name}\n")
    host.unified(f"/docker/{ID}/b.scope", usage_usec=7, current=8)
    host.process(20, name="init", ticks=(3, 0), cgroup=f"0::/docker/{ID}\n")
    containers = {each.name: each for each in found(host)["docker", "0123456789ab"].containers}
    assert containers["a"].cpu_ns == 1000
    assert (containers["b"].cpu_ns, containers["b"].memory) == (7000, 8), "what is below is counted with it"
    assert containers["init"].key.startswith("process:"), "the unit's own counters have the others in them"


def test_in_a_container_the_paths_count_from_its_own_cgroup(host: FakeHost) -> None:
    own = f"/system.slice/docker-{ID}.scope"
    host.unified(own, usage_usec=1)
    host.unified("/system.slice/ssh.service", usage_usec=2)
    host.process(10, name="hostmetrics", cgroup="0::/\n")
    host.process(11, name="sshd", cgroup="0::/../ssh.service\n")
    hierarchy = cgroups.find(host.cgroup, namespace=host.cgroup / own.lstrip("/"))
    found = {pod.name: pod for pod in pods(Proc(host.proc).processes(), hierarchy, BOOTED)}
    assert set(found) == {"docker-0123456789ab", "ssh"}
    assert found["ssh"].namespace == "system"
    assert found["ssh"].containers[0].cpu_ns == 2000


def test_a_path_that_leads_nowhere_ends_at_the_root(host: FakeHost) -> None:
    host.unified("/")
    host.process(10, name="sshd", cgroup="0::/../../ssh.service\n")
    hierarchy = cgroups.find(host.cgroup, namespace=host.root / "elsewhere")
    (pod,) = pods(Proc(host.proc).processes(), hierarchy, BOOTED)
    assert (pod.namespace, pod.name) == ("default", "ssh")


def test_version_one(host: FakeHost) -> None:
    host.legacy("/docker/x", usage_ns=123, usage_bytes=1000, inactive_file=1)
    host.process(10, name="app", cgroup="3:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n0::/\n")
    (container,) = found(host)["docker", "x"].containers
    assert (container.name, container.cpu_ns, container.memory) == ("app", 123, 999)


def test_a_cgroup_that_nobody_counts_for_is_counted_by_process(host: FakeHost) -> None:
    host.unified("/")
    host.process(10, name="app", pages=2, cgroup="0::/system.slice/app.service\n")
    host.process(11, name="app", started=2000, cgroup="0::/system.slice/app.service\n")
    pod = found(host)["system", "app"]
    assert [container.name for container in pod.containers] == ["app", "app-2"]


def test_without_cgroups_a_process_group_is_a_pod(host: FakeHost) -> None:
    host.process(10, name="Bash", group=10)
    host.process(11, name="make", group=10, started=1100)
    host.process(12, name="make", group=10, started=1200)
    host.process(13, name="sshd", group=13)
    every = found(host)
    assert set(every) == {("default", "bash-10"), ("default", "sshd-13")}
    pod = every["default", "bash-10"]
    assert [container.name for container in pod.containers] == ["bash", "make", "make-2"]
    assert pod.labels == {NAME_LABEL: "bash"}


def test_a_group_whose_leader_has_ended_is_called_after_its_oldest_process(host: FakeHost) -> None:
    host.process(21, name="late", group=20, started=2000)
    host.process(22, name="early", group=20, started=1000)
    assert set(found(host)) == {("default", "early-20")}


def test_no_two_pods_have_one_name(host: FakeHost) -> None:
    for pid, name in ((10, "a.b"), (11, "a-b")):
        host.process(pid, started=pid, cgroup=f"0::/system.slice/{name}.service\n")
    host.unified("/")
    every = found(host)
    assert set(every) == {("system", "a-b"), ("system", "a-b-2")}
    assert every["system", "a-b"].started < every["system", "a-b-2"].started


def test_a_service_that_is_made_again_has_another_key(host: FakeHost) -> None:
    host.process(10, cgroup="0::/system.slice/a.service\n")
    host.unified("/system.slice/a.service", usage_usec=9)
    before = found(host)["system", "a"].containers[0]
    (host.cgroup / "system.slice/a.service").rename(host.cgroup / "gone")
    host.unified("/system.slice/a.service", usage_usec=1)
    after = found(host)["system", "a"].containers[0]
    assert before.key != after.key
    assert after.counted_since >= before.counted_since


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Web Server (v2)", "web-server-v2"), ("---", "x"), ("", "x"), ("z" * 80, "z" * 63), ("ü", "x")],
)
def test_labels_are_dns_labels(text: str, expected: str) -> None:
    assert label(text) == expected


def test_a_number_never_makes_a_name_too_long() -> None:
    assert numbered("z" * 80, 4194304) == "z" * 55 + "-4194304"
