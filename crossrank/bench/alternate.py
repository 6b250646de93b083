"""Contestants in turns, so that what else the machine does meets all of them; figures are ratios within a turn."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binom

from crossrank.bench.contestants import Contestant, Scores
from crossrank.bench.result import Estimate
from crossrank.bench.workload import RankCall
from crossrank.errors import first_line


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant, and how many calls it gets at once."""

    contestant: Contestant
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Turns:
    """What was measured in turns.

    Attributes:
        speeds: pairs a second of each turn that all contestants finished, by name.
        scores: of each call, by name.
        failed: contestants that raised, which ends their part, and what.
        interrupted: whether Ctrl-C ended it before its last turn.
    """

    speeds: dict[str, list[float]] = field(default_factory=dict)
    scores: dict[str, list[Scores]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


def alternate(
    entries: Mapping[str, Entry],
    calls: Sequence[RankCall],
    alternations: int,
    progress: Callable[[str], None] = lambda step: None,
) -> Turns:
    """Measures pairs a second.

    Args:
        entries: by name; the first one is the baseline, whose failure ends the measurement.
        calls: what each one scores in each turn.
        alternations: turns that count; one before them warms up.
        progress: called with each turn as it begins.

    Raises:
        KeyboardInterrupt: it was stopped before the first turn that counts had ended.
    """
    done = Turns({name: [] for name in entries})
    pairs = sum(len(call.documents) for call in calls)
    draw = random.Random(0)
    remaining = dict(entries)
    for turn in range(alternations + 1):
        # In changing order, or what one leaves behind would always meet the same other one.
        order = draw.sample(list(remaining), len(remaining)) if turn else list(remaining)
        measured: dict[str, float] = {}
        try:
            for name in order:
                progress(f"turn {turn} of {alternations}: {name}" if turn else f"warm up: {name}")
                started = time.perf_counter()
                try:
                    with ThreadPoolExecutor(entries[name].concurrency) as pool:
                        done.scores[name] = list(pool.map(entries[name].contestant, calls))
                except Exception as error:  # whatever another project raises, the others are measured
                    if name == next(iter(entries)):
                        raise
                    done.failed[name] = first_line(error)
                    del remaining[name], done.speeds[name]
                    done.scores.pop(name, None)
                    continue
                measured[name] = pairs / (time.perf_counter() - started)
        except KeyboardInterrupt:
            if turn < 2:
                raise
            return Turns(done.speeds, done.scores, done.failed, interrupted=True)
        if turn:
            for name, speed in measured.items():
                done.speeds[name].append(speed)
    return done


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
