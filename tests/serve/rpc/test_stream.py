"""RankStream on a real server: every query answered once, faults kept apart, drain and cancel."""

import signal
import threading
from collections.abc import Iterator

import grpc
import pytest

from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.serve.rpc.test_server import request


def queries(*requests: ranker_pb2.RankRequest) -> Iterator[ranker_pb2.RankStreamRequest]:
    for entry in requests:
        yield ranker_pb2.RankStreamRequest(request=entry)


@pytest.fixture(scope="module")
def stub(server: str) -> Iterator[ranker_pb2_grpc.RankServiceStub]:
    with grpc.insecure_channel(server) as channel:
        yield ranker_pb2_grpc.RankServiceStub(channel)


def test_every_query_is_answered_as_a_call_would_be(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    texts = [f"def function_{number}(x): return x * {number}" for number in range(6)]
    made = [request(query=f"function {number}", texts=texts, request_id=f"r{number}") for number in range(100)]
    answers = {reply.response.request_id: reply.response for reply in stub.RankStream(queries(*made), timeout=120)}
    assert len(answers) == 100
    for entry in made[::20]:
        alone = stub.Rank(entry, timeout=120)
        assert list(answers[entry.request_id].results) == list(alone.results)


def test_a_short_query_does_not_wait_for_a_long_one(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    long = request(texts=[f"{number} " + "word " * 90 for number in range(300)], request_id="long")
    order = [
        reply.response.request_id for reply in stub.RankStream(queries(long, request(request_id="short")), timeout=120)
    ]
    assert order == ["short", "long"]


def test_a_fault_of_one_query_leaves_the_others(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    made = [
        request(request_id="good"),
        request(query="", request_id="bad"),
        request(model="other", request_id="unknown"),
        request(),
        request(request_id="last"),
    ]
    replies = list(stub.RankStream(queries(*made), timeout=120))
    errors = {reply.error.request_id: reply.error for reply in replies if reply.HasField("error")}
    assert {reply.response.request_id for reply in replies if reply.HasField("response")} == {"good", "last"}
    assert errors["bad"].code == 3 and errors["bad"].message.startswith("query: ")
    assert errors["unknown"].code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "request.request_id: " in errors[""].message


def test_two_unanswered_queries_of_one_id(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    long = request(texts=[f"{number} " + "word " * 80 for number in range(200)], request_id="same")
    replies = list(stub.RankStream(queries(long, request(request_id="same")), timeout=120))
    assert sorted(reply.WhichOneof("outcome") or "" for reply in replies) == ["error", "response"]
    assert next(reply.error.code for reply in replies if reply.HasField("error")) == 3


def test_a_drain_answers_what_was_read_and_ends_the_stream() -> None:
    with local_server() as (target, process), grpc.insecure_channel(target) as channel:
        more = threading.Event()

        def endless() -> Iterator[ranker_pb2.RankStreamRequest]:
            yield from queries(request(texts=["word " * 90] * 100, request_id="one"))
            more.wait(120)

        stub = ranker_pb2_grpc.RankServiceStub(channel)
        stub.Rank(request(), timeout=120)
        replies = stub.RankStream(endless(), timeout=120)
        first = stub.Rank(request(texts=["some text"]), timeout=120)
        assert first.results
        process.send_signal(signal.SIGTERM)
        assert len(next(replies).response.results) == 100
        with pytest.raises(grpc.RpcError) as ended:
            next(replies)
        more.set()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert process.wait(120) == 0


def test_a_stream_that_its_client_leaves_costs_nothing_more(stub: ranker_pb2_grpc.RankServiceStub) -> None:
    """Its 60 queries of 300 documents would take minutes; what comes after them does not wait for that."""
    texts = [f"{number} " + "word " * 90 for number in range(300)]
    replies = stub.RankStream(
        queries(*(request(texts=texts, request_id=str(number)) for number in range(60))), timeout=120
    )
    assert stub.Rank(request(texts=["one"]), timeout=120).results
    replies.cancel()
    after = [stub.Rank(request(texts=[text]), timeout=120).timings.queue.ToNanoseconds() for text in texts[:5]]
    assert after[-1] < 1e10
    last = stub.Rank(request(texts=texts, request_id="last"), timeout=120)
    assert len(last.results) == 300
