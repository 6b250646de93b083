import pytest

from serve.admission import Admission
from serve.errors import Overloaded


def test_a_call_is_refused_when_the_wait_exceeds_its_deadline() -> None:
    admission = Admission(max_queued_tokens=10**9)
    first = admission.admit(100_000, 100, 51_200, 1.0)
    with pytest.raises(Overloaded) as refused:
        admission.admit(100, 1, 512, 0.001)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 0.001
    admission.leave(first)
    admission.admit(100, 1, 512, 0.001)


def test_a_call_is_refused_when_the_queue_is_full_and_never_when_it_is_empty() -> None:
    admission = Admission(max_queued_tokens=100)
    alone = admission.admit(10_000, 10, 5120, 30.0)
    with pytest.raises(Overloaded, match="full"):
        admission.admit(10_000, 10, 5120, 30.0)
    admission.leave(alone)
    admission.admit(10_000, 10, 5120, 30.0)


def test_predicted_tokens_follow_the_measured_rate_and_end_at_max_length() -> None:
    admission = Admission(max_queued_tokens=10**9)
    for _ in range(200):
        admission.learn(1000, 500, 0.1)
    assert admission.admit(1000, 1, 10_000, 30.0) == pytest.approx(501, rel=0.01)
    assert admission.admit(1_000_000, 1, 512, 30.0) == 512


def test_truncated_text_does_not_teach_that_bytes_are_cheap() -> None:
    admission = Admission(max_queued_tokens=10**9)
    for _ in range(200):
        admission.learn(2_000_000, 512, 0.1, truncated=True)
    assert admission.admit(1000, 1, 10_000, 30.0) > 200
