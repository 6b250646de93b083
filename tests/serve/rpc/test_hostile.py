"""Hostile calls on a real server: what they cost it, and what others get meanwhile."""

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from crossrank.serve.local import LocalServer, local_server
from crossrank.tei.v1 import tei_pb2
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.serve.hostile import MIB, RawConnection, memory, watched_health
from tests.serve.rpc.test_server import request

RANK = "/crossrank.v1.RankService/Rank"


@pytest.fixture(scope="module")
def served() -> Iterator[LocalServer]:
    with local_server() as server:
        with connected(server) as channel:
            ranker_pb2_grpc.RankServiceStub(channel).Rank(request(), timeout=120)
        yield server


@contextmanager
def connected(server: LocalServer) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.per_rpc_retry_buffer_size", 0)]
    with grpc.insecure_channel(server.target, options) as channel:
        yield channel


def codes(channel: grpc.Channel, method: str, message: bytes, calls: int = 1) -> list[str]:
    call: Any = channel.unary_unary(method)
    return [running.code().name for running in [call.future(message, timeout=120) for _ in range(calls)]]


@pytest.mark.parametrize(
    "message",
    [
        b"\x1a\x00" * (8 * MIB - 1),
        b"\x78\x01" * (8 * MIB - 1),
        b"\x1a\xfa\xff\xff\x07" + b"\x78\x01" * (8 * MIB - 3),
    ],
    ids=["empty documents", "unknown fields", "unknown fields of a document"],
)
def test_messages_of_millions_of_fields(served: LocalServer, message: bytes) -> None:
    before = memory(served.process.pid, "VmHWM")
    with connected(served) as channel, watched_health(served.target) as health:
        assert codes(channel, RANK, message) == ["INVALID_ARGUMENT"]
        score = message.replace(b"\x1a", b"\x12")
        assert codes(channel, "/crossrank.v1.RankService/Score", score) == ["INVALID_ARGUMENT"]
    assert memory(served.process.pid, "VmHWM") - before < 150
    assert health.serving and not health.others


def test_large_messages_at_once_take_bounded_memory_that_comes_back(served: LocalServer) -> None:
    idle = memory(served.process.pid)
    message = request(texts=["word " * 3000] * 1000).SerializeToString()
    with connected(served) as channel, watched_health(served.target) as health:
        call: Any = channel.unary_unary(RANK)
        running = [call.future(message, timeout=5) for _ in range(24)]
        assert {one.code().name for one in running} <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert health.serving and not health.others
    assert memory(served.process.pid, "VmHWM") - idle < 400, "24 messages of 15 MB"
    end = time.monotonic() + 60
    while memory(served.process.pid) - idle > 100 and time.monotonic() < end:
        time.sleep(0.2)
    assert memory(served.process.pid) - idle <= 100


def test_a_stream_reads_on_only_while_there_is_room() -> None:
    texts = ["word " * 3000] * 10
    made = [ranker_pb2.RankStreamRequest(request=request(texts=texts, request_id=str(n))) for n in range(40)]
    with local_server("--max-bytes-in-flight", "400000") as server, connected(server) as channel:
        replies = ranker_pb2_grpc.RankServiceStub(channel).RankStream(iter(made), timeout=120)
        assert {reply.response.request_id for reply in replies} == {str(n) for n in range(40)}


def test_streams_of_texts_that_never_end_leave_room_for_others(served: LocalServer) -> None:
    message = tei_pb2.RerankStreamRequest(query="q", text="w" * 15 * MIB).SerializeToString()
    ended = threading.Event()

    def endless() -> Iterator[bytes]:
        yield message
        ended.wait(120)

    with connected(served) as channel:
        call: Any = channel.stream_unary("/tei.v1.Rerank/RerankStream")
        running = [call.future(endless(), timeout=120) for _ in range(4)]
        assert {one.code().name for one in running} <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
        ended.set()
        assert ranker_pb2_grpc.RankServiceStub(channel).Rank(request(), timeout=120).results


def test_a_request_beyond_the_budget_is_refused_with_pushback() -> None:
    slow = request(texts=[f"{number} " + "word " * 300 for number in range(50)])
    with local_server("--max-requests-in-flight", "1", "--score-cache", "0") as server, connected(server) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        running = [stub.Rank.future(slow, timeout=120) for _ in range(6)]
        assert {one.code().name for one in running} == {"OK", "RESOURCE_EXHAUSTED"}
        refused = next(one for one in running if one.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)
        trailing: Any = refused.trailing_metadata()
        assert int(dict(trailing)["grpc-retry-pushback-ms"]) > 0


@pytest.mark.parametrize("method", ["Rank", "Score", "RankStream"])
def test_bytes_that_are_no_message_are_refused_counted_and_logged(method: str) -> None:
    with local_server(log=subprocess.PIPE) as server:
        with connected(server) as channel:
            if method == "RankStream":
                call: Any = channel.stream_stream("/crossrank.v1.RankService/RankStream")
                reply = ranker_pb2.RankStreamResponse.FromString(next(call(iter([b"\x12\x02\xff\xfe"]), timeout=120)))
                assert grpc.StatusCode.INVALID_ARGUMENT.value[0] == reply.error.code
            else:
                assert codes(channel, f"/crossrank.v1.RankService/{method}", b"\x12\x02\xff\xfe") == [
                    "INVALID_ARGUMENT"
                ]
        server.process.terminate()
        _, log = server.process.communicate(timeout=120)
    lines = [json.loads(line) for line in log.splitlines()]
    assert [(line["method"], line["status"]) for line in lines if line["event"] == "call"] == [
        (method, "INVALID_ARGUMENT")
    ]


def test_half_sent_requests_end_and_others_are_answered_meanwhile(served: LocalServer) -> None:
    connections = [RawConnection(served.target) for _ in range(5)]
    for connection in connections:
        for stream in range(1, 41, 2):
            connection.begin(RANK, stream, b"\x12\x01a")
    with connected(served) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        for number in range(10):
            assert stub.Rank(request(texts=[str(number)]), timeout=120).results
    # Of each call the server sends the headers that end it.
    for connection in connections:
        ended = (stream for kind, stream, _ in connection.frames() if kind in (1, 3))
        assert len({next(ended) for _ in range(20)}) >= 10
        connection.close()


def test_a_deadline_that_passes_is_logged_as_one() -> None:
    with local_server(log=subprocess.PIPE) as server:
        connection = RawConnection(server.target)
        connection.begin(RANK, 1, b"\x12\x01a", timeout="200m")
        assert next(kind for kind, stream, _ in connection.frames() if stream == 1) in (1, 3)
        connection.close()
        server.process.terminate()
        _, log = server.process.communicate(timeout=120)
    statuses = [line["status"] for line in map(json.loads, log.splitlines()) if line["event"] == "call"]
    assert statuses == ["DEADLINE_EXCEEDED"]


def test_too_small_an_address_space_is_refused_in_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crossrank.cli", "serve", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (800 * MIB, 800 * MIB)),
    )
    assert done.returncode == 2
    assert "memory: " in done.stderr.splitlines()[-1]
