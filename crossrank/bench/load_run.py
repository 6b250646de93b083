"""`crossrank bench load`: a load on a running server, or the highest one that it carries within an objective."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count

from crossrank.bench.load import MOST_CALLS, Arrivals, Session, run_load
from crossrank.bench.load_result import LoadResult
from crossrank.bench.load_summary import summarise
from crossrank.bench.objective import Objective, Search, highest_rate
from crossrank.bench.outcomes import STOPPED, Load
from crossrank.bench.result import Result, new_result
from crossrank.bench.workload import PASSAGES, RankCall, describe, workload_calls
from crossrank.errors import CrossrankError, UsageError

MOST_SECONDS = 3600.0
# A search gives each rate time for so many calls that may miss the percentile, but no more than so many seconds; for a
# single such call it waits longer.
_CALLS_BEYOND = 5
_USUAL_STEP = 60.0
_LONGEST_STEP = 300.0
_MOST_CLIENTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """A load. With `rate` it is open, with `objective` its rate is looked for, else it is closed.

    Attributes:
        target: "host:port" over gRPC, or the URL of a `/rerank`.
        clients: of a closed loop, each of which waits for its answer.
        rate: calls a second of an open loop.
        arrivals: of an open loop.
        objective: of the search for the highest rate.
        seconds: of each measurement; of a search at least, where a percentile needs more.
        warm_up: seconds of a closed loop before it, which do not count.
        deadline: seconds of each call.
        workload: as `workload_calls` has it.
        documents: of a call.
        calls: that differ; they are sent in turn.
        seed: of texts and times.
    """

    target: str
    clients: int = 1
    rate: float | None = None
    arrivals: Arrivals = "poisson"
    objective: Objective | None = None
    seconds: float = 20.0
    warm_up: float = 3.0
    deadline: float = 30.0
    workload: str = PASSAGES
    documents: int = 50
    calls: int = 64
    seed: int = 0


def bench_load(options: LoadOptions, progress: Callable[[str], None] = lambda step: None) -> Result:
    """Puts the load on the server and measures it; Ctrl-C keeps what was measured until then.

    Raises:
        UsageError: what is asked for cannot be done.
        CrossrankError: nothing that ranks answers there, it answers no call, or it was stopped before any.
    """
    if options.rate and options.objective:
        raise UsageError("a rate and an objective exclude each other: with an objective the rate is looked for")
    # So written that what is no number is refused too.
    if not (
        max(options.seconds, options.warm_up, options.deadline) <= MOST_SECONDS
        and (options.rate or 0) * options.seconds <= MOST_CALLS
        and options.clients <= _MOST_CLIENTS
    ):
        raise UsageError(
            f"at most {MOST_SECONDS:g} seconds, {MOST_CALLS:,} calls and {_MOST_CLIENTS:,} clients a measurement; "
            "ask for less"
        )
    calls = workload_calls(options.workload, options.calls, options.documents, options.seed)
    steps, search = run_load(options.target, lambda session: _measured(session, options, calls, progress))
    within = options.objective.seconds if options.objective else None
    loads = [summarise(load, settings, within) for settings, load in steps if load.outcomes]
    if not loads:
        raise CrossrankError("it was stopped before any call had ended")
    if not any(load.latency_ms for load in loads):
        raise CrossrankError(_none_answered(loads))
    return new_result(
        "load",
        {**asdict(options), "objective": str(options.objective or ""), "rate": options.rate or 0.0, **describe(calls)},
        loads=loads,
        highest_rate=search.rate if search else None,
        rate_limit=search.limit if search else "",
    )


async def find_highest_rate(
    session: Session,
    options: LoadOptions,
    objective: Objective,
    calls: list[RankCall],
    progress: Callable[[str], None],
) -> Search:
    """The highest rate in calls a second that meets an objective.

    Raises:
        CrossrankError: the server answers no call.
    """
    progress("one client, to begin somewhere")
    # With time enough: what misses the objective everywhere is a finding, and no fault of the server's.
    alone = await session.closed_loop(calls, clients=1, seconds=min(options.seconds, 5.0), deadline=_USUAL_STEP)
    first = summarise(alone, {})
    if session.stopped:
        return Search(0.0, [], STOPPED)
    if not first.goodput:
        raise CrossrankError(_none_answered([first]))

    # With one seed, calls that happen to come close together would come so at every rate, and decide the search.
    seeds = count(options.seed)

    async def measure(rate: float) -> Load:
        needed = min(objective.calls / rate, _LONGEST_STEP)
        seconds = max(options.seconds, needed, min(_CALLS_BEYOND * objective.calls / rate, _USUAL_STEP))
        progress(f"{rate:.3g} calls a second for {seconds:.0f} s")
        return await _open(session, options, calls, rate, seconds, next(seeds))

    return await highest_rate(
        measure,
        objective,
        first.goodput / 2,
        least=objective.calls / _LONGEST_STEP,
        most=MOST_CALLS / max(options.seconds, _USUAL_STEP),
    )


def _none_answered(loads: Sequence[LoadResult]) -> str:
    statuses: Counter[str] = Counter()
    for load in loads:
        statuses.update(load.statuses)
    told = ", ".join(f"{status} {count}" for status, count in statuses.items())
    return f"the server answered none of {statuses.total()} calls: {told}"


async def _measured(
    session: Session, options: LoadOptions, calls: list[RankCall], progress: Callable[[str], None]
) -> tuple[list[tuple[dict[str, str | float], Load]], Search | None]:
    if options.warm_up:
        progress(f"warm up for {options.warm_up:g} s")
        await session.closed_loop(calls, clients=options.clients, seconds=options.warm_up, deadline=options.deadline)
    if session.stopped:
        return [], None
    if options.objective:
        search = await find_highest_rate(session, options, options.objective, calls, progress)
        return [({"calls/s": rate}, load) for rate, load in search.steps], search
    if options.rate:
        progress(f"{options.rate:g} calls a second for {options.seconds:g} s")
        load = await _open(session, options, calls, options.rate, options.seconds, options.seed)
        return [({"calls/s": options.rate}, load)], None
    progress(f"{options.clients} clients for {options.seconds:g} s")
    load = await session.closed_loop(calls, clients=options.clients, seconds=options.seconds, deadline=options.deadline)
    return [({"clients": options.clients}, load)], None


async def _open(
    session: Session, options: LoadOptions, calls: list[RankCall], rate: float, seconds: float, seed: int
) -> Load:
    return await session.open_loop(
        calls,
        rate=rate,
        seconds=seconds,
        deadline=options.deadline,
        seed=seed,
        arrivals=options.arrivals,
    )
