"""Load on a server: calls sent at times that do not wait for answers, and measured from the time they were due."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
import numpy as np

from crossrank.bench.workload import RankCall
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call.

    Attributes:
        due: seconds from the start at which it should have been sent.
        latency: seconds from then to its end.
        status: gRPC's name of how it ended.
        pairs: of it.
        queue: seconds that the server says it waited for its first run; 0 where it was not answered.
    """

    due: float
    latency: float
    status: str
    pairs: int
    queue: float


def message(call: RankCall) -> ranker_pb2.RankRequest:
    """A call as the contract has it."""
    return ranker_pb2.RankRequest(
        query=call.query, documents=[ranker_pb2.Document(text=text) for text in call.documents]
    )


def open_loop(
    target: str, calls: Sequence[RankCall], *, rate: float, seconds: float, deadline: float, seed: int
) -> list[Outcome]:
    """Sends calls as a Poisson process, whatever the server does.

    Args:
        target: "host:port".
        calls: taken in turn.
        rate: calls a second.
        seconds: for how long calls are sent.
        deadline: seconds of each call.
        seed: of the times.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=int(rate * seconds * 2) + 10)
    due = [float(at) for at in np.cumsum(gaps) if at < seconds]
    requests = [message(call) for call in calls]

    async def run() -> list[Outcome]:
        async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            start = time.perf_counter()

            async def one(number: int, at: float) -> Outcome:
                await asyncio.sleep(start + at - time.perf_counter())
                return await _call(stub, requests[number % len(requests)], start, at, deadline)

            return await asyncio.gather(*(one(number, at) for number, at in enumerate(due)))

    return asyncio.run(run())


def closed_loop(
    target: str, calls: Sequence[RankCall], *, clients: int, seconds: float, deadline: float
) -> list[Outcome]:
    """Clients that each send their next call when the last one is answered.

    Args:
        target: "host:port".
        calls: each client begins at another one.
        clients: how many.
        seconds: for how long calls are sent; each client sends one at least.
        deadline: seconds of each call.
    """
    requests = [message(call) for call in calls]

    async def run() -> list[Outcome]:
        async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            start = time.perf_counter()

            async def client(number: int) -> list[Outcome]:
                outcomes: list[Outcome] = []
                while (at := time.perf_counter() - start) < seconds or not outcomes:
                    outcomes.append(await _call(stub, requests[number % len(requests)], start, at, deadline))
                    number += clients
                return outcomes

            return [outcome for part in await asyncio.gather(*map(client, range(clients))) for outcome in part]

    return asyncio.run(run())


async def _call(
    stub: "ranker_pb2_grpc.RankServiceAsyncStub",  # of the type stubs alone
    request: ranker_pb2.RankRequest,
    start: float,
    due: float,
    deadline: float,
) -> Outcome:
    queue = 0.0
    try:
        response = await stub.Rank(request, timeout=deadline)
        status, queue = "OK", response.timings.queue.ToNanoseconds() / 1e9
    except grpc.RpcError as error:
        status = error.code().name
    return Outcome(due, time.perf_counter() - start - due, status, len(request.documents), queue)
