import threading
import time
from collections.abc import Iterator

import pytest

from crossrank.errors import Cancelled, CrossrankError, DeadlineExceeded, Unavailable
from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.scheduler import Scheduler
from tests.inference.queue.gated_model import Model, pairs


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def scheduler(model: Model) -> Iterator[Scheduler]:
    made = Scheduler(model, workers=1, policy=BatchPolicy(0))
    yield made
    model.gate.set()
    made.close()


def test_logits_come_back_in_the_order_of_the_pairs(model: Model) -> None:
    scheduler = Scheduler(model, workers=3, policy=BatchPolicy(25))
    mixed = [*pairs(5, 4, 3), *pairs(2, 1, length=7)]
    assert scheduler.submit(mixed).logits.result(120).tolist() == [5, 4, 3, 2, 1]
    scheduler.close()


def test_calls_take_turns(model: Model, scheduler: Scheduler) -> None:
    model.gate.clear()
    long = scheduler.submit(pairs(1, 2, 3, 4))
    assert model.entered.acquire(timeout=120)
    short = scheduler.submit(pairs(9))
    model.gate.set()
    short.logits.result(120)
    long.logits.result(120)
    assert model.runs.index([9]) <= 2, "the short call waited for more than one run after the one in flight"


def test_callers_take_turns_before_their_calls_do(model: Model, scheduler: Scheduler) -> None:
    model.gate.clear()
    many = [scheduler.submit(pairs(1), deadline=time.monotonic() + 600, caller="many") for _ in range(50)]
    assert model.entered.acquire(timeout=120)
    one = scheduler.submit(pairs(9, 9), caller="one")
    model.gate.set()
    for call in (one, *many):
        call.logits.result(120)
    assert [place for place, run in enumerate(model.runs) if run == [9]][1] <= 4


def test_expired_and_cancelled_calls_cost_nothing(model: Model, scheduler: Scheduler) -> None:
    model.gate.clear()
    first = scheduler.submit(pairs(1))
    assert model.entered.acquire(timeout=120)
    expired = scheduler.submit(pairs(2), deadline=time.monotonic() - 1)
    cancelled = scheduler.submit(pairs(3))
    scheduler.cancel(cancelled)
    model.gate.set()
    with pytest.raises(DeadlineExceeded):
        expired.logits.result(120)
    with pytest.raises(Cancelled):
        cancelled.logits.result(120)
    first.logits.result(120)
    assert scheduler.submit(pairs(4)).logits.result(120).tolist() == [4]
    assert model.runs == [[1], [4]]
    counts = scheduler.counts
    assert (counts.computed, counts.dropped, counts.wasted) == (2, 2, 0)


def test_what_is_in_flight_when_its_call_dies_is_counted(model: Model, scheduler: Scheduler) -> None:
    model.gate.clear()
    cancelled = scheduler.submit(pairs(1, 2, 3))
    assert model.entered.acquire(timeout=120)
    scheduler.cancel(cancelled)
    model.gate.set()
    assert scheduler.submit(pairs(4)).logits.result(120).tolist() == [4]
    assert (scheduler.counts.wasted, scheduler.counts.dropped, len(model.runs)) == (1, 2, 2)


def test_a_call_in_danger_of_its_deadline_goes_first(model: Model, scheduler: Scheduler) -> None:
    scheduler.submit(pairs(1)).logits.result(120)
    model.gate.clear()
    first = scheduler.submit(pairs(2))
    assert model.entered.acquire(timeout=120) and model.entered.acquire(timeout=120)
    patient = scheduler.submit(pairs(3, length=5))
    scheduler._seconds, scheduler._tokens = 100.0, 1000.0  # 0.1 s a token
    urgent = scheduler.submit(pairs(4), deadline=time.monotonic() + 1.2)
    model.gate.set()
    for call in (first, patient, urgent):
        call.logits.result(120)
    assert model.runs[-2:] == [[4], [3]]


def test_a_newcomer_gets_no_credit_for_the_time_before_it_came(model: Model, scheduler: Scheduler) -> None:
    """Else a stream of new calls would starve one that has been served for long."""
    new = []

    def submit_another() -> None:
        if len(model.runs) == 12:
            new.append(scheduler.submit(pairs(*range(50, 70))))

    model.on_run = submit_another
    old = scheduler.submit(pairs(*range(1, 31)))
    old.logits.result(120)
    new[0].logits.result(120)
    assert 7 <= sum(token >= 50 for [token] in model.runs[12:28]) <= 9, "they did not take turns"


def test_a_run_takes_equal_lengths_of_several_calls(model: Model) -> None:
    scheduler = Scheduler(model, workers=1, policy=BatchPolicy(40))
    model.gate.clear()
    first = scheduler.submit(pairs(1))
    assert model.entered.acquire(timeout=120)
    calls = [scheduler.submit(pairs(token)) for token in (2, 3, 4)]
    other = scheduler.submit(pairs(5, length=9))
    model.gate.set()
    assert [call.logits.result(120).tolist() for call in (first, *calls, other)] == [[1], [2], [3], [4], [5]]
    assert sorted(model.runs[1:], key=len) == [[5], [2, 3, 4]]
    scheduler.close()


def test_a_fault_fails_its_call_and_leaves_the_workers(model: Model, scheduler: Scheduler) -> None:
    with pytest.raises(CrossrankError) as fault:
        scheduler.submit(pairs(-1)).logits.result(120)
    assert "/secret" not in str(fault.value)
    assert scheduler.submit(pairs(7)).logits.result(120).tolist() == [7]


def test_a_fault_in_a_shared_run_fails_only_its_own_call(model: Model) -> None:
    scheduler = Scheduler(model, workers=1, policy=BatchPolicy(100))
    model.gate.clear()
    blocker = scheduler.submit(pairs(9))
    assert model.entered.acquire(timeout=120)
    broken, sound = scheduler.submit(pairs(-1)), scheduler.submit(pairs(5))
    model.gate.set()
    with pytest.raises(CrossrankError):
        broken.logits.result(120)
    assert [call.logits.result(120).tolist() for call in (blocker, sound)] == [[9], [5]]
    scheduler.close()


def test_close_fails_what_is_queued_and_refuses_more(model: Model) -> None:
    scheduler = Scheduler(model, workers=1, policy=BatchPolicy(0))
    model.gate.clear()
    running = scheduler.submit(pairs(1))
    assert model.entered.acquire(timeout=120)
    queued = scheduler.submit(pairs(2))
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    with pytest.raises(Unavailable):
        queued.logits.result(120)
    model.gate.set()
    closing.join(120)
    assert running.logits.result(120).tolist() == [1]
    with pytest.raises(Unavailable):
        scheduler.submit(pairs(3))
