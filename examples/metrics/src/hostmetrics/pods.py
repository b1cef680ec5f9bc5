"""Which processes belong together: what is a Pod, and what are its containers.

A Pod is the topmost cgroup of a process that is more than a shelf for others: a container, a systemd service or
scope, a Pod of a kubelet. Its containers are the cgroups below it; without any it is one container. What is in no
such cgroup is told apart by process group: each is a Pod, and each of its processes a container.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hostmetrics.cgroups import Hierarchy
from hostmetrics.names import label, numbered
from hostmetrics.procfs import Process, ticks_to_seconds

DEFAULT_NAMESPACE = "default"
NAME_LABEL = "app.kubernetes.io/name"

# Cgroups that container engines put theirs into.
_SHELVES = {"docker", "lxc", "machine", "kubepods", "besteffort", "burstable", "guaranteed"}
_KUBELET_POD = re.compile(r"(?:kubepods.*-)?(pod[0-9a-f_-]{32,})(?:\.slice)?")
_USER_SLICE = re.compile(r"user-(\d+)\.slice")
_USER_MANAGER = re.compile(r"user@(\d+)\.service")
_SUFFIX = re.compile(r"\.(service|scope|slice|mount|socket|swap)$")


@dataclass(frozen=True)
class Container:
    """One part of a Pod, measured."""

    key: str
    """Another one for another container, for good: counters of one key only rise."""
    name: str
    started: float
    """Its oldest process, in seconds since boot."""
    counted_since: float
    """Seconds since boot."""
    cpu_ns: int
    """Since then."""
    memory: int
    """Bytes."""


@dataclass(frozen=True)
class Pod:
    """Processes that belong together, measured."""

    namespace: str
    name: str
    labels: dict[str, str]
    containers: tuple[Container, ...]

    @property
    def started(self) -> float:
        """Seconds since boot."""
        return min(container.started for container in self.containers)


@dataclass(frozen=True)
class Unit:
    """A cgroup that is a Pod."""

    path: str
    namespace: str
    name: str


@dataclass
class _Members:
    own: list[Process] = field(default_factory=list)
    below: dict[str, list[Process]] = field(default_factory=lambda: defaultdict(list))


def unit(path: str) -> Unit | None:
    """The Pod that a cgroup is, or is below of. None: it is but a shelf."""
    shelf, walked = None, ""
    for part in path.split("/"):
        if not part:
            continue
        walked += "/" + part
        if kubelet := _KUBELET_POD.fullmatch(part):
            return Unit(walked, shelf or "kubepods", label(kubelet[1]))
        user = _USER_SLICE.fullmatch(part) or _USER_MANAGER.fullmatch(part)
        if user:
            shelf = f"user-{user[1]}"
        elif part.endswith(".slice") or part in _SHELVES:
            shelf = shelf or label(_SUFFIX.sub("", part))
        else:
            return Unit(walked, shelf or DEFAULT_NAMESPACE, label(_SUFFIX.sub("", part)))
    return None


def pods(processes: Iterable[Process], hierarchy: Hierarchy, booted: float) -> list[Pod]:
    """All Pods, each with at least one container; no two of a namespace have one name. `booted`: seconds since 1970."""
    units: dict[Unit, _Members] = defaultdict(_Members)
    groups: dict[int, list[Process]] = defaultdict(list)
    for process in sorted(processes, key=lambda process: (process.started_ticks, process.pid)):
        path = hierarchy.path(process)
        found = unit(path)
        if found is None:
            groups[process.group].append(process)
            continue
        below = path[len(found.path) + 1 :]
        if below:
            units[found].below[below.split("/", 1)[0]].append(process)
        else:
            units[found].own.append(process)
    made = [_of_unit(each, members, hierarchy, booted) for each, members in units.items()]
    made += [_of_group(group, members) for group, members in groups.items()]
    return sorted(_distinct(made), key=lambda pod: (pod.namespace, pod.name))


def _of_unit(each: Unit, members: _Members, hierarchy: Hierarchy, booted: float) -> Pod:
    containers: list[Container] = []
    if members.own and not members.below:
        name = label(members.own[0].name)
        containers += _of_cgroup(each.path, name, members.own, hierarchy, booted)
    else:
        # What a cgroup counts includes what is below it: the processes in it are counted one by one.
        containers += _of_processes(members.own)
    for name, processes in members.below.items():
        path, name = f"{each.path}/{name}", label(_SUFFIX.sub("", name))
        containers += _of_cgroup(path, name, processes, hierarchy, booted)
    return Pod(each.namespace, each.name, {NAME_LABEL: each.name}, _unique(containers))


def _of_cgroup(
    path: str, name: str, processes: list[Process], hierarchy: Hierarchy, booted: float
) -> list[Container]:
    usage = hierarchy.usage(path)
    if usage is None:
        return _of_processes(processes)
    return [
        Container(
            key=f"cgroup:{path}:{usage.identity}",
            name=name,
            started=ticks_to_seconds(processes[0].started_ticks),
            counted_since=usage.made - booted,
            cpu_ns=usage.cpu_ns,
            memory=usage.memory,
        )
    ]


def _of_processes(processes: list[Process]) -> list[Container]:
    return [
        Container(
            key=f"process:{process.pid}:{process.started_ticks}",
            name=label(process.name),
            started=ticks_to_seconds(process.started_ticks),
            counted_since=ticks_to_seconds(process.started_ticks),
            cpu_ns=process.cpu_ns,
            memory=process.memory,
        )
        for process in processes
    ]


def _of_group(group: int, members: list[Process]) -> Pod:
    leader = next((process for process in members if process.pid == group), members[0])
    labels = {NAME_LABEL: label(leader.name)}
    return Pod(DEFAULT_NAMESPACE, numbered(leader.name, group), labels, _unique(_of_processes(members)))


def _unique(containers: list[Container]) -> tuple[Container, ...]:
    """The oldest of a name keeps it, the others get a number."""
    taken: set[str] = set()
    named = []
    for container in containers:
        name, number = container.name, 2
        while name in taken:
            name, number = numbered(container.name, number), number + 1
        taken.add(name)
        named.append(replace(container, name=name))
    return tuple(named)


def _distinct(made: list[Pod]) -> list[Pod]:
    """Two cgroups may be called the same once their names are cut: the oldest keeps the name."""
    taken: set[tuple[str, str]] = set()
    named = []
    for pod in sorted(made, key=lambda pod: pod.started):
        name, number = pod.name, 2
        while (pod.namespace, name) in taken:
            name, number = numbered(pod.name, number), number + 1
        taken.add((pod.namespace, name))
        named.append(replace(pod, name=name))
    return named
