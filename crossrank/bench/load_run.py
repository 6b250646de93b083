"""`crossrank bench load`: a load on a running server, or the highest one that it carries within an objective."""

from collections.abc import Callable
from dataclasses import dataclass

from crossrank.bench.load import Arrivals, Load, closed_loop, open_loop
from crossrank.bench.load_summary import summarise
from crossrank.bench.objective import Objective, highest_rate
from crossrank.bench.result import Result, new_result
from crossrank.bench.workload import PASSAGES, RankCall, workload_calls
from serve.errors import CrossrankError, UsageError

# What one command may send at most; a slip of the hand should not become an attack.
_MOST_CALLS = 1_000_000
_MOST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """A load. With `rate` it is open, with `objective` its rate is looked for, else it is closed.

    Attributes:
        target: "host:port" over gRPC, or the URL of a `/rerank`.
        clients: of a closed loop, each of which waits for its answer.
        rate: calls a second of an open loop.
        arrivals: of an open loop.
        objective: of the search for the highest rate.
        seconds: of each measurement.
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
        CrossrankError: nothing that ranks answers there, or it answers nothing.
    """
    if options.rate and options.objective:
        raise UsageError("a rate and an objective exclude each other: with an objective the rate is looked for")
    if options.seconds > _MOST_SECONDS or (options.rate or 0) * options.seconds > _MOST_CALLS:
        raise UsageError(f"at most {_MOST_SECONDS:g} seconds and {_MOST_CALLS:,} calls a measurement; ask for less")
    calls = workload_calls(options.workload, options.calls, options.documents, options.seed)
    if options.warm_up:
        progress(f"warm up for {options.warm_up:g} s")
        _closed(options, calls, options.warm_up)
    steps, found = _measured(options, calls, progress)
    results = [summarise(load, how) for how, load in steps]
    return new_result(
        "load",
        {
            "target": options.target,
            "workload": options.workload,
            "documents": options.documents,
            "distinct calls": len(calls),
            "deadline seconds": options.deadline,
            "objective": str(options.objective or ""),
            "seed": options.seed,
        },
        loads=results,
        highest_rate=found,
    )


def find_highest_rate(
    options: LoadOptions, objective: Objective, calls: list[RankCall], progress: Callable[[str], None]
) -> tuple[float, list[tuple[float, Load]]]:
    """The highest rate in calls a second that meets an objective, and what was measured on the way.

    Raises:
        CrossrankError: the server answers no call.
    """
    alone = _closed(options, calls, min(options.seconds, 5.0))
    answered = sum(outcome.status == "OK" for outcome in alone.outcomes)
    if not answered:
        raise CrossrankError(f"{options.target} answered none of {len(alone.outcomes)} calls of one client")
    first = answered / alone.seconds / 2

    def measure(rate: float) -> Load:
        progress(f"{rate:.3g} calls a second")
        return _open(options, calls, rate)

    return highest_rate(measure, objective, first, _MOST_CALLS / options.seconds)


def _measured(
    options: LoadOptions, calls: list[RankCall], progress: Callable[[str], None]
) -> tuple[list[tuple[dict[str, str | float], Load]], float | None]:
    if options.objective:
        found, steps = find_highest_rate(options, options.objective, calls, progress)
        return [(_how(options, rate), load) for rate, load in steps], found
    if options.rate:
        progress(f"{options.rate:g} calls a second for {options.seconds:g} s")
        return [(_how(options, options.rate), _open(options, calls, options.rate))], None
    progress(f"{options.clients} clients for {options.seconds:g} s")
    return [({"clients": options.clients}, _closed(options, calls, options.seconds))], None


def _how(options: LoadOptions, rate: float) -> dict[str, str | float]:
    return {"calls a second": rate, "arrivals": options.arrivals}


def _open(options: LoadOptions, calls: list[RankCall], rate: float) -> Load:
    return open_loop(
        options.target,
        calls,
        rate=rate,
        seconds=options.seconds,
        deadline=options.deadline,
        seed=options.seed,
        arrivals=options.arrivals,
    )


def _closed(options: LoadOptions, calls: list[RankCall], seconds: float) -> Load:
    return closed_loop(options.target, calls, clients=options.clients, seconds=seconds, deadline=options.deadline)
