"""Contestants in turns, so that what else the machine does meets all of them; figures are ratios within a turn."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

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
    draw = random.Random(0)
    for turn in range(alternations + 1):
        # In changing order, or what one leaves behind would always meet the same other one.
        for name, entry in draw.sample(list(entries.items()), len(entries)) if turn else entries.items():
            progress(f"turn {turn} of {alternations}: {name}" if turn else f"warm up: {name}")
            started = time.perf_counter()
            with ThreadPoolExecutor(entry.concurrency) as pool:
                scores[name] = list(pool.map(entry.contestant, calls))
            if turn:
                speeds[name].append(pairs / (time.perf_counter() - started))
    return speeds, scores


def ratio(of: Sequence[float], to: Sequence[float]) -> Estimate:
    """The median over turns of `of` over `to`, with the exact interval that its order statistics give.

    The narrowest one that holds the median at 95%; of fewer than six turns all that there is, at its own level.
    """
    ratios = np.sort(np.array(of) / np.array(to))
    turns = len(ratios)
    # The median lies left of the k-th smallest as often as fewer than k of n coins show heads.
    outer = max(int(binom.ppf(0.025, turns, 0.5)), 1)
    level = float(1 - 2 * binom.cdf(outer - 1, turns, 0.5))
    return Estimate(
        value=float(np.median(ratios)), low=float(ratios[outer - 1]), high=float(ratios[-outer]), level=level
    )
