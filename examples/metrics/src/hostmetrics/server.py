"""The gRPC server."""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hostmetrics.core.v1 import core_pb2 as core
from hostmetrics.core.v1 import core_pb2_grpc as core_grpc
from hostmetrics.metrics.v1beta1 import metrics_pb2 as metrics
from hostmetrics.metrics.v1beta1 import metrics_pb2_grpc as metrics_grpc
from hostmetrics.objects import Objects
from hostmetrics.names import label
from hostmetrics.sampler import Measurement, Sampler, Settings
from kubridge.v1 import meta_pb2 as meta
from kubridge.v1 import requests_pb2 as requests
from kubridge.v1 import schema_pb2 as schema
from kubridge.v1 import schema_pb2_grpc as schema_grpc

log = logging.getLogger(__name__)

DESCRIPTORS = "descriptors.binpb"
"""A file of this package: what `protoc --descriptor_set_out` wrote, with imports and comments."""

# As many can watch the health at a time; whoever else asks waits until one has left.
_WATCHERS = 64
# kubectl's answers are small, but a host may have thousands of processes.
_OPTIONS = (("grpc.max_receive_message_length", 64 * 1024), ("grpc.so_reuseport", 0))
_SERVICES = (
    core.DESCRIPTOR.services_by_name["Core"].full_name,
    metrics.DESCRIPTOR.services_by_name["Metrics"].full_name,
)


class Server:
    """Everything that is served, from `start` to `stop`."""

    def __init__(self, settings: Settings, node: str | None = None) -> None:
        """`node`: the Node's name; none: the host's. Raises OSError or ValueError where there is nothing to measure."""
        self._health = _health_servicer()
        self._set_health(ready=False)
        self._sampler = Sampler(settings, self._set_health)
        objects = Objects(self._sampler.host, node or label(self._sampler.host.name))
        self._grpc = grpc.server(ThreadPoolExecutor(max_workers=8, thread_name_prefix="grpc"), options=_OPTIONS)
        core_grpc.add_CoreServicer_to_server(Core(self._sampler, objects), self._grpc)
        metrics_grpc.add_MetricsServicer_to_server(Metrics(self._sampler, objects), self._grpc)
        schema_grpc.add_SchemaServicer_to_server(Schema(), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        names = (*_SERVICES, schema.DESCRIPTOR.services_by_name["Schema"].full_name, health.SERVICE_NAME)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._grpc)

    def start(self, address: str) -> int:
        """`HOST:PORT`; port 0 takes any. The port. Raises RuntimeError where it cannot listen there."""
        port = self._grpc.add_insecure_port(address)
        self._sampler.start()
        self._grpc.start()
        return port

    def stop(self, grace: float) -> None:
        """Calls in flight have `grace` seconds to finish."""
        self._health.enter_graceful_shutdown()
        self._grpc.stop(grace).wait()
        self._sampler.stop()

    def _set_health(self, ready: bool) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *_SERVICES):
            self._health.set(service, serving)


class Core(core_grpc.CoreServicer):
    """Nodes and Pods."""

    def __init__(self, sampler: Sampler, objects: Objects) -> None:
        self._sampler, self._objects = sampler, objects

    def ListNodes(self, request: requests.ListRequest, context: grpc.ServicerContext) -> core.ListNodesResponse:
        now = _latest(self._sampler, context)
        return core.ListNodesResponse(metadata=_list(now), items=[self._objects.node(now)])

    def ListPods(self, request: requests.ListRequest, context: grpc.ServicerContext) -> core.ListPodsResponse:
        now = _latest(self._sampler, context)
        return core.ListPodsResponse(metadata=_list(now), items=self._objects.pods(now, request.namespace))


class Metrics(metrics_grpc.MetricsServicer):
    """What they use."""

    def __init__(self, sampler: Sampler, objects: Objects) -> None:
        self._sampler, self._objects = sampler, objects

    def ListNodeMetrics(
        self, request: requests.ListRequest, context: grpc.ServicerContext
    ) -> metrics.ListNodeMetricsResponse:
        now = _latest(self._sampler, context)
        return metrics.ListNodeMetricsResponse(metadata=_list(now), items=[self._objects.node_metrics(now)])

    def ListPodMetrics(
        self, request: requests.ListRequest, context: grpc.ServicerContext
    ) -> metrics.ListPodMetricsResponse:
        now = _latest(self._sampler, context)
        items = self._objects.pod_metrics(now, request.namespace)
        return metrics.ListPodMetricsResponse(metadata=_list(now), items=items)


class Schema(schema_grpc.SchemaServicer):
    """The compiler's own bytes: reflection has no comments, which `kubectl explain` shows."""

    def __init__(self) -> None:
        self._set = resources.files("hostmetrics").joinpath(DESCRIPTORS).read_bytes()
        self._etag = hashlib.sha256(self._set).hexdigest()

    def Get(self, request: schema.GetSchemaRequest, context: grpc.ServicerContext) -> schema.GetSchemaResponse:
        if request.etag == self._etag:
            return schema.GetSchemaResponse(etag=self._etag, not_modified=True)
        return schema.GetSchemaResponse(etag=self._etag, file_descriptor_set=self._set)


def _health_servicer() -> health.HealthServicer:
    # By default it writes to watchers while it holds its lock, and the thread that would end such a write waits for the
    # same lock when another watcher leaves: then nothing is answered any more. With a thread for each watcher the lock
    # is held for no write; they have a pool of their own, since a watch lasts as long as its client.
    pool = ThreadPoolExecutor(max_workers=_WATCHERS, thread_name_prefix="health")
    return health.HealthServicer(experimental_non_blocking=False, experimental_thread_pool=pool)


def _latest(sampler: Sampler, context: grpc.ServicerContext) -> Measurement:
    latest = sampler.latest()
    if latest is None:
        _unavailable(context)
    return latest


def _unavailable(context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNAVAILABLE, "nothing has been measured for long enough to tell a rate; try again")
    raise AssertionError("abort raises")


def _list(now: Measurement) -> meta.ListMeta:
    return meta.ListMeta(resource_version=str(now.number))
