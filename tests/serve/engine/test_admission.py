import time
from dataclasses import dataclass
from typing import Any

import pytest

from crossrank.errors import Overloaded
from crossrank.serve.engine.admission import Admission
from crossrank.serve.engine.requests import ScoringRequest

MAX_LENGTH = 512


@dataclass
class Queue:
    queued_tokens: int = 0
    seconds_per_token: float = 1e-4

    def tokens_before(self, tokens: int, deadline: float, caller: str = "") -> int:
        return min(tokens, self.queued_tokens)


def request(sizes: list[int], query: str = "", **changes: Any) -> ScoringRequest:
    pairs = [(query, "d" * (size - len(query))) for size in sizes]
    return ScoringRequest(
        **(
            {"model": "", "pairs": pairs, "sizes": sizes, "kind": None, "max_length": None, "strategy": "truncate"}
            | changes
        )
    )


def test_a_call_is_refused_when_those_that_are_served_before_it_leave_it_no_time() -> None:
    admission = Admission(Queue(), 10**9, MAX_LENGTH)
    with admission.admit(request([1000] * 100), 10.0):
        with pytest.raises(Overloaded) as refused, admission.admit(request([1000] * 50), 3.0):
            pass
        assert refused.value.retry_after is not None and 0 < refused.value.retry_after <= 3
        with admission.admit(request([100]), 1.0):
            "of the large one only a part is served before it"
    with admission.admit(request([1000] * 50), 3.0):
        pass


def test_what_waits_in_the_queue_counts_and_so_does_the_calls_own_work() -> None:
    queue = Queue(queued_tokens=9_000)
    admission = Admission(queue, 10**9, MAX_LENGTH)
    with pytest.raises(Overloaded, match="before this call"), admission.admit(request([1000] * 20), 1.0):
        pass
    queue.queued_tokens = 1_000
    with admission.admit(request([1000] * 20), 1.0):
        pass


@pytest.mark.parametrize("large", [request([1000] * 100), request([100_000], strategy="chunk")])
def test_what_cannot_meet_its_own_deadline_is_refused_without_pushback_and_harms_nobody(large: ScoringRequest) -> None:
    admission = Admission(Queue(), 10**9, MAX_LENGTH)
    with admission.admit(request([100]), 0.1):
        pass
    for _ in range(20):
        with pytest.raises(Overloaded, match="this call alone takes about") as refused, admission.admit(large, 2.0):
            pass
        assert refused.value.retry_after is None
        with admission.admit(request([100]), 0.1):
            pass


def test_a_call_that_measures_old_rates_anew_is_let_in_however_long_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admission = Admission(Queue(), 10**9, MAX_LENGTH)
    large = request([1000] * 100)
    with admission.admit(large, 0.5):
        "nothing has been measured yet"
    with pytest.raises(Overloaded), admission.admit(large, 0.5):
        pass
    later = time.monotonic() + 11
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with admission.admit(large, 0.5):
        pass
    with pytest.raises(Overloaded), admission.admit(large, 0.5):
        pass


def test_a_call_is_refused_when_the_queue_is_full_and_what_never_fits_without_pushback() -> None:
    admission = Admission(Queue(), 4_000, MAX_LENGTH)
    with admission.admit(request([1000] * 10), 30.0):
        with pytest.raises(Overloaded, match="full") as refused, admission.admit(request([1000] * 10), 30.0):
            pass
        assert refused.value.retry_after is not None
    with pytest.raises(Overloaded, match="4000 that may wait") as refused, admission.admit(request([1000] * 20), 30.0):
        pass
    assert refused.value.retry_after is None


def test_predicted_tokens_follow_the_measured_rate_and_end_at_max_length_pair_by_pair() -> None:
    admission = Admission(Queue(), 10**9, MAX_LENGTH)
    for _ in range(200):
        admission.learn(100_000, 50_000)
    assert admission.cost(request([1000], max_length=10_000)).tokens == pytest.approx(501, rel=0.01)
    assert admission.cost(request([1_000_000, 100])).tokens == pytest.approx(512 + 51, rel=0.01)


def test_a_few_odd_texts_change_no_prediction() -> None:
    admission = Admission(Queue(), 10**9, MAX_LENGTH)
    before = admission.cost(request([1000])).tokens
    for _ in range(50):
        admission.learn(20, 20)
    assert admission.cost(request([1000])).tokens == pytest.approx(before, rel=0.02)


def test_chunks_of_a_document_are_counted_with_their_query_up_to_the_most_that_are_made() -> None:
    cost = Admission(Queue(), 10**9, MAX_LENGTH).cost
    one = cost(request([20_000], strategy="chunk")).tokens
    assert one > 20_000 * 0.3
    assert cost(request([20_000], "why" * 400, strategy="chunk")).tokens > 2 * one
    assert cost(request([10**8], strategy="chunk")).tokens == 256 * MAX_LENGTH
    assert cost(request([5000], "why" * 1000, strategy="chunk")).tokens == MAX_LENGTH


def test_characters_are_those_that_are_tokenised() -> None:
    cost = Admission(Queue(), 10**9, MAX_LENGTH).cost
    assert cost(request([100, 100], "query")).characters == 5 + 2 * 95
    assert cost(request([10**6])).characters == 16 * MAX_LENGTH
    assert cost(request([10**6], "why " * 50_000)).characters == pytest.approx(200_000 + 800_000)


def test_tokenising_counts_as_time() -> None:
    admission = Admission(Queue(), 10**9, MAX_LENGTH)
    admission.learn_tokenizing(10**8, 10**5)
    with admission.admit(request([10]), 60.0):
        pass
    with pytest.raises(Overloaded, match="alone"), admission.admit(request([8000] * 100), 60.0):
        pass
