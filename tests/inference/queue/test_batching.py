import heapq
import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.queued_call import SLACK
from tests.inference.queue.checked_queue import Queue, queue_of
from tests.inference.queue.plain_batching import plain_order

CALLS = st.lists(st.lists(st.integers(1, 512), min_size=1, max_size=30), min_size=1, max_size=8)
POLICIES = st.builds(BatchPolicy, st.integers(0, 4096), st.sampled_from([0.0, 0.1, 0.5]), st.booleans())


@given(st.data(), POLICIES)
@settings(max_examples=150)
def test_the_queue_picks_what_the_plain_specification_picks(data: st.DataObject, policy: BatchPolicy) -> None:
    """Calls come, are served, lose pairs and die, while the clock and the rate move; few values, so that many tie."""
    queue = Queue(policy)
    for _ in range(data.draw(st.integers(1, 30))):
        act = data.draw(st.sampled_from(["add", "add", "take", "take", "take", "remove", "drop", "wait", "rate"]))
        live = queue.live
        if act == "add":
            lengths = data.draw(st.lists(st.sampled_from([1, 2, 9, 10, 100]), min_size=1, max_size=6))
            deadline = data.draw(st.sampled_from([math.inf, *(queue.now + left for left in (0.02, 0.1, 0.3, 1.0))]))
            queue.add(lengths, deadline=deadline, slack=data.draw(st.sampled_from([0.0, 0.01, 0.05])))
        elif act == "take":
            queue.take()
        elif act == "wait":
            queue.now += data.draw(st.sampled_from([0.001, 0.03, 0.2]))
        elif act == "rate":
            queue.rate = data.draw(st.sampled_from([1e-6, 5e-4, 1e-3, 2e-3]))
        elif live:
            number = data.draw(st.sampled_from(live))
            length = len(queue.plain[number].lengths)
            place = data.draw(st.integers(0, length - 1))
            queue.remove(number, range(length) if act == "drop" else range(place, place + 1))
    queue.drain()
    assert queue.queue.next_batch(now=queue.now, seconds_per_token=queue.rate) == []
    assert (queue.queue.tokens, len(queue.queue)) == (0, 0)


@given(st.integers(0, 10**6), st.sampled_from([BatchPolicy(256), BatchPolicy(4096, 0.1, True)]))
@settings(max_examples=8)
def test_so_it_does_with_many_calls(seed: int, policy: BatchPolicy) -> None:
    draw = random.Random(seed)
    queue = Queue(policy)
    for _ in range(120):
        lengths = [min(128, 5 + int(draw.lognormvariate(3.0, 0.7))) for _ in range(draw.choice((1, 5, 20)))]
        queue.add(lengths, deadline=draw.choice([math.inf, draw.uniform(0.5, 30.0)]), slack=0.2)
    for _ in range(60):
        taken = queue.take()
        queue.now += queue.rate * sum(sum(lengths) for _, lengths in taken)


@given(CALLS, POLICIES)
def test_every_pair_runs_exactly_once_within_the_policy(calls: list[list[int]], policy: BatchPolicy) -> None:
    batches = queue_of(calls, policy).drain()
    expected = Counter((number, length) for number, lengths in enumerate(calls) for length in lengths)
    assert Counter(pair for batch in batches for pair in batch) == expected
    for batch in batches:
        longest = max(length for _, length in batch)
        assert len(batch) == 1 or len(batch) * longest <= policy.max_tokens
        assert min(length for _, length in batch) >= longest * (1 - policy.padding)


@given(CALLS)
def test_without_padding_a_batch_has_one_length(calls: list[list[int]]) -> None:
    for batch in queue_of(calls, BatchPolicy(4096)).drain():
        assert len({length for _, length in batch}) == 1


@given(CALLS, POLICIES)
def test_no_batch_leaves_room_that_a_waiting_pair_could_take(calls: list[list[int]], policy: BatchPolicy) -> None:
    left = Counter(length for lengths in calls for length in lengths)
    for batch in queue_of(calls, policy).drain():
        left.subtract(length for _, length in batch)
        longest = max(length for _, length in batch)
        fitting = [length for length in +left if longest * (1 - policy.padding) <= length <= longest]
        assert not fitting or (len(batch) + 1) * longest > policy.max_tokens


@given(CALLS)
def test_a_call_begins_with_its_longest_pairs(calls: list[list[int]]) -> None:
    order = [batch[0][1] for batch in queue_of(calls[:1], BatchPolicy(256)).drain()]
    assert order == sorted(order, reverse=True)


@given(CALLS)
def test_calls_that_wait_have_been_served_alike(calls: list[list[int]]) -> None:
    queue = queue_of(calls, BatchPolicy(0))
    while all(call.lengths for call in queue.plain):
        [(_, [_])] = queue.take()
        served = [call.served for call in queue.plain]
        assert max(served) - min(served) <= 512


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 5)), min_size=1, max_size=8), st.floats(0, 2))
def test_the_urgent_call_that_is_due_first_goes_first(drawn: list[tuple[int, float]], now: float) -> None:
    queue = Queue(BatchPolicy(0), now, 0.01)
    for number, (length, deadline) in enumerate(drawn):
        queue.add([length], served=number, deadline=deadline)
    [(first, _)] = queue.next_batch()
    chosen = queue.plain[first]
    total = sum(length for length, _ in drawn)

    def urgent(length: int, deadline: float) -> bool:
        return length * 0.01 <= deadline - now < min(total, length * len(drawn)) * 0.01

    due = [deadline for length, deadline in drawn if urgent(length, deadline)]
    in_time = [number for number, (length, deadline) in enumerate(drawn) if length * 0.01 <= deadline - now]
    if due:
        assert chosen.deadline == min(due)
    else:
        assert chosen.served == min(in_time, default=0)


def test_a_call_that_cannot_keep_its_deadline_goes_behind_all_others() -> None:
    queue = Queue(BatchPolicy(0), 0.0, 0.01)
    queue.add([100], deadline=0.5)
    assert queue.next_batch() == [(0, range(1))]
    queue.add([100], served=5.0)
    assert queue.next_batch() == [(1, range(1))]


def test_a_small_call_beside_large_ones_is_not_urgent_until_its_deadline_is_near() -> None:
    queue = Queue(BatchPolicy(0))
    queue.add([100] * 1000, deadline=1000.0)
    queue.add([100] * 5, served=1.0, deadline=30.0)
    assert queue.next_batch()[0][0] == 0
    queue.now = 29.2
    assert queue.next_batch()[0][0] == 1


@pytest.mark.parametrize("policy", [BatchPolicy(0), BatchPolicy(256)])
def test_a_pair_longer_than_the_budget_runs_alone(policy: BatchPolicy) -> None:
    assert queue_of([[300, 300]], policy).next_batch() == [(0, range(1, 2))]


@pytest.mark.parametrize("pays", [False, True])
def test_an_urgent_call_takes_no_other_along_unless_batching_pays(pays: bool) -> None:
    queue = Queue(BatchPolicy(256, batching_pays=pays))
    queue.add([50], served=9.0, deadline=0.09)
    queue.add([50, 50])
    assert queue.next_batch() == [(0, range(1)), (1, range(2))][: 2 if pays else 1]


@pytest.mark.parametrize(("slack", "first"), [(0.0, 1), (0.02, 0)])
def test_a_call_is_urgent_before_its_deadline_is_in_danger(slack: float, first: int) -> None:
    queue = Queue(BatchPolicy(0))
    queue.add([50], served=9.0, deadline=0.11, slack=slack)
    queue.add([50] * 10)
    assert queue.next_batch()[0][0] == first
    assert plain_order(queue.plain, queue.now, queue.rate)[1] is (first == 0)


def test_a_newcomer_starts_at_the_level_of_the_least_served() -> None:
    queue = queue_of([[10] * 9, [10] * 9], BatchPolicy(0))
    for _ in range(6):
        queue.take()
    queue.add([10] * 9)
    assert [queue.take()[0][0] for _ in range(6)].count(2) == 2


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
    queue = Queue(BatchPolicy(256), 0.0, rate)
    while coming or len(queue.queue):
        now = heapq.heappop(workers)
        while coming and (coming[0][0] <= now or not len(queue.queue)):
            at, lengths = coming.pop(0)
            now = max(now, at)
            left = (1 - SLACK) * (at + budget - now)
            if (sum(lengths) + queue.queue.tokens) * rate <= left:
                queue.add(lengths, deadline=at + budget, slack=at + budget - now - left)
        queue.now = now
        taken = queue.take()
        ended = now + 2 * rate * sum(sum(lengths) for _, lengths in taken)
        assert all(ended <= queue.plain[number].deadline for number, _ in taken)
        heapq.heappush(workers, ended)
