"""Latency objectives (SLO), and the search for the highest rate that meets one."""

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossrank.errors import UsageError

if TYPE_CHECKING:
    from crossrank.bench.load.load_metrics import Load, Outcome

_SLO = re.compile(r"p(?P<percentile>\d{1,2}(\.\d+)?)=(?P<number>\d+(\.\d+)?)(?P<unit>ms|s)")
_UNITS = {"ms": 0.001, "s": 1.0}

# Bisection ends when the rate is known to this share of itself.
_PRECISION = 0.1
_MOST_STEPS = 12
# A higher one would need more requests than a search may send.
_HIGHEST_PERCENTILE = 99.9


@dataclass(frozen=True, slots=True)
class LatencySlo:
    """`percentile` percent of the requests are answered within `seconds`; one that fails never is."""

    percentile: float
    seconds: float

    def __str__(self) -> str:
        return f"p{self.percentile:g}={1000 * self.seconds:.12g}ms"

    def measured(self, outcomes: "Sequence[Outcome]") -> float:
        """The latency at the percentile in seconds; infinite where that request failed."""
        # Here, since the command's options, which hold an objective, are read without numpy.
        import numpy as np

        latencies = [outcome.latency if outcome.status == "OK" else math.inf for outcome in outcomes]
        # Not interpolated: between a number and infinity there is nothing.
        return float(np.percentile(latencies, self.percentile, method="inverted_cdf")) if latencies else math.inf

    @property
    def min_requests(self) -> int:
        """The smallest number of requests for the percentile: of fewer, a single one would decide."""
        return math.ceil(100 / (100 - self.percentile))

    def met(self, outcomes: "Sequence[Outcome]") -> bool:
        """Whether the requests met it."""
        return self.measured(outcomes) <= self.seconds


def parse_slo(text: str) -> LatencySlo:
    """Reads "p99=200ms" or "p95=1.5s".

    Raises:
        UsageError: it is not an objective of this form.
    """
    found = _SLO.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r}: not a latency objective; write one like p99=200ms")
    slo = LatencySlo(float(found["percentile"]), float(found["number"]) * _UNITS[found["unit"]])
    if not (0 < slo.percentile <= _HIGHEST_PERCENTILE and slo.seconds > 0):
        raise UsageError(f"{text!r}: give a percentile above 0 and at most 99.9, and a time above 0")
    return slo


@dataclass(frozen=True, slots=True)
class MaxRateSearch:
    """The outcome of a search for the highest rate.

    Attributes:
        rate: the highest one in requests a second that met the objective; 0 where none did.
        steps: every measurement, in order.
        limit: what ended the search; empty where a rate little above it missed the objective.
    """

    rate: float
    steps: "list[tuple[float, Load]]"
    limit: str


async def find_max_rate(
    measure: "Callable[[float], Awaitable[Load]]",
    slo: LatencySlo,
    first: float,
    *,
    least: float = 0.0,
    most: float = math.inf,
) -> MaxRateSearch:
    """Doubles the rate until the objective is missed, or halves it until it is met, then bisects.

    Args:
        measure: puts a load of a rate in requests a second on the server.
        slo: the objective.
        first: the rate to begin with.
        least: lowest rate that is tried, except for the first.
        most: highest rate that is tried.
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
        if slo.met(load.outcomes):
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
    return MaxRateSearch(met, steps, limit)
