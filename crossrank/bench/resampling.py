"""Block bootstrap of load measurements: slices of time are resampled, since requests in one queue are late together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossrank.bench.load.load_metrics import LoadMeasurement
from crossrank.intervals import Interval

_RESAMPLES = 1000
_SLICES = 10
# With fewer slices an interval says little.
_MIN_SLICES = 5
# Weights that are held at once: 80 MB.
_MAX_WEIGHTS = 10_000_000

_Sample = NDArray[np.float64]


def answered_share_change(before: LoadMeasurement, after: LoadMeasurement) -> tuple[float, float, Interval]:
    """The share of requests answered in both loads, and its difference with a 95% interval; level 0 where too few."""
    shares, resampled, slices = [], [], []
    for seed, load in enumerate((before, after)):
        ok = np.array([status == "OK" for status in load.samples.status], dtype=np.float64)
        parts = [ok[members] for members in _slice_members(load.samples.due)]
        counts = _slice_counts(len(parts), seed)
        resampled.append(counts @ [part.sum() for part in parts] / (counts @ [part.size for part in parts]))
        shares.append(float(ok.mean()))
        slices.append(len(parts))
    low, high = np.percentile(resampled[1] - resampled[0], [2.5, 97.5])
    change = Interval(mean=shares[1] - shares[0], low=float(low), high=float(high), level=_level(slices))
    return shares[0], shares[1], change


def latency_ratios(before: LoadMeasurement, after: LoadMeasurement) -> dict[str, Interval]:
    """The ratio of each latency percentile that both loads have, with a 95% interval; level 0 where too few slices."""
    names = [name for name in before.latency_ms if name in after.latency_ms]
    if not names:
        return {}
    percentiles = [float(name.removeprefix("p")) for name in names]
    slices = [_latency_slices(load) for load in (before, after)]
    first, second = (_resampled_percentiles(parts, percentiles, seed) for seed, parts in enumerate(slices))
    low, high = np.percentile(second / first, [2.5, 97.5], axis=1)
    level = _level([len(parts) for parts in slices])
    return {
        name: Interval(
            mean=after.latency_ms[name] / before.latency_ms[name],
            low=float(low[number]),
            high=float(high[number]),
            level=level,
        )
        for number, name in enumerate(names)
    }


def _latency_slices(load: LoadMeasurement) -> list[_Sample]:
    """The answered requests' latencies in milliseconds, by the slice of time in which they were due."""
    ok = np.array([status == "OK" for status in load.samples.status])
    latency = 1000 * np.array(load.samples.latency)
    parts = [latency[members][ok[members]] for members in _slice_members(load.samples.due)]
    return [part for part in parts if part.size]


def _slice_members(due: Sequence[float]) -> list[NDArray[np.intp]]:
    """The places of the requests of each slice of time that has any."""
    edges = np.linspace(0, max(due), _SLICES + 1)[1:-1]
    slices = np.searchsorted(edges, due, side="right")
    return [places for number in range(_SLICES) if (places := np.flatnonzero(slices == number)).size]


def _slice_counts(slices: int, seed: int) -> NDArray[np.int64]:
    """How often each slice is drawn, shape [resamples, slices]."""
    return np.random.default_rng(seed).multinomial(slices, [1 / slices] * slices, size=_RESAMPLES)


def _resampled_percentiles(parts: Sequence[_Sample], percentiles: Sequence[float], seed: int) -> _Sample:
    """Percentiles of resampled slices, shape [percentiles, resamples]."""
    values = np.concatenate(parts)
    slices = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    order = np.argsort(values)
    values, slices = values[order], slices[order]
    counts = _slice_counts(len(parts), seed)
    found = np.empty((len(percentiles), _RESAMPLES))
    step = max(1, _MAX_WEIGHTS // values.size)
    for start in range(0, _RESAMPLES, step):
        drawn = slice(start, start + step)
        cumulative = np.cumsum(counts[drawn][:, slices], axis=1)
        for number, percentile in enumerate(percentiles):
            wanted = percentile / 100 * cumulative[:, -1:]
            found[number, drawn] = values[np.argmax(cumulative >= wanted, axis=1)]
    return found


def _level(slices: Sequence[int]) -> float:
    return 0.95 if min(slices) >= _MIN_SLICES else 0.0
