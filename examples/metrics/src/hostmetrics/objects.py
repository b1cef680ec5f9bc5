"""Measurements as Kubernetes objects."""

import platform
from collections.abc import Iterator
from pathlib import Path

from hostmetrics.core.v1 import core_pb2 as core
from hostmetrics.history import Rate
from hostmetrics.metrics.v1beta1 import metrics_pb2 as metrics
from hostmetrics.pods import Container, Pod
from hostmetrics.procfs import NANOSECONDS, Host
from hostmetrics.sampler import Measurement
from kubridge.v1 import meta_pb2 as meta

_MILLISECOND = 1_000_000
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def nanocores(value: int) -> meta.Quantity:
    """Cores, in Kubernetes' shortest form: "250m", "1234567n"."""
    for suffix in ("n", "u", "m"):
        if value % 1000:
            return meta.Quantity(string=f"{value}{suffix}")
        value //= 1000
    return meta.Quantity(string=str(value))


def size(value: int) -> meta.Quantity:
    """Bytes, in Kubernetes' shortest form: "24Mi", "1000"."""
    if value == 0:
        return meta.Quantity(string="0")
    for suffix in ("", "Ki", "Mi", "Gi", "Ti"):
        if value % 1024:
            return meta.Quantity(string=f"{value}{suffix}")
        value //= 1024
    return meta.Quantity(string=f"{value}Pi")


class Objects:
    """Makes the objects of one host."""

    def __init__(self, host: Host, node: str) -> None:
        """`node`: the Node's name."""
        self._host = host
        self._node = node
        self._machine_id = _first_line(Path("/etc/machine-id"))
        self._os = _os_image(Path("/etc/os-release"))

    def node(self, now: Measurement) -> core.Node:
        """The host."""
        booted = _time(self._host.booted)
        amount = {
            "cpu": meta.Quantity(string=str(self._host.cpus)),
            "memory": size(self._host.memory),
        }
        ready = core.NodeCondition(
            type="Ready",
            status="True",
            last_heartbeat_time=_time(now.taken),
            last_transition_time=booted,
            reason="Measured",
            message="its usage is being measured",
        )
        info = core.NodeSystemInfo(
            machine_id=self._machine_id,
            boot_id=self._host.boot_id,
            kernel_version=self._host.kernel,
            os_image=self._os,
            operating_system="linux",
            architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        )
        return core.Node(
            metadata=self._node_metadata(now),
            spec=core.NodeSpec(),
            status=core.NodeStatus(
                capacity=amount,
                allocatable=amount,
                conditions=[ready],
                addresses=[core.NodeAddress(type="Hostname", address=self._host.name)],
                node_info=info,
            ),
        )

    def node_metrics(self, now: Measurement) -> metrics.NodeMetrics:
        """What the host uses."""
        rate = now.node_rate
        assert rate is not None, "the sampler gives nothing before there is a rate"
        return metrics.NodeMetrics(
            metadata=self._node_metadata(now),
            timestamp=_time(now.taken),
            window=_window(rate),
            usage={"cpu": nanocores(rate.nanocores), "memory": size(now.node_memory)},
        )

    def pods(self, now: Measurement, namespace: str) -> Iterator[core.Pod]:
        """`namespace`: empty for all."""
        for pod in _in(now, namespace):
            started = _time(self._host.booted + pod.started)
            yield core.Pod(
                metadata=self._pod_metadata(pod, now),
                spec=core.PodSpec(
                    containers=[core.Container(name=container.name) for container in pod.containers],
                    node_name=self._node,
                ),
                status=core.PodStatus(
                    phase="Running",
                    conditions=[core.PodCondition(type="Ready", status="True", last_transition_time=started)],
                    start_time=started,
                    container_statuses=[self._status(container) for container in pod.containers],
                ),
            )

    def pod_metrics(self, now: Measurement, namespace: str) -> Iterator[metrics.PodMetrics]:
        """`namespace`: empty for all. Without Pods of which no rate is known yet."""
        for pod in _in(now, namespace):
            known = [(each, rate) for each in pod.containers if (rate := now.rate(each)) is not None]
            if not known:
                continue
            yield metrics.PodMetrics(
                metadata=self._pod_metadata(pod, now),
                timestamp=_time(now.taken),
                window=_window(max((rate for _, rate in known), key=lambda rate: rate.span_ns)),
                containers=[
                    metrics.ContainerMetrics(
                        name=container.name,
                        usage={"cpu": nanocores(rate.nanocores), "memory": size(container.memory)},
                    )
                    for container, rate in known
                ],
            )

    def _status(self, container: Container) -> core.ContainerStatus:
        running = core.ContainerStateRunning(started_at=_time(self._host.booted + container.started))
        state = core.ContainerState(running=running)
        return core.ContainerStatus(name=container.name, state=state, ready=True, started=True)

    def _node_metadata(self, now: Measurement) -> meta.ObjectMeta:
        return meta.ObjectMeta(
            name=self._node,
            creation_timestamp=_time(self._host.booted),
            resource_version=str(now.number),
            labels={"kubernetes.io/hostname": self._node, "kubernetes.io/os": "linux"},
        )

    def _pod_metadata(self, pod: Pod, now: Measurement) -> meta.ObjectMeta:
        return meta.ObjectMeta(
            namespace=pod.namespace,
            name=pod.name,
            creation_timestamp=_time(self._host.booted + pod.started),
            resource_version=str(now.number),
            labels=pod.labels,
        )


def _in(now: Measurement, namespace: str) -> Iterator[Pod]:
    return (pod for pod in now.pods if namespace in ("", pod.namespace))


def _time(seconds: float) -> meta.Time:
    return meta.Time(seconds=int(seconds))


def _window(rate: Rate) -> meta.Duration:
    milliseconds = max(1, round(rate.span_ns / _MILLISECOND))
    return meta.Duration(duration=milliseconds * _MILLISECOND)


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except OSError:
        return ""


def _os_image(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = (line.removeprefix("PRETTY_NAME=").strip('"') for line in lines if line.startswith("PRETTY_NAME="))
    return next(names, "")
