"""`crossrank bench compare`: what changed between two results beyond noise."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from crossrank.bench.result import Estimate, LoadResult, Result
from serve.errors import UsageError

_RESAMPLES = 1000
_SLICES = 10

_Sample = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both results.

    Attributes:
        what: is compared.
        before, after: the figures.
        ratio: of after to before, with its interval.
        beyond_noise: whether the interval excludes 1.
    """

    what: str
    before: float
    after: float
    ratio: Estimate

    @property
    def beyond_noise(self) -> bool:
        return not self.ratio.low <= 1 <= self.ratio.high

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "ratio": self.ratio.model_dump(), "beyond_noise": self.beyond_noise}


def compare_results(before: Result, after: Result) -> list[Change]:
    """Compares what both measured under one name; speeds as ratios to each run's own baseline, since machines drift.

    Raises:
        UsageError: they are of different benchmarks, or have nothing in common.
    """
    if before.benchmark != after.benchmark:
        raise UsageError(f"one is a result of bench {before.benchmark}, the other of bench {after.benchmark}")
    changes = [*_speeds(before, after), *_loads(before, after), *_quality(before, after)]
    if not changes:
        raise UsageError("the two results have nothing in common to compare")
    return changes


def _speeds(before: Result, after: Result) -> Iterator[Change]:
    """Each contestant but the baselines, to its own run's baseline turn by turn."""
    found = [{(speed.name, speed.concurrency): speed for speed in result.speeds} for result in (before, after)]
    for key in found[0]:
        if key not in found[1] or key == (before.speeds[0].name, before.speeds[0].concurrency):
            continue
        old, new = found[0][key], found[1][key]
        baselines = [result.speeds[0].pairs_per_second for result in (before, after)]
        if any(len(line) != len(speed.pairs_per_second) for line, speed in zip(baselines, (old, new), strict=True)):
            continue
        first = np.divide(old.pairs_per_second, baselines[0])
        second = np.divide(new.pairs_per_second, baselines[1])
        yield Change(
            f"{key[0]}: speed to the baseline's",
            float(np.median(first)),
            float(np.median(second)),
            _unpaired(first, second, np.median),
        )


def _loads(before: Result, after: Result) -> Iterator[Change]:
    for old in before.loads:
        new = next((load for load in after.loads if load.how == old.how), None)
        if new is None:
            continue
        how = ", ".join(f"{name} {value}" for name, value in old.how.items())
        slices = [_slices(load) for load in (old, new)]
        if all(slices):
            for percentile in (50, 99):
                first, second = (float(np.percentile(np.concatenate(part), percentile)) for part in slices)
                yield Change(
                    f"{how}: latency p{percentile}, ms",
                    1000 * first,
                    1000 * second,
                    _percentiles(slices[0], slices[1], percentile, second / first),
                )


def _quality(before: Result, after: Result) -> Iterator[Change]:
    for old in before.quality:
        key = (old.variant, old.max_length, old.long_documents, old.data)
        new = next(
            (
                point
                for point in after.quality
                if (point.variant, point.max_length, point.long_documents, point.data) == key
            ),
            None,
        )
        if new is not None and len(new.per_query) == len(old.per_query):
            yield Change(
                f"{old.variant}, {old.max_length} tokens, {old.long_documents}, {old.data}: nDCG@10",
                old.ndcg_10,
                new.ndcg_10,
                _paired(np.array(old.per_query), np.array(new.per_query)),
            )


def _slices(load: LoadResult) -> list[_Sample]:
    """The answered calls' latencies, by the slice of time in which they were due; slices without a call left out."""
    samples = load.samples
    answered = [
        (due, latency)
        for due, latency, status in zip(samples.due, samples.latency, samples.status, strict=True)
        if status == "OK"
    ]
    edges = np.linspace(0, max((due for due, _ in answered), default=0.0), _SLICES + 1)[1:-1]
    found: list[list[float]] = [[] for _ in range(_SLICES)]
    for due, latency in answered:
        found[int(np.searchsorted(edges, due, side="right"))].append(latency)
    return [np.array(part) for part in found if part]


def _percentiles(before: list[_Sample], after: list[_Sample], percentile: float, value: float) -> Estimate:
    """The ratio of a percentile, with slices of time resampled: calls in one queue are late together."""
    draw = np.random.default_rng(0)

    def resampled(parts: list[_Sample]) -> float:
        chosen = draw.integers(len(parts), size=len(parts))
        return float(np.percentile(np.concatenate([parts[number] for number in chosen]), percentile))

    ratios = [resampled(after) / resampled(before) for _ in range(_RESAMPLES)]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Estimate(median=value, low=float(low), high=float(high))


def _unpaired(first: Any, second: Any, statistic: Any) -> Estimate:
    """The ratio of a statistic of two samples, each resampled on its own."""

    def ratio_of(a: Any, b: Any, axis: int = -1) -> Any:
        return statistic(b, axis=axis) / statistic(a, axis=axis)

    return _interval((first, second), ratio_of, paired=False)


def _paired(first: Any, second: Any) -> Estimate:
    """The ratio of the means of two samples over the same queries."""
    return _interval((first, second), lambda a, b, axis=-1: np.mean(b, axis=axis) / np.mean(a, axis=axis), paired=True)


def _interval(samples: tuple[Any, Any], statistic: Any, *, paired: bool) -> Estimate:
    value = float(statistic(*samples))
    if all(np.ptp(sample) == 0 for sample in samples) or (paired and np.array_equal(*samples)):
        return Estimate(median=value, low=value, high=value)
    interval = bootstrap(
        samples,
        statistic,
        method="percentile",
        paired=paired,
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(median=value, low=float(interval.low), high=float(interval.high))
