import heapq
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.inference.batching import SLACK, BatchPolicy, QueuedCall, next_batch, priority_order

CALLS = st.lists(st.lists(st.integers(1, 512), min_size=1, max_size=30), min_size=1, max_size=8)
RULES = st.builds(BatchPolicy, st.integers(0, 4096), st.sampled_from([0.0, 0.1, 0.5]), st.booleans())


def waiting(lengths: list[int], served: float = 0.0, deadline: float = math.inf, slack: float = 0.0) -> QueuedCall:
    return QueuedCall(sorted(lengths), served, deadline - slack, deadline)


def first(calls: list[QueuedCall], *, now: float, seconds_per_token: float) -> int:
    order, _ = priority_order(calls, now=now, seconds_per_token=seconds_per_token)
    assert sorted(order) == list(range(len(calls)))
    return order[0]


def drain(calls: list[QueuedCall], rules: BatchPolicy) -> list[list[tuple[int, int]]]:
    """All runs until nothing waits, each as (call, length)."""
    runs = []
    while any(call.lengths for call in calls):
        live = [number for number, call in enumerate(calls) if call.lengths]
        run: list[tuple[int, int]] = []
        for place, taken in next_batch([calls[n] for n in live], rules, now=0.0, seconds_per_token=1e-3):
            call = calls[live[place]]
            lengths = call.lengths[taken.start : taken.stop]
            del call.lengths[taken.start : taken.stop]
            call.served += sum(lengths)
            run.extend((live[place], length) for length in lengths)
        runs.append(run)
    return runs


@given(CALLS, RULES)
def test_every_pair_runs_exactly_once_within_the_rules(calls: list[list[int]], rules: BatchPolicy) -> None:
    runs = drain([waiting(lengths) for lengths in calls], rules)
    expected = Counter((number, length) for number, lengths in enumerate(calls) for length in lengths)
    assert Counter(pair for run in runs for pair in run) == expected
    for run in runs:
        longest = max(length for _, length in run)
        assert len(run) == 1 or len(run) * longest <= rules.max_tokens
        assert min(length for _, length in run) >= longest * (1 - rules.padding)


@given(CALLS)
def test_without_padding_a_run_has_one_length(calls: list[list[int]]) -> None:
    for run in drain([waiting(lengths) for lengths in calls], BatchPolicy(4096)):
        assert len({length for _, length in run}) == 1


@given(CALLS, RULES)
def test_no_run_leaves_room_that_a_waiting_pair_could_take(calls: list[list[int]], rules: BatchPolicy) -> None:
    left = Counter(length for lengths in calls for length in lengths)
    for run in drain([waiting(lengths) for lengths in calls], rules):
        left.subtract(length for _, length in run)
        longest = max(length for _, length in run)
        fitting = [length for length in +left if longest * (1 - rules.padding) <= length <= longest]
        assert not fitting or (len(run) + 1) * longest > rules.max_tokens


@given(CALLS)
def test_a_call_begins_with_its_longest_pairs(calls: list[list[int]]) -> None:
    runs = drain([waiting(calls[0])], BatchPolicy(256))
    order = [run[0][1] for run in runs]
    assert order == sorted(order, reverse=True)


@given(CALLS)
def test_calls_that_wait_have_been_served_alike(calls: list[list[int]]) -> None:
    waits = [waiting(lengths) for lengths in calls]
    while all(call.lengths for call in waits):
        [(number, taken)] = next_batch(waits, BatchPolicy(0), now=0.0, seconds_per_token=1e-3)
        length = waits[number].lengths[taken.start]
        del waits[number].lengths[taken.start]
        waits[number].served += length
        served = [call.served for call in waits]
        assert max(served) - min(served) <= 512


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 5)), min_size=1, max_size=8), st.floats(0, 2))
def test_the_urgent_call_that_is_due_first_goes_first(drawn: list[tuple[int, float]], now: float) -> None:
    calls = [waiting([length], served=number, deadline=deadline) for number, (length, deadline) in enumerate(drawn)]
    chosen = calls[first(calls, now=now, seconds_per_token=0.01)]
    total = sum(length for length, _ in drawn)

    def urgent(call: QueuedCall) -> bool:
        tokens = sum(call.lengths)
        alone, in_turn = tokens * 0.01, min(total, tokens * len(calls)) * 0.01
        return now + alone <= call.deadline < now + in_turn

    due = [call.deadline for call in calls if urgent(call)]
    in_time = [call.served for call in calls if now + sum(call.lengths) * 0.01 <= call.deadline]
    if due:
        assert chosen.deadline == min(due)
    else:
        assert chosen.served == min(in_time, default=0)


def test_a_call_that_cannot_keep_its_deadline_goes_behind_all_others() -> None:
    lost = waiting([100], deadline=0.5)
    assert first([lost, waiting([100], served=5.0)], now=0.0, seconds_per_token=0.01) == 1
    assert first([lost], now=0.0, seconds_per_token=0.01) == 0


def test_a_small_call_beside_large_ones_is_not_urgent_until_its_deadline_is_near() -> None:
    large = waiting([100] * 1000, deadline=1000.0)
    small = waiting([100] * 5, served=1.0, deadline=30.0)
    assert first([large, small], now=0.0, seconds_per_token=0.001) == 0
    assert first([large, small], now=29.2, seconds_per_token=0.001) == 1


@pytest.mark.parametrize("rules", [BatchPolicy(0), BatchPolicy(256)])
def test_a_pair_longer_than_the_budget_runs_alone(rules: BatchPolicy) -> None:
    assert next_batch([waiting([300, 300])], rules, now=0.0, seconds_per_token=1e-3) == [(0, range(1, 2))]


def test_an_urgent_call_takes_no_other_along_unless_batching_pays() -> None:
    calls = [waiting([50], served=9.0, deadline=0.09), waiting([50, 50])]
    alone = next_batch(calls, BatchPolicy(256), now=0.0, seconds_per_token=1e-3)
    assert alone == [(0, range(1))]
    together = next_batch(calls, BatchPolicy(256, batching_pays=True), now=0.0, seconds_per_token=1e-3)
    assert together == [(0, range(1)), (1, range(2))]


def test_a_call_is_urgent_before_its_deadline_is_in_danger() -> None:
    calls = [waiting([50], served=9.0, deadline=0.11, slack=slack) for slack in (0.0, 0.02)]
    assert priority_order([calls[0], waiting([50] * 10)], now=0.0, seconds_per_token=1e-3) == ([1, 0], False)
    assert priority_order([calls[1], waiting([50] * 10)], now=0.0, seconds_per_token=1e-3) == ([0, 1], True)


@given(st.integers(0, 10**6), st.sampled_from([1.0, 2.0, 4.0]))
@settings(max_examples=20)
def test_calls_that_fit_in_when_they_come_are_done_in_time(seed: int, budget: float) -> None:
    """Two workers on a clock of their own; calls are let in as the server does, of five times what can be served."""
    draw, rate, workers = random.Random(seed), 5e-5, [0.0, 0.0]
    coming: list[tuple[float, list[int]]] = []
    for _ in range(60):
        lengths = [min(128, 5 + int(draw.lognormvariate(4.2, 0.7))) for _ in range(draw.choice((5, 100, 100)))]
        at = coming[-1][0] if coming else 0.0
        coming.append((at + draw.expovariate(5.0) * sum(lengths) * rate, lengths))
    live: list[QueuedCall] = []
    while coming or live:
        now = heapq.heappop(workers)
        while coming and (coming[0][0] <= now or not live):
            at, lengths = coming.pop(0)
            now = max(now, at)
            left = (1 - SLACK) * (at + budget - now)
            if (sum(lengths) + sum(sum(call.lengths) for call in live)) * rate <= left:
                level = min((call.served for call in live), default=0.0)
                live.append(QueuedCall(sorted(lengths), level, now + left, at + budget))
        ended = now
        if live:
            run = next_batch(live, BatchPolicy(256), now=now, seconds_per_token=rate)
            ended += 2 * rate * sum(sum(live[place].lengths[taken.start : taken.stop]) for place, taken in run)
            for place, taken in run:
                call = live[place]
                assert ended <= call.deadline
                call.served += sum(call.lengths[taken.start : taken.stop])
                del call.lengths[taken.start : taken.stop]
        live = [call for call in live if call.lengths]
        heapq.heappush(workers, ended)
