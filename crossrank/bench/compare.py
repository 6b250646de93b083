"""`crossrank bench compare`: what changed between two results beyond noise."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrank.bench.load_result import LoadResult
from crossrank.bench.objective import PRECISION
from crossrank.bench.result import Estimate, Result
from judgements.significance import paired_bootstrap
from serve.errors import UsageError

_RESAMPLES = 1000
_SLICES = 10
# What differs in every run, or may well be what is compared.
_MAY_DIFFER = ("target", "servers", "ranker", "model", "version")

_Sample = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both results.

    Attributes:
        what: is compared.
        before, after: the figures.
        change: from one to the other with its interval, a ratio or a difference.
        none: the value of `change` that is no change: 1 of a ratio, 0 of a difference.
    """

    what: str
    before: float
    after: float
    change: Estimate
    none: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves out that nothing changed."""
        return self.change.low > self.none or self.change.high < self.none

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "change": self.change.model_dump(), "beyond_noise": self.beyond_noise}


def compare_results(before: Result, after: Result) -> tuple[list[Change], list[str]]:
    """Compares what both measured under one name; speeds as ratios to each run's own baseline, since machines drift.

    Returns:
        The changes, and sentences on what makes the two results unlike.

    Raises:
        UsageError: they are of different benchmarks, or have nothing in common.
    """
    if before.benchmark != after.benchmark:
        raise UsageError(f"one is a result of bench {before.benchmark}, the other of bench {after.benchmark}")
    changes = [*_speeds(before, after), *_loads(before, after), *_rates(before, after), *_quality(before, after)]
    if not changes:
        raise UsageError("the two results have nothing in common to compare")
    return changes, [*_unlike(before, after), *_alone(before, after)]


def _unlike(before: Result, after: Result) -> Iterator[str]:
    for name in before.settings.keys() | after.settings.keys():
        first, second = before.settings.get(name), after.settings.get(name)
        if name not in _MAY_DIFFER and first != second:
            yield f"the setting {name} differs: {first} before, {second} after"
    if before.machine != after.machine:
        first, second = before.machine.processor, after.machine.processor
        yield f"the machines differ: {first} before, {second} after; only ratios within a run compare well"


def _alone(before: Result, after: Result) -> Iterator[str]:
    for result, other, when in ((before, after, "before"), (after, before, "after")):
        names = {speed.name for speed in other.speeds} | {point.label for point in other.quality}
        for name in dict.fromkeys([speed.name for speed in result.speeds] + [point.label for point in result.quality]):
            if name not in names:
                yield f"only {when}: {name}"


def _speeds(before: Result, after: Result) -> Iterator[Change]:
    """Each contestant's ratio to its baseline in the same turns."""
    found = {(speed.name, speed.baseline): speed for speed in after.speeds}
    for old in before.speeds:
        new = found.get((old.name, old.baseline))
        if new is not None and old.name != old.baseline:
            yield _ratio(f"{old.name}: pairs/s to {old.baseline}'s", old.ratio, new.ratio)


def _loads(before: Result, after: Result) -> Iterator[Change]:
    for old in before.loads:
        new = next((load for load in after.loads if load.settings == old.settings), None)
        if new is None:
            continue
        yield _share(f"{old.label}: share of calls answered", old, new)
        slices = [_slices(load) for load in (old, new)]
        for name in old.latency_ms:
            if all(slices) and name in new.latency_ms:
                first, second = old.latency_ms[name], new.latency_ms[name]
                change = _percentiles(slices[0], slices[1], float(name[1:]), second / first)
                yield Change(f"{old.label}: latency {name}, ms", first, second, change, 1.0)


def _rates(before: Result, after: Result) -> Iterator[Change]:
    """Highest rates, which a search knows to some precision only."""
    rates: list[dict[str, float]] = []
    for result in (before, after):
        found = {sizing.variant: sizing.highest_rate for sizing in result.sizing}
        rates.append(found if result.highest_rate is None else {"": result.highest_rate})
    for name, old in rates[0].items():
        new = rates[1].get(name)
        if old and new:
            known = [Estimate(value=rate, low=rate, high=rate * (1 + PRECISION)) for rate in (old, new)]
            yield _ratio(f"{name} highest rate within the objective, calls/s".strip(), *known)


def _quality(before: Result, after: Result) -> Iterator[Change]:
    found = {(point.label, point.data): point for point in after.quality}
    for old in before.quality:
        new = found.get((old.label, old.data))
        if new is not None and new.per_query.keys() == old.per_query.keys():
            gap = paired_bootstrap(new.per_query, old.per_query)
            change = Estimate(value=gap.mean, low=gap.low, high=gap.high, level=gap.level)
            yield Change(f"{old.label}, {old.data}: nDCG@10", old.ndcg_10, new.ndcg_10, change, 0.0)


def _ratio(what: str, before: Estimate, after: Estimate) -> Change:
    """Of two figures with intervals: as far apart as the intervals allow, which errs on the side of no change."""
    change = Estimate(
        value=after.value / before.value,
        low=after.low / before.high,
        high=after.high / before.low,
        level=min(before.level, after.level),
    )
    return Change(what, before.value, after.value, change, 1.0)


def _share(what: str, before: LoadResult, after: LoadResult) -> Change:
    """Of calls answered, slices of time resampled."""
    answered = [
        np.array([status == "OK" for status in load.samples.status], dtype=np.float64) for load in (before, after)
    ]
    parts = [
        [values[members] for members in _members(load.samples.due)]
        for values, load in zip(answered, (before, after), strict=True)
    ]
    draw = np.random.default_rng(0)
    gaps = [float(np.mean(_resampled(parts[1], draw)) - np.mean(_resampled(parts[0], draw))) for _ in range(_RESAMPLES)]
    first, second = (float(values.mean()) for values in answered)
    low, high = np.percentile(gaps, [2.5, 97.5])
    return Change(what, first, second, Estimate(value=second - first, low=float(low), high=float(high)), 0.0)


def _slices(load: LoadResult) -> list[_Sample]:
    """The answered calls' latencies in milliseconds, by the slice of time in which they were due."""
    ok = np.array([status == "OK" for status in load.samples.status])
    latency = 1000 * np.array(load.samples.latency)
    parts = [latency[members][ok[members]] for members in _members(load.samples.due)]
    return [part for part in parts if part.size]


def _members(due: Sequence[float]) -> list[NDArray[np.intp]]:
    """The places of the calls of each slice of time that has any."""
    edges = np.linspace(0, max(due), _SLICES + 1)[1:-1]
    slices = np.searchsorted(edges, due, side="right")
    return [places for number in range(_SLICES) if (places := np.flatnonzero(slices == number)).size]


def _percentiles(before: list[_Sample], after: list[_Sample], percentile: float, value: float) -> Estimate:
    """The ratio of a percentile, with slices of time resampled: calls in one queue are late together."""
    draw = np.random.default_rng(0)
    ratios = [
        float(np.percentile(_resampled(after, draw), percentile) / np.percentile(_resampled(before, draw), percentile))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high))


def _resampled(parts: list[_Sample], draw: np.random.Generator) -> _Sample:
    return np.concatenate([parts[number] for number in draw.integers(len(parts), size=len(parts))])
