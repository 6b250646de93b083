"""Properties of a server under load, each beside its aim."""

import asyncio
import statistics
import time
from collections.abc import Sequence

import grpc
import numpy as np

from crossrank.bench.load import Session, run_load
from crossrank.bench.outcomes import STOPPED, Load, Outcome
from crossrank.bench.result import Check
from crossrank.bench.server import Server
from crossrank.bench.targets import message
from crossrank.bench.workload import RankCall, rank_calls
from crossrank.errors import CrossrankError
from crossrank.v1 import ranker_pb2_grpc

_CLIENTS = 8
_LONG_DEADLINE = 60.0


def capacity(server: Server, calls: Sequence[RankCall], seconds: float) -> tuple[float, Check]:
    """Pairs a second with eight clients, and whether one client alone keeps all cores busy."""
    _closed(server, calls, 1, 1.0)
    cores = len(server.process.cpu_affinity())
    before, started = _cpu(server), time.perf_counter()
    _closed(server, calls, 1, seconds)
    busy = (_cpu(server) - before) / (time.perf_counter() - started) / cores
    check = Check(
        name="cores in use with one client",
        value=busy,
        unit="of all",
        aim="at least 0.9",
        reached=busy >= 0.9,
        details={"cores": float(cores)},
    )
    return _throughput(server, calls, seconds), check


def steadiness(server: Server, calls: Sequence[RankCall], pairs_per_second: float, seconds: float) -> Check:
    """p99 over p50 of the latency at 70% of capacity."""
    rate = 0.7 * pairs_per_second / len(calls[0].documents)
    load = run_load(
        server.target,
        lambda session: session.open_loop(calls, rate=rate, seconds=seconds, deadline=_LONG_DEADLINE, seed=1),
    )
    outcomes = _ended(load)
    answered = [outcome.latency for outcome in outcomes if outcome.status == "OK"]
    if not answered:
        raise CrossrankError("the server answered no call at 70% of its capacity")
    p50, p99 = np.percentile(answered, [50, 99])
    return Check(
        name="p99 over p50 at 70% of capacity",
        value=float(p99 / p50),
        unit="ratio",
        aim="small; a queue with random arrivals has 3 to 5",
        reached=bool(p99 / p50 <= 5),
        details={"p50 ms": float(p50 * 1000), "p99 ms": float(p99 * 1000), "calls": float(len(outcomes))},
    )


def fairness(server: Server, pairs_per_second: float, workers: int, seed: int) -> Check:
    """How long a call of 5 documents waits beside a stream of 1,000-document calls, in pairs of one worker."""
    [small] = rank_calls(1, 5, seed + 1)
    large = rank_calls(2, 1000, seed + 2)
    seconds = 3 * 1000 / pairs_per_second
    before = server.pairs()
    waits: list[float] = []
    latencies: list[float] = []

    async def beside(session: Session) -> Load:
        stream = asyncio.create_task(session.closed_loop(large, clients=2, seconds=seconds, deadline=_LONG_DEADLINE))
        await asyncio.to_thread(server.pairs_since, before, lambda pairs: pairs["computed"] > 2)
        while not stream.done() and len(waits) < 100:
            load = await session.closed_loop([small], clients=1, seconds=0, deadline=_LONG_DEADLINE)
            for outcome in load.outcomes:
                if not stream.done() and outcome.status == "OK":
                    waits.append(outcome.server["queue"])
                    latencies.append(outcome.latency)
            await asyncio.sleep(0.05)
        return await stream

    _ended(run_load(server.target, beside))
    if not waits:
        raise CrossrankError("no call of 5 documents was answered beside calls of 1,000")
    pair = workers / pairs_per_second
    wait = statistics.median(waits) / pair
    return Check(
        name="wait of 5 documents beside calls of 1,000",
        value=wait,
        unit="pairs' time",
        aim="below 3",
        reached=wait < 3,
        details={
            "worst, pairs' time": max(waits) / pair,
            "median latency ms": statistics.median(latencies) * 1000,
            "calls": float(len(waits)),
        },
    )


def overload(server: Server, calls: Sequence[RankCall], pairs_per_second: float, seconds: float) -> list[Check]:
    """Goodput, refusals and memory at five times the capacity, which is measured again afterwards: machines drift."""
    documents = len(calls[0].documents)
    memory = server.resident_mib()
    rate = 5 * pairs_per_second / documents
    load = run_load(
        server.target, lambda session: session.open_loop(calls, rate=rate, seconds=seconds, deadline=2.0, seed=2)
    )
    outcomes = _ended(load)
    grown = server.resident_mib() - memory
    ended = max((outcome.due + outcome.latency for outcome in outcomes if outcome.status == "OK"), default=seconds)
    afterwards = _throughput(server, calls, seconds / 2)
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


def dead_calls(server: Server, workers: int, seed: int) -> Check:
    """Pairs that were run for calls that nobody waited for any more: one that expired, then one that was cancelled."""
    expiring, cancelled = rank_calls(2, 1000, seed + 3)
    wasted = dropped = 0.0
    with grpc.insecure_channel(server.target) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        for call, deadline in ((expiring, 0.5), (cancelled, _LONG_DEADLINE)):
            before = server.pairs()
            # Nothing else is queued, so it is not refused.
            dying = stub.Rank.future(message(call), timeout=deadline)
            server.pairs_since(before, lambda pairs: pairs["computed"] + pairs["dropped"] > 0)
            if call is cancelled:
                dying.cancel()
            since = server.pairs_since(before, lambda pairs: pairs["computed"] + pairs["dropped"] >= 1000)
            wasted += since["wasted"]
            dropped += since["dropped"]
    # Of each call a run in flight on every worker. The longest pairs run first: hardly more than eight fit into a run.
    most = 2 * workers * 8
    return Check(
        name="pairs run for dead calls",
        value=wasted,
        unit="pairs",
        aim=f"only runs in flight, at most {most}",
        reached=wasted <= most and dropped > 0,
        details={"dropped": dropped},
    )


def _throughput(server: Server, calls: Sequence[RankCall], seconds: float) -> float:
    """Pairs a second with eight clients."""
    load = _closed(server, calls, _CLIENTS, seconds)
    answered = _answered(load.outcomes)
    if not answered:
        raise CrossrankError("the server answered no call, so it has no capacity to speak of")
    return answered / load.seconds


def _closed(server: Server, calls: Sequence[RankCall], clients: int, seconds: float) -> Load:
    load = run_load(
        server.target,
        lambda session: session.closed_loop(calls, clients=clients, seconds=seconds, deadline=_LONG_DEADLINE),
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


def _cpu(server: Server) -> float:
    times = server.process.cpu_times()
    return float(times.user + times.system)
