"""Checks of a server under load, each with its aim: capacity, fairness, overload, dropped requests."""

import asyncio
import logging
import statistics
import time
from collections.abc import Iterator, Sequence

import grpc
import numpy as np

from benchmarks.observed_server import ObservedServer
from benchmarks.results import Check
from crossrank.bench.load.generator import Session, run_load
from crossrank.bench.load.load_metrics import STOPPED, Load, Outcome
from crossrank.bench.load.targets import to_message
from crossrank.bench.load.workload import RerankRequest, passage_requests
from crossrank.errors import CrossrankError
from crossrank.v1 import ranker_pb2_grpc

_log = logging.getLogger("crossrank.benchmarks")

_CONCURRENCY = 8
_LONG_DEADLINE = 60.0


def run_checks(server: ObservedServer, documents: int, seconds: float, workers: int, seed: int) -> Iterator[Check]:
    """Puts a server under load in several ways.

    Args:
        server: a running one, which nothing else uses.
        documents: of each request.
        seconds: length of a measurement.
        workers: of the server.
        seed: random seed of texts and arrival times.

    Raises:
        CrossrankError: the server does not answer.
        KeyboardInterrupt: it was stopped.
    """
    requests = passage_requests(16, documents, seed + 200)
    _log.info("measure the capacity")
    pairs_per_second, cores = capacity(server, requests, seconds / 2)
    yield cores
    _log.info("requests at 70%% of the capacity")
    yield steadiness(server, requests, pairs_per_second, seconds * 2)
    _log.info("5 documents next to requests of 1,000")
    yield fairness(server, pairs_per_second, workers, seed)
    _log.info("5 times the capacity")
    yield from overload(server, requests, pairs_per_second, seconds)
    _log.info("requests that expire or are cancelled")
    yield dead_requests(server, workers, seed)


def capacity(server: ObservedServer, requests: Sequence[RerankRequest], seconds: float) -> tuple[float, Check]:
    """Pairs a second with eight clients, and whether one client alone keeps all cores busy."""
    _closed(server, requests, 1, 1.0)
    cores = len(server.process.cpu_affinity())
    before, started = server.cpu_seconds(), time.perf_counter()
    _closed(server, requests, 1, seconds)
    busy = (server.cpu_seconds() - before) / (time.perf_counter() - started) / cores
    check = Check(
        name="cores in use with one client",
        value=busy,
        unit="of all",
        aim="at least 0.9",
        reached=busy >= 0.9,
        details={"cores": float(cores)},
    )
    return _throughput(server, requests, seconds), check


def steadiness(
    server: ObservedServer, requests: Sequence[RerankRequest], pairs_per_second: float, seconds: float
) -> Check:
    """p99 over p50 of the latency at 70% of capacity."""
    rate = 0.7 * pairs_per_second / len(requests[0].documents)
    load = run_load(
        server.target,
        lambda session: session.open_loop(requests, rate=rate, seconds=seconds, deadline=_LONG_DEADLINE, seed=1),
    )
    outcomes = _ended(load)
    answered = [outcome.latency for outcome in outcomes if outcome.status == "OK"]
    if not answered:
        raise CrossrankError("the server answered no request at 70% of its capacity")
    p50, p99 = np.percentile(answered, [50, 99])
    return Check(
        name="p99 over p50 at 70% of capacity",
        value=float(p99 / p50),
        unit="ratio",
        aim="small; a queue with random arrivals has 3 to 5",
        reached=bool(p99 / p50 <= 5),
        details={"p50 ms": float(p50 * 1000), "p99 ms": float(p99 * 1000), "requests": float(len(outcomes))},
    )


def fairness(server: ObservedServer, pairs_per_second: float, workers: int, seed: int) -> Check:
    """The wait of a request of 5 documents next to a stream of 1,000-document requests, in pairs of one worker."""
    [small] = passage_requests(1, 5, seed + 1)
    large = passage_requests(2, 1000, seed + 2)
    seconds = 3 * 1000 / pairs_per_second
    before = server.pairs()
    waits: list[float] = []
    latencies: list[float] = []

    async def next_to_large(session: Session) -> Load:
        stream = asyncio.create_task(
            session.closed_loop(large, concurrency=2, seconds=seconds, deadline=_LONG_DEADLINE)
        )
        await asyncio.to_thread(server.pairs_since, before, lambda pairs: pairs["computed"] > 2)
        while not stream.done() and len(waits) < 100:
            load = await session.closed_loop([small], concurrency=1, seconds=0, deadline=_LONG_DEADLINE)
            for outcome in load.outcomes:
                if not stream.done() and outcome.status == "OK":
                    waits.append(outcome.server["queue"])
                    latencies.append(outcome.latency)
            await asyncio.sleep(0.05)
        return await stream

    _ended(run_load(server.target, next_to_large))
    if not waits:
        raise CrossrankError("no request of 5 documents was answered next to requests of 1,000")
    pair = workers / pairs_per_second
    wait = statistics.median(waits) / pair
    return Check(
        name="wait of 5 documents next to requests of 1,000",
        value=wait,
        unit="pairs' time",
        aim="below 3",
        reached=wait < 3,
        details={
            "worst, pairs' time": max(waits) / pair,
            "median latency ms": statistics.median(latencies) * 1000,
            "requests": float(len(waits)),
        },
    )


def overload(
    server: ObservedServer, requests: Sequence[RerankRequest], pairs_per_second: float, seconds: float
) -> list[Check]:
    """Goodput, refusals and memory at five times the capacity, which is measured again afterwards: machines drift."""
    documents = len(requests[0].documents)
    memory = server.resident_mib()
    rate = 5 * pairs_per_second / documents
    load = run_load(
        server.target, lambda session: session.open_loop(requests, rate=rate, seconds=seconds, deadline=2.0, seed=2)
    )
    outcomes = _ended(load)
    grown = server.resident_mib() - memory
    ended = max((outcome.due + outcome.latency for outcome in outcomes if outcome.status == "OK"), default=seconds)
    afterwards = _throughput(server, requests, seconds / 2)
    goodput = _answered(outcomes) / ended / statistics.mean([pairs_per_second, afterwards])
    refused = [outcome.latency * 1000 for outcome in outcomes if outcome.status == "RESOURCE_EXHAUSTED"]
    p99 = float(np.percentile(refused, 99)) if refused else 0.0
    statuses = dict.fromkeys(sorted({outcome.status for outcome in outcomes}), 0.0)
    for outcome in outcomes:
        statuses[outcome.status] += 1
    return [
        Check(
            name="goodput at 5 times the capacity",
            value=goodput,
            unit="of capacity",
            aim="at least 0.9",
            reached=goodput >= 0.9,
            details={"capacity before": pairs_per_second, "and after, pairs/s": afterwards, **statuses},
        ),
        Check(
            name="refusal at 5 times the capacity, p99",
            value=p99,
            unit="ms",
            aim="at most 50",
            reached=bool(refused) and p99 <= 50,
            details={"median ms": statistics.median(refused) if refused else 0.0, "worst ms": max(refused, default=0)},
        ),
        Check(
            name="resident memory gained under overload",
            value=grown,
            unit="MiB",
            aim="flat: below 5% of what it was",
            reached=grown < 0.05 * memory,
            details={"before MiB": memory},
        ),
    ]


def dead_requests(server: ObservedServer, workers: int, seed: int) -> Check:
    """Pairs that were run for requests that nobody waited for: one that expired, then one that was cancelled."""
    expiring, cancelled = passage_requests(2, 1000, seed + 3)
    wasted = dropped = 0.0
    with grpc.insecure_channel(server.target) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        for request, deadline in ((expiring, 0.5), (cancelled, _LONG_DEADLINE)):
            before = server.pairs()
            # Nothing else is queued, so it is not refused.
            dying = stub.Rank.future(to_message(request), timeout=deadline)
            server.pairs_since(before, lambda pairs: pairs["computed"] + pairs["dropped"] > 0)
            if request is cancelled:
                dying.cancel()
            since = server.pairs_since(before, lambda pairs: pairs["computed"] + pairs["dropped"] >= 1000)
            wasted += since["wasted"]
            dropped += since["dropped"]
    # Of each request one batch in flight on every worker. The longest pairs run first, at most about eight in a batch.
    most = 2 * workers * 8
    return Check(
        name="pairs run for dead requests",
        value=wasted,
        unit="pairs",
        aim=f"only batches in flight, at most {most}",
        reached=wasted <= most and dropped > 0,
        details={"dropped": dropped},
    )


def _throughput(server: ObservedServer, requests: Sequence[RerankRequest], seconds: float) -> float:
    """Pairs a second with eight clients."""
    load = _closed(server, requests, _CONCURRENCY, seconds)
    answered = _answered(load.outcomes)
    if not answered:
        raise CrossrankError("the server answered no request, so its capacity is unknown")
    return answered / load.seconds


def _closed(server: ObservedServer, requests: Sequence[RerankRequest], concurrency: int, seconds: float) -> Load:
    load = run_load(
        server.target,
        lambda session: session.closed_loop(
            requests, concurrency=concurrency, seconds=seconds, deadline=_LONG_DEADLINE
        ),
    )
    _ended(load)
    return load


def _ended(load: Load) -> list[Outcome]:
    """The outcomes of a load that went on to its end.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    if load.cut_short == STOPPED:
        raise KeyboardInterrupt
    return load.outcomes


def _answered(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.pairs for outcome in outcomes if outcome.status == "OK")
