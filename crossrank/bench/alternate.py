"""Contestants in turns, so that what else the machine does meets all of them; figures are ratios within a turn."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from crossrank.bench.contestants import Contestant, Scores
from crossrank.bench.result import Estimate
from crossrank.bench.workload import RankCall


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant, and how many calls it gets at once."""

    contestant: Contestant
    concurrency: int = 1


def alternate(
    entries: Mapping[str, Entry],
    calls: Sequence[RankCall],
    alternations: int,
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[dict[str, list[float]], dict[str, list[Scores]]]:
    """Measures pairs a second.

    Args:
        entries: by name.
        calls: what each one scores in each turn.
        alternations: turns that count; one before them warms up.
        progress: called with each turn as it begins.

    Returns:
        Pairs a second of each turn, and the scores of each call, both by name.
    """
    speeds: dict[str, list[float]] = {name: [] for name in entries}
    scores: dict[str, list[Scores]] = {}
    pairs = sum(len(call.documents) for call in calls)
    for turn in range(alternations + 1):
        for name, entry in entries.items():
            progress(f"turn {turn} of {alternations}: {name}" if turn else f"warm up: {name}")
            started = time.perf_counter()
            with ThreadPoolExecutor(entry.concurrency) as pool:
                scores[name] = list(pool.map(entry.contestant, calls))
            if turn:
                speeds[name].append(pairs / (time.perf_counter() - started))
    return speeds, scores


def ratio(of: Sequence[float], to: Sequence[float]) -> Estimate:
    """The median over turns of `of` over `to`, with a 95% percentile interval by bootstrap."""
    ratios = np.array(of) / np.array(to)
    median = float(np.median(ratios))
    if np.ptp(ratios) == 0:
        return Estimate(median=median, low=median, high=median)
    interval = bootstrap(
        (ratios,), np.median, method="percentile", n_resamples=2000, rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(median=median, low=float(interval.low), high=float(interval.high))
