from dataclasses import dataclass

import pytest

from crossrank.errors import Overloaded
from crossrank.serve.admission import Admission


@dataclass
class Queue:
    queued_tokens: int = 0
    seconds_per_token: float = 1e-4


def test_a_call_is_refused_when_the_answer_would_come_after_its_deadline() -> None:
    queue = Queue()
    admission = Admission(queue, max_queued_tokens=10**9)
    first = admission.admit([1000] * 100, 512, 10.0)
    with pytest.raises(Overloaded) as refused:
        admission.admit([100], 512, 1.0)
    assert refused.value.retry_after == pytest.approx((first + 31) * 1e-4 - 0.85, rel=0.01)
    admission.arrived(first)
    admission.admit([100], 512, 1.0)


def test_what_waits_in_the_queue_counts_and_so_does_the_calls_own_work() -> None:
    queue = Queue(queued_tokens=9_000)
    admission = Admission(queue, max_queued_tokens=10**9)
    with pytest.raises(Overloaded, match="of its own"):
        admission.admit([1000] * 10, 512, 1.0)
    queue.queued_tokens = 5_000
    admission.admit([1000] * 10, 512, 1.0)


def test_a_call_is_refused_when_the_queue_is_full_and_never_when_it_is_empty() -> None:
    admission = Admission(Queue(), max_queued_tokens=100)
    alone = admission.admit([1000] * 10, 512, 0.001)
    with pytest.raises(Overloaded, match="full"):
        admission.admit([1000] * 10, 512, 30.0)
    admission.arrived(alone)
    admission.admit([1000] * 10, 512, 30.0)


def test_predicted_tokens_follow_the_measured_rate_and_end_at_max_length_pair_by_pair() -> None:
    admission = Admission(Queue(), max_queued_tokens=10**9)
    for _ in range(200):
        admission.learn(1000, 500)
    assert admission.admit([1000], 10_000, 30.0) == pytest.approx(501, rel=0.01)
    assert admission.admit([1_000_000, 100], 512, 300.0) == pytest.approx(512 + 51, rel=0.01)
