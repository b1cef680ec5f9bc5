"""Measures the host again and again, and has the latest result ready."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hostmetrics import cgroups
from hostmetrics.history import Count, History, Rate
from hostmetrics.pods import Container, Pod, pods
from hostmetrics.procfs import NANOSECONDS, Host, Proc

log = logging.getLogger(__name__)

_NODE = "node"
# The second sample comes soon, so that there is a rate to tell.
_SECOND_SAMPLE_AFTER = 1.0


@dataclass(frozen=True)
class Settings:
    """What is measured, how often, and what is kept. Times in seconds."""

    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    database: Path | str = ":memory:"
    interval: float = 5.0
    window: float = 30.0
    keep: float = 3600.0


@dataclass(frozen=True)
class Measurement:
    """The host at one moment. Immutable."""

    number: int
    """Of the sample: later ones are higher."""
    taken: float
    """Seconds since 1970."""
    monotonic: float
    node_memory: int
    """Bytes."""
    node_rate: Rate | None
    """None: this is the first sample."""
    pods: tuple[Pod, ...]
    rates: dict[str, Rate]
    """By the keys of containers."""

    def rate(self, container: Container) -> Rate | None:
        """None: the container has not been seen for long enough."""
        return self.rates.get(container.key)


class Sampler:
    """Measures in a thread of its own between `start` and `stop`."""

    def __init__(self, settings: Settings, changed: Callable[[bool], None] = lambda ready: None) -> None:
        """`changed` is told after each attempt whether there is something to tell. Raises OSError or ValueError where
        there is nothing to measure."""
        self._settings = settings
        self._proc = Proc(settings.proc)
        self._hierarchy = cgroups.find(settings.cgroup)
        self.host: Host = self._proc.host()
        self._history = History(settings.database, self.host.boot_id)
        self._changed = changed
        self._latest: Measurement | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        log.info("measuring %s, with cgroups: %s", self._settings.proc, type(self._hierarchy).__name__.lower())
        self._thread.start()

    def stop(self) -> None:
        """Waits for the sample under way."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._history.close()

    def latest(self) -> Measurement | None:
        """None: there is no rate yet, or the last sample is too old to be believed."""
        latest = self._latest
        if latest is None or latest.node_rate is None:
            return None
        age = time.monotonic() - latest.monotonic
        return latest if age <= 3 * self._settings.interval + 10 else None

    def sample(self) -> Measurement:
        """Measures once. Raises OSError, ValueError or sqlite3.Error."""
        settings = self._settings
        taken_ns = self._proc.uptime_ns()
        counts = {_NODE: Count(self._proc.cpu_ns(), 0)}
        found = pods(self._proc.processes(), self._hierarchy, self.host.booted)
        for container in (container for pod in found for container in pod.containers):
            counts[container.key] = Count(container.cpu_ns, int(container.counted_since * NANOSECONDS))
        number = self._history.add(taken_ns, counts, int(settings.keep * NANOSECONDS))
        rates = self._history.rates(taken_ns, counts, int(settings.window * NANOSECONDS))
        self._latest = Measurement(
            number=number,
            taken=time.time(),
            monotonic=time.monotonic(),
            node_memory=self._proc.memory(),
            node_rate=rates.pop(_NODE, None),
            pods=tuple(found),
            rates=rates,
        )
        return self._latest

    def _run(self) -> None:
        pause = min(_SECOND_SAMPLE_AFTER, self._settings.interval)
        while True:
            try:
                self.sample()
            except Exception:
                log.exception("this sample failed; the next one comes in %s s", self._settings.interval)
            self._changed(self.latest() is not None)
            if self._stopping.wait(pause):
                return
            pause = self._settings.interval
