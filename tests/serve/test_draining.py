"""What SIGTERM lets finish, in which order, and what does not keep a server that drains."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2_grpc
from tests.serve.rpc.test_server import request
from tests.support.hanging_graphs import hanging_ranker

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _watch(channel: grpc.Channel, service: str = "") -> Iterator[health_pb2.HealthCheckResponse]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watching: Iterator[health_pb2.HealthCheckResponse] = stub.Watch(health_pb2.HealthCheckRequest(service=service))
    return watching


def test_sigterm_lets_calls_in_flight_finish() -> None:
    with local_server() as (target, process), grpc.insecure_channel(target) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        stub.Rank(request(), timeout=120)
        running = stub.Rank.future(request(texts=[f"{number} " + "word " * 90 for number in range(100)]), timeout=120)
        # The answer to a call begun later on the same connection proves that the server has the earlier one.
        stub.Rank(request(), timeout=120)
        assert not running.done()
        process.send_signal(signal.SIGTERM)
        assert len(running.result().results) == 100
        assert process.wait(120) == 0


def test_between_not_serving_and_the_end_new_connections_are_answered() -> None:
    with local_server("--drain-delay", "5") as (target, process), grpc.insecure_channel(target) as channel:
        statuses = _watch(channel)
        assert next(statuses).status == _SERVING
        process.send_signal(signal.SIGTERM)
        assert next(statuses).status == _NOT_SERVING
        with grpc.insecure_channel(target, options=(("grpc.use_local_subchannel_pool", 1),)) as other:
            assert len(ranker_pb2_grpc.RankServiceStub(other).Rank(request(), timeout=120).results) > 0
            stub: Any = health_pb2_grpc.HealthStub(other)
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=120).status == _NOT_SERVING
        assert process.wait(120) == 0


def test_open_streams_of_health_and_reflection_do_not_keep_a_server() -> None:
    def one() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        kept.wait()

    kept = threading.Event()
    with local_server("--drain-timeout", "3000") as (target, process), grpc.insecure_channel(target) as channel:
        watching = [_watch(channel), _watch(channel), _watch(channel, "nobody.knows.it")]
        assert [next(statuses).status for statuses in watching][:2] == [_SERVING, _SERVING]
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        reflected = stub.ServerReflectionInfo(one())
        names = {service.name for service in next(reflected).list_services_response.service}
        assert {"crossrank.v1.RankService", "grpc.health.v1.Health"} <= names
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        kept.set()


def test_a_watcher_that_goes_leaves_the_others_their_word() -> None:
    with local_server() as (target, process), grpc.insecure_channel(target) as channel:
        first, second = _watch(channel), _watch(channel)
        assert (next(first).status, next(second).status) == (_SERVING, _SERVING)
        first.cancel()  # type: ignore[attr-defined]
        # The answer to a later call on the same connection proves that the server knows.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest(service="crossrank.v1.RankService"), timeout=120)
        process.send_signal(signal.SIGTERM)
        assert next(second).status == _NOT_SERVING


def test_sigterm_ends_a_server_that_still_loads(tmp_path: Path) -> None:
    ranker = hanging_ranker(tmp_path / "ranker", golden_document="word " * 100)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-P",
        "-m",
        "crossrank.cli",
        "serve",
        str(ranker),
        "--port",
        str(port),
        "--http-port",
        "none",
    ]
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as process,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert stub.Check(request, timeout=120, wait_for_ready=True).status == _NOT_SERVING
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
