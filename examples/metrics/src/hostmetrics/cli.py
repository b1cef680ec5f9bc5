"""The command line."""

import argparse
import logging
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hostmetrics.names import label
from hostmetrics.sampler import Settings
from hostmetrics.server import Server

_GRACE = 5.0
_HEALTH_TIMEOUT = 3.0


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Runs until SIGTERM or SIGINT. The exit code."""
    options = _parse(arguments, environment)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.health_check is not None:
        return _check_health(options.listen if options.health_check is True else options.health_check)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(stopping))
    settings = Settings(
        proc=options.proc,
        cgroup=options.cgroup,
        database=options.db,
        interval=options.interval,
        window=options.window,
    )
    try:
        server = Server(settings, options.node_name)
        port = server.start(_everywhere(options.listen))
    except (OSError, ValueError, KeyError, StopIteration, RuntimeError, sqlite3.Error) as error:
        print(f"it does not start: {error}", file=sys.stderr)
        return 1
    print(f"listening on {options.listen.rpartition(':')[0]}:{port}", flush=True)
    stopping.wait()
    server.stop(_GRACE)
    return 0


def _stop(stopping: threading.Event) -> None:
    if stopping.is_set():
        # The second signal aborts.
        os._exit(1)
    stopping.set()


def _parse(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hostmetrics",
        description="Serves the resource usage of this host by gRPC, as metrics.k8s.io/v1beta1 and a part of v1.",
    )
    option = parser.add_argument
    option(
        "--listen",
        metavar="ADDR",
        type=_address,
        default=environment.get("LISTEN", ":50052"),
        help="HOST:PORT; without a host everywhere, port 0 takes any [$LISTEN, :50052]",
    )
    option(
        "--health-check",
        metavar="ADDR",
        type=_address,
        nargs="?",
        # argparse gives a constant to `type` too, where it is a string.
        const=True,
        help="ask the server at ADDR (or where --listen says) for its health, exit with 0 or 1",
    )
    option(
        "--node-name",
        metavar="NAME",
        default=environment.get("NODE_NAME") or None,
        type=_node_name,
        help="what the Node is called [$NODE_NAME, the host's name]",
    )
    option(
        "--interval",
        metavar="SECONDS",
        type=_seconds,
        default=environment.get("INTERVAL", "5"),
        help="how often is measured [$INTERVAL, 5]",
    )
    option(
        "--window",
        metavar="SECONDS",
        type=_seconds,
        default=environment.get("WINDOW", "30"),
        help="over how long the use of processors is averaged [$WINDOW, 30]",
    )
    option(
        "--db",
        metavar="FILE",
        default=environment.get("DB", ":memory:"),
        help="where samples are kept, so that rates go on over a restart [$DB, :memory:]",
    )
    option(
        "--proc",
        metavar="DIR",
        type=Path,
        default=environment.get("HOST_PROC", "/proc"),
        help="the proc file system; in a container the host's, mounted [$HOST_PROC, /proc]",
    )
    option(
        "--cgroup",
        metavar="DIR",
        type=Path,
        default=environment.get("HOST_CGROUP", "/sys/fs/cgroup"),
        help="the cgroup file system [$HOST_CGROUP, /sys/fs/cgroup]",
    )
    options = parser.parse_args(arguments)
    if options.window < options.interval:
        parser.error("--window is shorter than --interval: there would be no two samples in it")
    return options


def _address(text: str) -> str:
    _, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:50052 or :50052")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 3600")
    return seconds


def _node_name(text: str) -> str:
    if label(text) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no DNS label: write lower-case letters, digits and `-`")
    return text


def _everywhere(address: str) -> str:
    return f"[::]{address}" if address.startswith(":") else address


def _check_health(address: str) -> int:
    target = f"localhost{address}" if address.startswith(":") else address.replace("0.0.0.0:", "127.0.0.1:")
    with grpc.insecure_channel(target) as channel:
        try:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_HEALTH_TIMEOUT)
        except grpc.RpcError as error:
            print(f"{target}: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1
