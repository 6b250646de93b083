"""Interleaved rounds: every engine runs once in each, so that other work of the machine meets all of them."""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binom

from crossrank.errors import first_line
from crossrank.intervals import Interval

_log = logging.getLogger("crossrank.benchmarks")


@dataclass(frozen=True, slots=True)
class Rounds:
    """Measurements of interleaved rounds.

    Attributes:
        seconds: of each round that all engines finished, by engine.
        failed: engines that raised, which ends their part, and the first line of the error.
        interrupted: whether Ctrl-C ended it before the last round.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


def interleave(engines: Mapping[str, Callable[[], None]], rounds: int) -> Rounds:
    """Measures the seconds that each engine takes for its work.

    Args:
        engines: by name; the first one is the baseline, whose failure ends the measurement.
        rounds: that are measured; one before them warms up.

    Raises:
        KeyboardInterrupt: it was stopped before the first measured round had ended.
    """
    done = Rounds({name: [] for name in engines})
    baseline = next(iter(engines))
    shuffler = random.Random(0)
    remaining = list(engines)
    for number in range(rounds + 1):
        # In changing order, or what one leaves behind would always meet the same other one.
        order = shuffler.sample(remaining, len(remaining)) if number else list(remaining)
        measured: dict[str, float] = {}
        try:
            for name in order:
                _log.info("%s: %s", f"round {number} of {rounds}" if number else "warm-up", name)
                started = time.perf_counter()
                try:
                    engines[name]()
                except Exception as error:  # whatever another project raises, the others are measured
                    if name == baseline:
                        raise
                    done.failed[name] = first_line(error)
                    remaining.remove(name)
                    del done.seconds[name]
                    continue
                measured[name] = time.perf_counter() - started
        except KeyboardInterrupt:
            if number < 2:
                raise
            return Rounds(done.seconds, done.failed, interrupted=True)
        if number:
            for name, seconds in measured.items():
                done.seconds[name].append(seconds)
    return done


def ratio(of: Sequence[float], to: Sequence[float]) -> Interval:
    """The median over rounds of `of` over `to`, with the exact interval of its order statistics.

    The narrowest one that holds the median at 95%; of fewer than six rounds the whole range, at its own level.
    """
    ratios = np.sort(np.array(of) / np.array(to))
    rounds = len(ratios)
    # The median lies left of the k-th smallest as often as fewer than k of n coins show heads.
    outer = max(int(binom.ppf(0.025, rounds, 0.5)), 1)
    level = float(1 - 2 * binom.cdf(outer - 1, rounds, 0.5))
    return Interval(
        mean=float(np.median(ratios)), low=float(ratios[outer - 1]), high=float(ratios[-outer]), level=level
    )
