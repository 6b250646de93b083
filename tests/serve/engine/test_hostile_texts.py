"""Hostile texts on a real server: bounded in memory, in time and in what they cost others."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from crossrank.serve.local import LocalServer, local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.serve.hostile import MIB, memory, watched_health
from tests.serve.rpc.test_server import request

CHUNK = ranker_pb2.LONG_DOCUMENT_STRATEGY_CHUNK
# The largest text of the default settings.
TEXT_BYTES = 128 * 1024
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]


@pytest.fixture(scope="module")
def served() -> Iterator[LocalServer]:
    with local_server("--score-cache", "0") as server:
        yield server


@pytest.fixture(scope="module")
def generous() -> Iterator[LocalServer]:
    """A server with the limits of somebody who wants large texts."""
    limits = ("--max-text-bytes", str(2 * MIB), "--max-message-bytes", str(64 * MIB))
    with local_server("--score-cache", "0", *limits, "--max-bytes-in-flight", str(128 * MIB)) as server:
        yield server


@pytest.fixture
def stub(served: LocalServer) -> Iterator[ranker_pb2_grpc.RankServiceStub]:
    with grpc.insecure_channel(served.target, OPTIONS) as channel:
        yield ranker_pb2_grpc.RankServiceStub(channel)


@pytest.fixture
def generous_stub(generous: LocalServer) -> Iterator[ranker_pb2_grpc.RankServiceStub]:
    with grpc.insecure_channel(generous.target, OPTIONS) as channel:
        yield ranker_pb2_grpc.RankServiceStub(channel)


def refusal(call: Any) -> tuple[str, bool]:
    """The status of a call, and whether it says when to try again."""
    with pytest.raises(grpc.RpcError) as refused:
        call.result()
    error: Any = refused.value
    return error.code().name, "grpc-retry-pushback-ms" in dict(error.trailing_metadata())


@pytest.mark.parametrize(
    ("query", "document", "max_length"),
    [
        ("." * 500, "," * 500, 5),
        ("." * 40_000, "," * 40_000, 0),
        ("." * TEXT_BYTES, "," * TEXT_BYTES, 5),
        ("\u0301" * (TEXT_BYTES // 2), "\u200b" * (TEXT_BYTES // 3), 0),
        ("x" * TEXT_BYTES, "中" * (TEXT_BYTES // 3), 0),
    ],
    ids=["kilobyte", "long", "largest", "nothing but marks", "no white space"],
)
def test_texts_of_many_tokens_cost_little(
    served: LocalServer, stub: ranker_pb2_grpc.RankServiceStub, query: str, document: str, max_length: int
) -> None:
    idle = memory(served.process.pid)
    rank = request(query=query, texts=[document] * 5, max_length=max_length, request_id="r")
    pairs = [ranker_pb2.Pair(query=query, document=document)] * 5
    with watched_health(served.target) as health:
        assert len(stub.Rank(rank, timeout=60).results) == 5
        assert len(stub.Score(ranker_pb2.ScoreRequest(pairs=pairs, max_length=max_length), timeout=60).scores) == 5
        (reply,) = stub.RankStream(iter([ranker_pb2.RankStreamRequest(request=rank)]), timeout=60)
        assert len(reply.response.results) == 5
    assert memory(served.process.pid, "VmHWM") < 2 * idle
    assert health.serving and not health.others


def test_a_long_query_with_long_documents_costs_little(
    served: LocalServer, stub: ranker_pb2_grpc.RankServiceStub
) -> None:
    idle = memory(served.process.pid)
    prose = "A ranker orders documents by how well they answer a query. " * 280
    with watched_health(served.target) as health:
        response = stub.Rank(request(query=prose, texts=[f"{number} {prose}" for number in range(20)]), timeout=60)
    assert response.usage.truncated_documents == 20
    assert memory(served.process.pid, "VmHWM") < 2 * idle
    assert health.serving and not health.others


def test_what_is_too_much_for_its_deadline_is_refused_at_once_and_harms_nobody(
    served: LocalServer, stub: ranker_pb2_grpc.RankServiceStub
) -> None:
    stub.Rank(request(texts=["warm up " * 50] * 20), timeout=120)
    idle = memory(served.process.pid)
    large = request(texts=["word " * 3000] * 1000)
    chunked = request(texts=["word " * 3000] * 1000, long_document_strategy=CHUNK)
    with watched_health(served.target) as health:
        for _ in range(3):
            assert refusal(stub.Rank.future(large, timeout=0.5)) == ("RESOURCE_EXHAUSTED", False)
            assert refusal(stub.Rank.future(chunked, timeout=10)) == ("RESOURCE_EXHAUSTED", False)
            small = [stub.Rank.future(request(texts=[f"text {number}"]), timeout=10) for number in range(8)]
            assert all(call.result().results for call in small)
    assert memory(served.process.pid, "VmHWM") < 2 * idle + 32
    assert health.serving and not health.others


def test_more_tokens_than_predicted_are_refused_while_they_are_made(
    served: LocalServer, stub: ranker_pb2_grpc.RankServiceStub
) -> None:
    """The query nearly fills a window, so that each token of the documents makes another pair."""
    query = "." * 508
    documents = request(query=query, texts=["," * 300] * 1000, long_document_strategy=CHUNK)
    before = memory(served.process.pid, "VmHWM")
    with watched_health(served.target) as health:
        assert refusal(stub.Rank.future(documents, timeout=3600)) == ("RESOURCE_EXHAUSTED", False)
    assert memory(served.process.pid, "VmHWM") - before < 150
    assert health.serving and not health.others


def test_small_calls_are_let_in_while_large_ones_are_served(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    large = request(texts=[f"{number} " + "word " * 500 for number in range(300)])
    running = [stub.Rank.future(large, timeout=120) for _ in range(3)]
    chunked = request(texts=["word " * 20_000], long_document_strategy=CHUNK)
    running.append(stub.Rank.future(chunked, timeout=120))
    small = [stub.Rank.future(request(texts=[f"text {number}"]), timeout=20) for number in range(50)]
    assert all(call.result().results for call in small)
    assert not all(call.done() for call in running), "the large calls were too small to show anything"
    for call in running:
        call.cancel()


def test_the_pushback_of_calls_refused_together_is_short_and_differs(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    texts = [f"{number} " + "word " * 500 for number in range(20)]
    alone = stub.Rank(request(texts=texts), timeout=120)
    enough = 2 * (alone.timings.queue.ToNanoseconds() + alone.timings.compute.ToNanoseconds()) / 1e9
    calls = [stub.Rank.future(request(texts=texts), timeout=enough) for _ in range(40)]
    refused: list[int] = []
    for call in calls:
        try:
            call.result()
        except grpc.RpcError as error:
            trailing: Any = error.trailing_metadata()
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                refused.append(int(dict(trailing)["grpc-retry-pushback-ms"]))
    assert len(refused) > 2
    assert max(refused) <= 3000
    assert len(set(refused)) > 1


@pytest.mark.parametrize("strategy", [0, CHUNK])
def test_documents_of_megabytes_hold_up_nobody(
    generous: LocalServer, generous_stub: ranker_pb2_grpc.RankServiceStub, strategy: int
) -> None:
    document = "a word and another one, " * (2 * MIB // 24)
    long = request(texts=[document] * (20 if strategy == 0 else 1), max_length=64, long_document_strategy=strategy)
    answered = 0
    running = threading.Event()
    with watched_health(generous.target) as health:
        call = generous_stub.Rank.future(long, timeout=120)
        call.add_done_callback(lambda _: running.set())
        while not running.is_set():
            assert generous_stub.Rank(request(texts=["a short one"]), timeout=20).results
            answered += 1
        response = call.result()
    assert response.usage.truncated_documents == len(long.documents)
    assert answered
    assert not health.others


def test_a_query_of_megabytes_is_read_once_for_its_call(
    generous: LocalServer, generous_stub: ranker_pb2_grpc.RankServiceStub
) -> None:
    idle = memory(generous.process.pid)
    query = "a word and another one, " * (2 * MIB // 24)
    with watched_health(generous.target) as health:
        response = generous_stub.Rank(
            request(query=query, texts=[f"text {number}" for number in range(1000)], max_length=16), timeout=120
        )
    assert len(response.results) == 1000
    assert memory(generous.process.pid, "VmHWM") < 2 * idle + 64
    assert health.serving and not health.others
