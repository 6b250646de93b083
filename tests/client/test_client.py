import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

from crossrank.client import AsyncRankClient, RankClient
from crossrank.errors import CrossrankError, DeadlineExceeded, Overloaded, Unavailable, UnknownModel
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

DOCUMENTS = ["def add(a, b): return a + b", "", "import os"]


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[RankClient]:
    with RankClient(server) as made:
        yield made


def test_the_models_of_a_server_are_listed(server: str, client: RankClient) -> None:
    async def ask() -> list[ranker_pb2.Model]:
        async with AsyncRankClient(server) as asynchronous:
            return await asynchronous.models()

    (model,) = client.models()
    assert (model.name, model.is_default) == ("default", True)
    assert asyncio.run(ask()) == [model]


def test_predict_takes_more_pairs_than_one_call_may_hold(client: RankClient) -> None:
    scores = client.predict([("add", DOCUMENTS[n % 3]) for n in range(1201)])
    assert scores.shape == (1201,)
    assert np.array_equal(scores[:3], scores[3:6])
    assert np.array_equal(scores[:1200].reshape(-1, 3), np.tile(scores[:3], (400, 1)))


def test_a_stream_raises_what_a_call_would(server: str) -> None:
    with RankClient("127.0.0.1:1", timeout=5) as nobody, pytest.raises(Unavailable):
        next(nobody.rank_many([("q", ["d"])]))
    with RankClient(server, model="other") as other:
        [(place, error)] = other.rank_many([("q", ["d"])])
    assert place == 0 and isinstance(error, UnknownModel)


def test_one_client_serves_many_threads(client: RankClient) -> None:
    expected = client.rank("add two numbers", DOCUMENTS)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.rank("add two numbers", DOCUMENTS), range(40)))
    assert answers == [expected] * 40


def test_errors_are_typed(server: str) -> None:
    with RankClient(server, model="other") as client, pytest.raises(UnknownModel):
        client.rank("q", ["d"])
    with RankClient(server, timeout=0.001) as client, pytest.raises(DeadlineExceeded):
        client.rank("q", ["d"])
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with RankClient(f"127.0.0.1:{port}", timeout=5) as client, pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        client.rank("q", ["d"])


@contextmanager
def serving(servicer: ranker_pb2_grpc.RankServiceServicer) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    ranker_pb2_grpc.add_RankServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


class Busy(ranker_pb2_grpc.RankServiceServicer):
    """Refuses the first calls, and says when to come back."""

    pushback = "20"

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.calls = 0

    def Rank(self, request: ranker_pb2.RankRequest, context: grpc.ServicerContext) -> ranker_pb2.RankResponse:  # noqa: N802
        self.calls += 1
        if self.calls <= self.refusals:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", self.pushback),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return ranker_pb2.RankResponse(results=[ranker_pb2.RankResult(index=0, score=1.0)])


@pytest.mark.parametrize(("refusals", "calls", "size"), [(2, 3, 1), (9, 4, 1), (2, 3, 3_000_000)])
def test_an_overloaded_server_is_asked_again(refusals: int, calls: int, size: int) -> None:
    busy = Busy(refusals)  # type: ignore[abstract]
    with serving(busy) as target, RankClient(target) as client:
        if refusals < calls:
            assert client.rank("q", ["d" * size]) == [{"corpus_id": 0, "score": 1.0}]
        else:
            with pytest.raises(Overloaded) as refused:
                client.rank("q", ["d"])
            assert refused.value.retry_after == 0.02
    assert busy.calls == calls


def test_most_calls_refused_are_not_tried_again() -> None:
    busy = Busy(10**9)  # type: ignore[abstract]
    with serving(busy) as target, RankClient(target) as client:
        for _ in range(100):
            with pytest.raises(Overloaded):
                client.rank("q", ["d"])
    assert busy.calls < 200, "4 attempts of each would be 400"


def test_a_server_may_forbid_to_try_again() -> None:
    class Never(Busy):
        pushback = "-1"

    busy = Never(1)  # type: ignore[abstract]
    with serving(busy) as target, RankClient(target) as client, pytest.raises(Overloaded) as refused:
        client.rank("q", ["d"])
    assert refused.value.retry_after is None
    assert busy.calls == 1


class Endless(ranker_pb2_grpc.RankServiceServicer):
    """Refuses each query of a stream, the first one for a while, and then waits until its client goes away."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def RankStream(  # noqa: N802
        self, request_iterator: Iterator[ranker_pb2.RankStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[ranker_pb2.RankStreamResponse]:
        context.add_callback(self.left.set)
        code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        for number, message in enumerate(request_iterator):
            error = ranker_pb2.RankStreamError(request_id=message.request.request_id, code=code)
            if number == 0:
                error.retry_after.FromMilliseconds(250)
            yield ranker_pb2.RankStreamResponse(error=error)
        self.left.wait(120)


def test_a_stream_says_when_to_try_again_and_ends_when_its_client_leaves_it() -> None:
    endless = Endless()  # type: ignore[abstract]
    with serving(endless) as target, RankClient(target) as client:
        outcomes = client.rank_many([("q", ["d"]), ("q", ["d"])])
        errors = [error for _, error in (next(outcomes), next(outcomes)) if isinstance(error, Overloaded)]
        assert [error.retry_after for error in errors] == [0.25, None]
        assert not endless.left.is_set()
        outcomes.close()
        assert endless.left.wait(120)


class Tomorrow(ranker_pb2_grpc.RankServiceServicer):
    """A server newer than its clients: it has another status code, and then another outcome."""

    def RankStream(  # noqa: N802
        self, request_iterator: Iterator[ranker_pb2.RankStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[ranker_pb2.RankStreamResponse]:
        yield ranker_pb2.RankStreamResponse(error=ranker_pb2.RankStreamError(request_id="0", code=99, message="new"))
        yield ranker_pb2.RankStreamResponse()


def test_what_a_newer_server_sends_is_a_typed_error() -> None:
    tomorrow = Tomorrow()  # type: ignore[abstract]
    with serving(tomorrow) as target, RankClient(target) as client:
        outcomes = client.rank_many([("q", ["d"]), ("q", ["d"])])
        index, error = next(outcomes)
        assert (index, type(error), str(error)) == (0, CrossrankError, "new")
        with pytest.raises(CrossrankError, match="update crossrank"):
            next(outcomes)


def test_a_stream_that_an_async_client_leaves_ends_too() -> None:
    endless = Endless()  # type: ignore[abstract]

    async def leave(target: str) -> bool:
        async with AsyncRankClient(target) as client:
            outcomes = client.rank_many([("q", ["d"])])
            await anext(outcomes)
            await outcomes.aclose()
            return await asyncio.to_thread(endless.left.wait, 10)

    with serving(endless) as target:
        assert asyncio.run(leave(target))


def test_an_asynchronous_client_goes_from_one_event_loop_to_the_next(server: str) -> None:
    client = AsyncRankClient(server)  # at module level no loop runs yet
    first = asyncio.run(client.rank("q", ["a"]))
    assert asyncio.run(client.rank("q", ["a"])) == first
