"""`crossrank bench compare`: what changed between two results beyond noise."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrank.bench.load_result import LoadResult
from crossrank.bench.result import Estimate, Result
from crossrank.errors import UsageError
from crossrank.evaluation.significance import paired_bootstrap

_RESAMPLES = 1000
_SLICES = 10
# Of fewer slices or queries an interval says little, and of an interval with less behind it than this too.
_FEWEST, _LOWEST_LEVEL = 5, 0.9
# Of two searches on one queue, simulated with 20 seconds and more for each rate, 95% end less than 1.2 times 1.2 apart.
_SEARCH_SPREAD = 1.2
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
        """Whether the interval leaves out that nothing changed, and has enough behind it to say so."""
        return self.change.level >= _LOWEST_LEVEL and not self.change.low <= self.none <= self.change.high

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
    rates = list(_rates_apart(before, after))
    if not changes and not rates:
        raise UsageError("the two results have nothing in common to compare")
    return changes, [*_unlike(before, after), *rates, *_alone(before, after)]


def _unlike(before: Result, after: Result) -> Iterator[str]:
    for name in {**before.settings, **after.settings}:
        first, second = before.settings.get(name), after.settings.get(name)
        if name not in _MAY_DIFFER and first != second:
            yield f"the setting {name} differs: {first} before, {second} after"
    if before.machine != after.machine:
        first, second = before.machine.processor, after.machine.processor
        yield f"the machines differ: {first} before, {second} after; only ratios within a run compare well"


def _alone(before: Result, after: Result) -> Iterator[str]:
    for result, other, when in ((before, after, "before"), (after, before, "after")):
        names = _names(other)
        for name in dict.fromkeys(_names(result)):
            if name not in names:
                yield f"only {when}: {name}"


def _names(result: Result) -> list[str]:
    """Of what was measured; a search's loads differ every time."""
    loads = [] if result.sizing or result.highest_rate is not None else [load.label for load in result.loads]
    sizings = [sizing.variant for sizing in result.sizing]
    return [speed.name for speed in result.speeds] + loads + [point.label for point in result.quality] + sizings


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
    old, new = _highest_rates(before), _highest_rates(after)
    for name in filter(new.__contains__, old):
        if old[name] and new[name] and not before.rate_limit and not after.rate_limit:
            known = [
                Estimate(value=rate, low=rate / _SEARCH_SPREAD, high=rate * _SEARCH_SPREAD)
                for rate in (old[name], new[name])
            ]
            yield _ratio(name, *known)


def _rates_apart(before: Result, after: Result) -> Iterator[str]:
    """Highest rates that have no ratio."""
    old, new = _highest_rates(before), _highest_rates(after)
    for name in filter(new.__contains__, old):
        if bool(old[name]) != bool(new[name]):
            yield f"{name}: {old[name]:.3g} before, {new[name]:.3g} after, where 0 is that no rate met it"
        elif limit := before.rate_limit or after.rate_limit:
            yield f"{name}: not compared, since a search did not come to its end ({limit})"


def _highest_rates(result: Result) -> dict[str, float]:
    found = {f"{sizing.variant} ": sizing.highest_rate for sizing in result.sizing}
    if result.highest_rate is not None:
        found[""] = result.highest_rate
    return {f"{name}highest rate within the objective, calls/s": rate for name, rate in found.items()}


def _quality(before: Result, after: Result) -> Iterator[Change]:
    found = {(point.label, point.data): point for point in after.quality}
    for old in before.quality:
        new = found.get((old.label, old.data))
        if new is not None and new.per_query.keys() == old.per_query.keys():
            gap = paired_bootstrap(new.per_query, old.per_query)
            level = gap.level if len(new.per_query) >= _FEWEST else 0.0
            change = Estimate(value=gap.mean, low=gap.low, high=gap.high, level=level)
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
    change = Estimate(value=second - first, low=float(low), high=float(high), level=_level(*parts))
    return Change(what, first, second, change, 0.0)


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
    return Estimate(value=value, low=float(low), high=float(high), level=_level(before, after))


def _level(before: list[_Sample], after: list[_Sample]) -> float:
    """Of an interval from resampled slices of time."""
    return 0.95 if min(len(before), len(after)) >= _FEWEST else 0.0


def _resampled(parts: list[_Sample], draw: np.random.Generator) -> _Sample:
    return np.concatenate([parts[number] for number in draw.integers(len(parts), size=len(parts))])
