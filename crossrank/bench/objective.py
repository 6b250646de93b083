"""A latency objective (SLO), and the highest rate that meets it."""

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from crossrank.bench.outcomes import Load, Outcome
from crossrank.errors import UsageError

_OBJECTIVE = re.compile(r"p(?P<percentile>\d{1,2}(\.\d+)?)=(?P<number>\d+(\.\d+)?)(?P<unit>ms|s)")
_UNITS = {"ms": 0.001, "s": 1.0}

# Bisection ends when the rate is known to so much of itself.
_PRECISION = 0.1
_MOST_STEPS = 12
# A higher one would need more calls than a search may send.
_HIGHEST_PERCENTILE = 99.9


@dataclass(frozen=True, slots=True)
class Objective:
    """So many percent of the calls are answered within so many seconds; a call that fails never is."""

    percentile: float
    seconds: float

    def __str__(self) -> str:
        return f"p{self.percentile:g}={1000 * self.seconds:.12g}ms"

    def measured(self, outcomes: Sequence[Outcome]) -> float:
        """The latency at the percentile in seconds; infinite where that call failed."""
        latencies = [outcome.latency if outcome.status == "OK" else math.inf for outcome in outcomes]
        # Not interpolated: between a number and infinity there is nothing.
        return float(np.percentile(latencies, self.percentile, method="inverted_cdf")) if latencies else math.inf

    @property
    def calls(self) -> int:
        """So many calls the percentile needs at least: of fewer, a single one would decide."""
        return math.ceil(100 / (100 - self.percentile))

    def met(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether the calls kept it."""
        return self.measured(outcomes) <= self.seconds


def parse_objective(text: str) -> Objective:
    """Reads "p99=200ms" or "p95=1.5s".

    Raises:
        UsageError: it is none.
    """
    found = _OBJECTIVE.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no latency objective; write one like p99=200ms")
    objective = Objective(float(found["percentile"]), float(found["number"]) * _UNITS[found["unit"]])
    if not (0 < objective.percentile <= _HIGHEST_PERCENTILE and objective.seconds > 0):
        raise UsageError(f"{text!r}: the percentile must be above 0 and at most 99.9, and the time above 0")
    return objective


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for the highest rate found.

    Attributes:
        rate: highest one in calls a second that was seen to meet the objective; 0 where none did.
        steps: every measurement, in order.
        limit: what ended the search; empty where a rate little above it missed the objective.
    """

    rate: float
    steps: list[tuple[float, Load]]
    limit: str


async def highest_rate(
    measure: Callable[[float], Awaitable[Load]],
    objective: Objective,
    first: float,
    *,
    least: float = 0.0,
    most: float = math.inf,
) -> Search:
    """Doubles the rate until the objective is missed, or halves it until it is met, then bisects.

    Args:
        measure: puts a load of a rate in calls a second on the server.
        objective: what must be met.
        first: rate to begin with.
        least: rate below which none is tried, but for the first.
        most: rate above which none is tried.
    """
    met, missed, limit = 0.0, math.inf, f"the search ended after {_MOST_STEPS} measurements"
    rate = min(first, most)
    steps: list[tuple[float, Load]] = []
    while len(steps) < _MOST_STEPS:
        load = await measure(rate)
        if load.outcomes:
            steps.append((rate, load))
        if load.cut_short:
            limit = load.cut_short
            break
        if objective.met(load.outcomes):
            met = rate
            if rate >= most:
                limit = "no higher rate was tried"
                break
        else:
            missed = rate
            if met == 0 and rate / 2 < least:
                limit = "no lower rate was tried"
                break
        if math.isinf(missed):
            rate = min(2 * rate, most)
        elif met == 0:
            rate /= 2
        elif missed / met <= 1 + _PRECISION:
            limit = ""
            break
        else:
            rate = math.sqrt(met * missed)
    return Search(met, steps, limit)
