"""Limits of connections on a real server, by frames that are written one by one."""

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import psutil
import pytest

from crossrank.serve.local import LocalServer, local_server
from crossrank.v1 import ranker_pb2_grpc
from tests.serve.hostile import RawConnection
from tests.serve.rpc.test_server import request

_GOAWAY = 7


@pytest.fixture(scope="module")
def served() -> Iterator[LocalServer]:
    with local_server("--connection-idle", "1", "--connection-age", "4", "--connection-grace", "2") as server:
        yield server


def rank(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        assert ranker_pb2_grpc.RankServiceStub(channel).Rank(request(texts=["a"]), timeout=120).results


def test_an_idle_connection_is_closed(served: LocalServer) -> None:
    connection = RawConnection(served.target)
    assert _GOAWAY in [kind for kind, _, _ in connection.frames()]
    connection.close()


def test_a_connection_with_a_call_ends_by_its_age(served: LocalServer) -> None:
    connection = RawConnection(served.target)
    connection.begin("/crossrank.v1.RankService/RankStream", 1, b"")
    assert _GOAWAY in [kind for kind, _, _ in connection.frames()]
    connection.close()


def test_a_client_does_not_notice_ages(served: LocalServer) -> None:
    with grpc.insecure_channel(served.target) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert stub.Rank(request(texts=["a"]), timeout=120).results


def test_a_connection_that_says_nothing_is_closed(served: LocalServer) -> None:
    host, _, port = served.target.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=120) as silent:
        while silent.recv(4096):  # the server speaks first
            pass


def test_a_client_that_asks_all_the_time_whether_the_server_lives_is_cut_off(served: LocalServer) -> None:
    connection = RawConnection(served.target)
    connection.begin("/crossrank.v1.RankService/RankStream", 1, b"")
    for _ in range(10):
        connection.ping()
    (reason,) = [payload for kind, _, payload in connection.frames() if kind == _GOAWAY and payload[4:8] != bytes(4)]
    assert int.from_bytes(reason[4:8]) == 11, "ENHANCE_YOUR_CALM"
    connection.close()
    rank(served.target)


def test_few_descriptors_are_not_all_given_away() -> None:
    command = [sys.executable, "-m", "crossrank.cli", "serve", "--port", "0", "--http-port", "none"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    ) as process:
        assert process.stdout is not None
        target = process.stdout.readline().removeprefix("listening on ").strip()
        host, _, port = target.rpartition(":")
        with grpc.insecure_channel(target) as channel, ExitStack() as open_ones:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            assert stub.Rank(request(texts=["a"]), timeout=120).results
            for _ in range(120):
                open_ones.enter_context(socket.create_connection((host, int(port)), timeout=120))
            assert stub.Rank(request(texts=["b"]), timeout=120).results
            assert psutil.Process(process.pid).num_fds() < 60
        rank(target)
        process.terminate()
        _, log = process.communicate(timeout=120)
    assert process.returncode == 0
    assert not [line for line in log.splitlines() if json.loads(line)["event"] == "uncaught"]
