"""The prediction of what is served before a newcomer, against what the queue really serves."""

from hypothesis import given
from hypothesis import strategies as st

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.batching import CallQueue
from crossrank.inference.queue.queued_call import SLACK, QueuedCall

RATE = 1e-3
LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=8).map(sorted)
SECONDS = st.sampled_from([0.01, 0.2, 1.0, 5.0, 1e6])


def call(lengths: list[int], seconds: float) -> QueuedCall:
    return QueuedCall(list(lengths), (1 - SLACK) * seconds, seconds)


@given(waiting=st.lists(st.tuples(LENGTHS, SECONDS), max_size=8), served=st.integers(0, 12), newcomer=LENGTHS)
def test_what_is_predicted_is_served(waiting: list[tuple[list[int], float]], served: int, newcomer: list[int]) -> None:
    queue: CallQueue[QueuedCall] = CallQueue(BatchPolicy(max_tokens=0))
    for lengths, seconds in waiting:
        queue.add(call(lengths, seconds))
    for _ in range(served):
        for entry in queue.next_batch(now=0.0, seconds_per_token=RATE):
            queue.take(*entry)
    predicted = queue.tokens_before(sum(newcomer), 1e9, now=0.0, seconds_per_token=RATE)
    assert 0 <= predicted <= queue.tokens
    mine = call(newcomer, 1e9)
    queue.add(mine)
    before = 0
    while mine.slot >= 0:
        for taken, places in queue.next_batch(now=0.0, seconds_per_token=RATE):
            before += 0 if taken is mine else sum(taken.lengths[places.start : places.stop])
            queue.take(taken, places)
    # A turn is a whole pair, and a newcomer changes who is urgent.
    if all(seconds == 1e6 for _, seconds in waiting):
        assert abs(predicted - before) <= 50 * max(1, len(waiting))


def test_a_small_call_waits_for_as_much_of_each_and_late_ones_not_at_all() -> None:
    queue: CallQueue[QueuedCall] = CallQueue(BatchPolicy(max_tokens=0))
    assert queue.tokens_before(10, 1e9, now=0.0, seconds_per_token=RATE) == 0
    queue.add(call([50] * 100, 1e6))
    queue.add(call([50] * 100, 1e6))
    assert queue.tokens_before(100, 1e9, now=0.0, seconds_per_token=RATE) == 200
    assert queue.tokens_before(10**6, 1e9, now=0.0, seconds_per_token=RATE) == 10_000
    queue.add(call([50] * 100, 1.0))
    assert queue.tokens_before(100, 1e9, now=0.0, seconds_per_token=RATE) == 200, "it cannot keep its deadline"
    queue.add(call([50] * 100, 8.0))
    assert queue.tokens_before(100, 1e9, now=0.0, seconds_per_token=RATE) == 5_200, "it is urgent"
