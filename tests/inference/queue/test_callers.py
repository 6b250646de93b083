"""Turns between callers: one with many calls does not hold up another."""

from hypothesis import given
from hypothesis import strategies as st

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.batching import CallQueue
from crossrank.inference.queue.callers import CallerQueue
from crossrank.inference.queue.queued_call import QueuedCall

LENGTHS = st.lists(st.sampled_from([1, 2, 9, 10, 100]), min_size=1, max_size=12).map(sorted)
CALLS = st.lists(LENGTHS, min_size=1, max_size=40)
POLICIES = st.builds(BatchPolicy, st.sampled_from([0, 64, 256]), st.sampled_from([0.0, 0.1]), st.booleans())
DEADLINES = st.sampled_from([float("inf"), 0.05, 0.5, 5.0])
RATE = 1e-3


def step(queue: CallerQueue[QueuedCall] | CallQueue[QueuedCall], now: float) -> list[tuple[QueuedCall, list[int]]]:
    taken = []
    for call, places in queue.next_batch(now=now, seconds_per_token=RATE):
        taken.append((call, call.lengths[places.start : places.stop]))
        queue.take(call, places)
    return taken


@given(CALLS, LENGTHS, POLICIES, st.integers(0, 20), st.data())
def test_a_single_call_waits_for_its_own_share_of_another_caller(
    many: list[list[int]], one: list[int], policy: BatchPolicy, before: int, data: st.DataObject
) -> None:
    queue: CallerQueue[QueuedCall] = CallerQueue(policy)
    for lengths in many:
        # Urgent or not: between callers a deadline is no privilege.
        queue.add(QueuedCall(list(lengths), due := data.draw(DEADLINES), 10 * due + 1e3, "many"))
    for _ in range(before):
        step(queue, 0.0)
    single = QueuedCall(list(one), caller="one")
    predicted = queue.tokens_before("one", sum(one), float("inf"), now=0.0, seconds_per_token=RATE)
    queue.add(single)
    waited, largest = 0, max(policy.max_tokens, 100)
    while single.lengths:
        waited += sum(sum(lengths) for call, lengths in step(queue, 0.0) if call is not single)
    assert waited <= sum(one) + 2 * largest
    assert abs(predicted - waited) <= 2 * largest


@given(CALLS, POLICIES, st.data())
def test_one_caller_alone_has_the_batches_of_its_queue(
    calls: list[list[int]], policy: BatchPolicy, data: st.DataObject
) -> None:
    deadlines = [data.draw(DEADLINES) for _ in calls]
    batches = []
    for queue in (CallQueue[QueuedCall](policy), CallerQueue[QueuedCall](policy)):
        queued = [
            QueuedCall(list(lengths), 0.85 * end, end, "a") for lengths, end in zip(calls, deadlines, strict=True)
        ]
        for call in queued:
            queue.add(call)
        found, now = [], 0.0
        while taken := step(queue, now):
            found.append([(queued.index(call), lengths) for call, lengths in taken])
            now += RATE * sum(sum(lengths) for _, lengths in taken)
        batches.append(found)
        assert (len(queue), queue.tokens) == (0, 0)
    assert batches[0] == batches[1]


@given(st.lists(st.tuples(LENGTHS, st.sampled_from("abc")), min_size=1, max_size=30), POLICIES)
def test_every_pair_of_every_caller_runs_once_within_the_policy(
    calls: list[tuple[list[int], str]], policy: BatchPolicy
) -> None:
    queue: CallerQueue[QueuedCall] = CallerQueue(policy)
    for lengths, caller in calls:
        queue.add(QueuedCall(list(lengths), caller=caller))
    ran = []
    while taken := step(queue, 0.0):
        lengths = [length for _, some in taken for length in some]
        assert len(lengths) == 1 or len(lengths) * max(lengths) <= policy.max_tokens
        assert min(lengths) >= max(lengths) * (1 - policy.padding)
        assert policy.batching_pays or len({call.caller for call, _ in taken}) == 1
        ran += lengths
    assert sorted(ran) == sorted(length for lengths, _ in calls for length in lengths)


def test_calls_that_no_order_can_save_wait_for_other_callers() -> None:
    queue: CallerQueue[QueuedCall] = CallerQueue(BatchPolicy(256))
    queue.add(late := QueuedCall([100], 0.0, 0.01, "late"))
    queue.add(on_time := QueuedCall([100, 100, 100], 5.0, 6.0, "on time"))
    order = [call for _ in range(3) for call, _ in step(queue, 0.0)]
    assert order == [on_time, on_time, late]


def test_who_was_served_too_much_does_not_lose_the_debt_by_leaving() -> None:
    queue: CallerQueue[QueuedCall] = CallerQueue(BatchPolicy(0))
    queue.add(QueuedCall([10, 10, 10], caller="stays"))
    queue.add(QueuedCall([100], caller="leaves"))
    assert [step(queue, 0.0)[0][0].caller for _ in range(2)] == ["stays", "leaves"]
    queue.add(QueuedCall([1], caller="leaves"))
    assert [step(queue, 0.0)[0][0].caller for _ in range(3)] == ["stays", "stays", "leaves"]
