"""Scheduler benchmark: microseconds under its lock for the next batch, and of the admission sum, at depth.

Run with `python -m benchmarks.scheduler`. Each call has 100 pairs of log-normal lengths. "relaxed" calls have far
deadlines; "pressed" ones have more work before them than fits before most of their due dates, so that all groups of
the order are filled. Next batch and take are what a worker does under the lock for each batch.
"""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median, quantiles
from typing import Any, TypeVar

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.batching import CallQueue
from crossrank.inference.queue.queued_call import QueuedCall

_T = TypeVar("_T")

_CALLS = (1, 64, 200, 1000)
_PAIRS = 100
_BATCHES = 500
_POLICIES = {"CPU": BatchPolicy(256), "CUDA": BatchPolicy(16_384, padding=0.1, batching_pays=True)}
_PRESSURES = {"relaxed": 0.001, "pressed": 1.3}
# Seconds until the deadlines.
_NEAREST, _FARTHEST = 5.0, 60.0


def main() -> None:
    """Prints one line for each policy, pressure and number of calls."""
    print(f"{'policy':6} {'deadlines':9} {'calls':>5} {'next batch µs':>20} {'take µs':>8} {'sum µs':>7} {'pairs':>6}")
    for policy in _POLICIES:
        for pressure in _PRESSURES:
            for calls in _CALLS:
                _measure(policy, pressure, calls)


def _measure(policy: str, pressure: str, calls: int) -> None:
    draw = random.Random(0)
    queue = _filled(_POLICIES[policy], draw, calls)
    rate = _PRESSURES[pressure] * (_NEAREST + _FARTHEST) / 2 / queue.tokens
    choosing: list[float] = []
    taking: list[float] = []
    summing: list[float] = []
    pairs = 0
    while len(choosing) < _BATCHES:
        if len(queue) <= calls // 2:
            queue = _filled(_POLICIES[policy], draw, calls)
        batch, seconds = _timed(partial(queue.next_batch, now=0.0, seconds_per_token=rate))
        choosing.append(seconds)
        pairs += sum(len(places) for _, places in batch)
        taking.append(_timed(partial(_take, queue, batch))[1])
        summing.append(_timed(partial(getattr, queue, "tokens"))[1])
    worst = quantiles(choosing, n=20)[-1]
    print(
        f"{policy:6} {pressure:9} {calls:5} {1e6 * median(choosing):8.1f} (p95 {1e6 * worst:6.1f}) "
        f"{1e6 * median(taking):8.1f} {1e6 * median(summing):7.2f} {pairs / len(choosing):6.1f}"
    )


def _take(queue: CallQueue[QueuedCall], batch: Sequence[tuple[Any, Any]]) -> None:
    for entry in batch:
        queue.take(*entry)


def _filled(policy: BatchPolicy, draw: random.Random, calls: int) -> CallQueue[QueuedCall]:
    queue: CallQueue[QueuedCall] = CallQueue(policy)
    for _ in range(calls):
        deadline = draw.uniform(_NEAREST, _FARTHEST)
        lengths = sorted(min(512, 8 + int(draw.lognormvariate(4.2, 0.6))) for _ in range(_PAIRS))
        queue.add(QueuedCall(lengths, 0.85 * deadline, deadline))
    return queue


def _timed(act: Callable[[], _T]) -> tuple[_T, float]:
    started = time.perf_counter()
    result = act()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main()
