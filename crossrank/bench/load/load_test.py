"""`crossrank bench load`: a load on a running server, or the highest rate that it carries within an objective."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import count

from crossrank.bench.load.generator import Session, run_load
from crossrank.bench.load.load_metrics import STOPPED, Load, LoadMeasurement, summarize
from crossrank.bench.load.slo import LatencySlo, MaxRateSearch, find_max_rate
from crossrank.bench.load.workload import RerankRequest, describe_workload, workload_requests
from crossrank.bench.options import MAX_REQUESTS, LoadOptions
from crossrank.bench.results import RATE, LoadTestResult, this_run
from crossrank.errors import CrossrankError

_log = logging.getLogger("crossrank.bench")

# A search gives each rate the time for this many requests that may miss the percentile, but no more than a usual step;
# for a single such request it waits up to the longest step.
_REQUESTS_BEYOND = 5
_USUAL_STEP = 60.0
_LONGEST_STEP = 300.0


def bench_load(options: LoadOptions) -> LoadTestResult:
    """Puts a load on a server and measures it; Ctrl-C keeps what was measured until then.

    Raises:
        UsageError: the target or the workload cannot be used.
        CrossrankError: no reranking server answers there, it answers no request, or it was stopped before any.
    """
    requests = workload_requests(options.workload, options.distinct_requests, options.documents, options.seed)
    steps, search = run_load(options.target, lambda session: _measured(session, options, requests))
    within = options.slo.seconds if options.slo else None
    loads = [summarize(load, settings, within) for settings, load in steps if load.outcomes]
    if not loads:
        raise CrossrankError("it was stopped before any request had ended")
    if not any(load.latency_ms for load in loads):
        raise CrossrankError(_none_answered(loads))
    settings = options.model_dump() | {"slo": str(options.slo or ""), "rate": options.rate or 0.0}
    return LoadTestResult(
        **this_run(settings | describe_workload(requests)),
        loads=loads,
        max_rate=search.rate if search else None,
        rate_limit=search.limit if search else "",
    )


async def search_max_rate(
    session: Session,
    options: LoadOptions,
    slo: LatencySlo,
    requests: list[RerankRequest],
) -> MaxRateSearch:
    """Searches the highest rate in requests a second that meets an objective.

    Raises:
        CrossrankError: the server answers no request.
    """
    _log.info("one client, for a first estimate")
    # With time enough: missing the objective at every rate is a finding, not a fault of the server.
    alone = await session.closed_loop(requests, concurrency=1, seconds=min(options.seconds, 5.0), deadline=_USUAL_STEP)
    first = summarize(alone, {})
    if session.stopped:
        return MaxRateSearch(0.0, [], STOPPED)
    if not first.goodput:
        raise CrossrankError(_none_answered([first]))

    # With one seed, requests that happen to come close together would come so at every rate, and decide the search.
    seeds = count(options.seed)

    async def measure(rate: float) -> Load:
        needed = min(slo.min_requests / rate, _LONGEST_STEP)
        seconds = max(options.seconds, needed, min(_REQUESTS_BEYOND * slo.min_requests / rate, _USUAL_STEP))
        _log.info("%.3g requests a second for %.0f s", rate, seconds)
        return await _open(session, options, requests, rate, seconds, next(seeds))

    return await find_max_rate(
        measure,
        slo,
        first.goodput / 2,
        least=slo.min_requests / _LONGEST_STEP,
        most=MAX_REQUESTS / max(options.seconds, _USUAL_STEP),
    )


def _none_answered(loads: Sequence[LoadMeasurement]) -> str:
    statuses: Counter[str] = Counter()
    for load in loads:
        statuses.update(load.statuses)
    counts = ", ".join(f"{status} {count}" for status, count in statuses.items())
    return f"the server answered none of {statuses.total()} requests: {counts}"


async def _measured(
    session: Session, options: LoadOptions, requests: list[RerankRequest]
) -> tuple[list[tuple[dict[str, str | float], Load]], MaxRateSearch | None]:
    """The settings and outcomes of each load, and the search where the highest rate was wanted."""
    if options.warm_up:
        _log.info("warm up for %g s", options.warm_up)
        await session.closed_loop(
            requests, concurrency=options.concurrency, seconds=options.warm_up, deadline=options.deadline
        )
    if session.stopped:
        return [], None
    if options.slo:
        search = await search_max_rate(session, options, options.slo, requests)
        return [({RATE: rate}, load) for rate, load in search.steps], search
    if options.rate:
        _log.info("%g requests a second for %g s", options.rate, options.seconds)
        load = await _open(session, options, requests, options.rate, options.seconds, options.seed)
        return [({RATE: options.rate}, load)], None
    _log.info("concurrency %d for %g s", options.concurrency, options.seconds)
    load = await session.closed_loop(
        requests, concurrency=options.concurrency, seconds=options.seconds, deadline=options.deadline
    )
    return [({"concurrency": options.concurrency}, load)], None


async def _open(
    session: Session, options: LoadOptions, requests: list[RerankRequest], rate: float, seconds: float, seed: int
) -> Load:
    return await session.open_loop(
        requests,
        rate=rate,
        seconds=seconds,
        deadline=options.deadline,
        seed=seed,
        arrivals=options.arrivals,
    )
