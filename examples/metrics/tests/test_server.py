"""The server over a socket, on hosts made of files and on the real one."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from conftest import BOOTED, GIB, FakeHost
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from hostmetrics import objects
from hostmetrics.core.v1 import core_pb2, core_pb2_grpc
from hostmetrics.metrics.v1beta1 import metrics_pb2, metrics_pb2_grpc
from hostmetrics.sampler import Sampler, Settings
from hostmetrics.server import Server
from kubridge.v1 import requests_pb2, schema_pb2, schema_pb2_grpc

ALL = requests_pb2.ListRequest()
SERVING = health_pb2.HealthCheckResponse.SERVING


@contextmanager
def served(settings: Settings) -> Iterator[grpc.Channel]:
    server = Server(settings)
    port = server.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        server.stop(1)


def until_serving(channel: grpc.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
    next(answer for answer in watch if answer.status == SERVING)
    watch.cancel()


def test_what_the_real_host_uses() -> None:
    with served(Settings(interval=0.2, window=5)) as channel:
        until_serving(channel)
        (node,) = core_pb2_grpc.CoreStub(channel).ListNodes(ALL).items
        assert node.status.capacity["cpu"].string == str(os.cpu_count())
        (metrics,) = metrics_pb2_grpc.MetricsStub(channel).ListNodeMetrics(ALL).items
        assert metrics.metadata.name == node.metadata.name
        assert abs(metrics.timestamp.seconds - time.time()) < 30
        assert metrics.window.duration > 0
        assert metrics.usage["memory"].string.endswith("Ki")


def test_pods_of_a_namespace(host: FakeHost) -> None:
    host.process(10, name="a", cgroup="0::/system.slice/a.service\n")
    host.process(11, name="b")
    host.unified("/")
    settings = Settings(proc=host.proc, cgroup=host.cgroup, interval=0.1)
    with served(settings) as channel:
        core = core_pb2_grpc.CoreStub(channel)
        for at in (110.0, 120.0):
            host.at(uptime=at, busy=[int(at), 0, 0])
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    answer = core.ListPods(requests_pb2.ListRequest(namespace="system"))
                    break
                except grpc.RpcError as error:
                    assert error.code() == grpc.StatusCode.UNAVAILABLE, "the first sample has no rate"
                    time.sleep(0.01)
        (pod,) = answer.items
        assert (pod.metadata.name, pod.spec.node_name) == ("a", "build-host-example")
        assert pod.metadata.creation_timestamp.seconds == BOOTED + 10
        assert pod.status.phase == "Running"
        assert [status.name for status in pod.status.container_statuses] == ["a"]
        assert int(answer.metadata.resource_version) >= 2
        assert len(core.ListPods(ALL).items) == 2
        assert len(core.ListPods(requests_pb2.ListRequest(namespace="nowhere")).items) == 0


def test_usage_is_a_rate_over_the_window(host: FakeHost) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    sampler = Sampler(Settings(proc=host.proc, cgroup=host.cgroup, window=60))
    host.memory(free=5 * GIB, inactive_file=GIB)
    host.process(10, name="busy", pages=1024)
    assert sampler.sample().node_rate is None
    assert sampler.latest() is None
    host.at(uptime=110.0, busy=[12 * ticks, 0, 0])
    host.process(10, name="busy", pages=1024, ticks=(5 * ticks, 0))
    host.process(11, name="young", started=105 * ticks, ticks=(0, ticks))
    now = sampler.sample()
    assert sampler.latest() is now

    made = objects.Objects(sampler.host, "n")
    node = made.node_metrics(now)
    assert (node.usage["cpu"].string, node.usage["memory"].string) == ("1200m", "2Gi")
    assert node.window.duration == 10_000_000_000
    busy, young = made.pod_metrics(now, "")
    assert (busy.metadata.name, busy.containers[0].usage["cpu"].string) == ("busy-10", "500m")
    assert busy.containers[0].usage["memory"].string == "4Mi"
    assert (young.containers[0].usage["cpu"].string, young.window.duration) == ("200m", 5_000_000_000)
    sampler.stop()


def test_a_host_that_cannot_be_read_any_more_is_not_served(host: FakeHost) -> None:
    told: list[bool] = []
    sampler = Sampler(Settings(proc=host.proc, cgroup=host.cgroup, interval=0.05), told.append)
    host.at(uptime=101.0, busy=[1, 0, 0])
    sampler.sample()
    host.at(uptime=102.0, busy=[2, 0, 0])
    latest = sampler.sample()
    assert sampler.latest() is latest
    (host.proc / "stat").unlink()
    sampler.start()
    deadline = time.monotonic() + 20
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    sampler.stop()
    assert told and latest.number == 2, "a sample that fails ends nothing"


def test_the_schema_has_annotations_and_comments() -> None:
    with served(Settings(interval=0.2, window=5)) as channel:
        stub = schema_pb2_grpc.SchemaStub(channel)
        answer = stub.Get(schema_pb2.GetSchemaRequest())
        files = descriptor_pb2.FileDescriptorSet.FromString(answer.file_descriptor_set).file
        by_name = {file.name: file for file in files}
        assert "kubridge/v1/meta.proto" in by_name, "with imports"
        core = by_name["hostmetrics/core/v1/core.proto"]
        comments = [location.leading_comments for location in core.source_code_info.location]
        assert " The host.\n" in comments
        again = stub.Get(schema_pb2.GetSchemaRequest(etag=answer.etag))
        assert again.not_modified and not again.file_descriptor_set


def test_reflection_names_the_services() -> None:
    with served(Settings(interval=0.2, window=5)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
        names = {service.name for service in answer.list_services_response.service}
        assert {"hostmetrics.core.v1.Core", "hostmetrics.metrics.v1beta1.Metrics", "kubridge.v1.Schema"} <= names


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1n"), (1_500_000, "1500u"), (250_000_000, "250m"), (3_000_000_000, "3"), (1_234_567_891, "1234567891n")],
)
def test_cores_in_kubernetes_shortest_form(value: int, text: str) -> None:
    assert objects.nanocores(value).string == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1000, "1000"), (1536, "1536"), (2048, "2Ki"), (8 * GIB, "8Gi"), (1025 * 1024, "1025Ki")]
)
def test_bytes_in_kubernetes_shortest_form(value: int, text: str) -> None:
    assert objects.size(value).string == text


def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hostmetrics", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running() -> Iterator[str]:
    """A process of its own, which is killed even when it is stuck. Its address."""
    program = run("--interval=0.1", "--window=5", LISTEN="127.0.0.1:0")
    try:
        assert program.stdout is not None
        yield program.stdout.readline().removeprefix("listening on ").strip()
    finally:
        program.kill()
        program.communicate()


def assert_it_answers(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert schema_pb2_grpc.SchemaStub(channel).Get(schema_pb2.GetSchemaRequest(), timeout=10).etag


def test_watchers_of_the_health_come_and_go() -> None:
    """Like those of a client that gives up one connection and makes the next."""
    watches = 50
    seen: list[int] = []

    def client(address: str) -> None:
        with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            for _ in range(watches):
                watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
                try:
                    seen.append(next(watch).status)
                except grpc.RpcError:
                    return
                watch.cancel()

    with running() as address:
        threads = [threading.Thread(target=client, args=(address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == len(threads) * watches, "each was told how it is"
        assert_it_answers(address)


END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, payload: bytes, flags: int = 0, stream: int = 0) -> bytes:
    """Of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def call_headers(path: str) -> bytes:
    """In HPACK, literally (RFC 7541, 6.2.2)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    literals = (bytes([len(text)]) + text.encode() for field in fields.items() for text in field)
    return b"".join(b"\0" + name + next(literals) for name in literals)


def test_a_watcher_of_the_health_that_takes_nothing_holds_nobody_up() -> None:
    with running() as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as watcher, watcher.makefile("rb") as heard:
            watcher.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                # SETTINGS_INITIAL_WINDOW_SIZE is 0: no message may be sent to it.
                + frame(kind=4, payload=(4).to_bytes(2) + (0).to_bytes(4))
                + frame(kind=1, flags=END_HEADERS, stream=1, payload=call_headers("/grpc.health.v1.Health/Watch"))
                + frame(kind=0, flags=END_STREAM, stream=1, payload=bytes(5))
            )
            # The answer's HEADERS: its first message is under way from then on.
            while (head := heard.read(9))[3] != 1:
                heard.read(int.from_bytes(head[:3]))
            assert_it_answers(address)


def test_the_program(tmp_path: Path) -> None:
    program = run("--interval=0.2", "--window=5", f"--db={tmp_path / 'history.db'}", LISTEN="127.0.0.1:0")
    try:
        assert program.stdout is not None
        listening = program.stdout.readline()
        assert listening.startswith("listening on 127.0.0.1:")
        address = listening.removeprefix("listening on ").strip()
        with grpc.insecure_channel(address) as channel:
            until_serving(channel)
        for check in (run("--health-check", address), run("--health-check", LISTEN=address)):
            output, complaint = check.communicate(timeout=30)
            assert (check.returncode, output) == (0, "SERVING\n"), complaint
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.communicate()
    check = run("--health-check", address)
    assert check.wait(30) == 1
    assert "UNAVAILABLE" in check.communicate()[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--listen=nowhere"], "is no HOST:PORT"),
        (["--interval=x"], "is no number of seconds"),
        (["--interval=20", "--window=10"], "shorter than --interval"),
        (["--node-name=A_B"], "is no DNS label"),
        (["--proc=/nowhere", "--listen=127.0.0.1:0"], "it does not start"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_told(arguments: list[str], complaint: str) -> None:
    program = run(*arguments)
    _, errors = program.communicate(timeout=30)
    assert program.returncode in (1, 2)
    assert complaint in errors
