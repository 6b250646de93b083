import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.errors import CallCancelled, CrossrankError, DeadlineExceeded, NotServing
from serve.scheduler import Scheduler
from serve.tokenizer import TokenizedPair


class Model:
    """Gives each pair its first token as the logit, waits at a gate, and remembers what it ran."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.runs: list[list[int]] = []

    def __call__(self, pairs: Sequence[TokenizedPair]) -> NDArray[np.float32]:
        self.runs.append([int(pair.ids[0]) for pair in pairs])
        self.entered.release()
        assert self.gate.wait(10)
        if any(pair.ids[0] < 0 for pair in pairs):
            raise RuntimeError("/secret/path broke")
        return np.array([pair.ids[0] for pair in pairs], dtype=np.float32)


def pairs(*tokens: int, length: int = 10) -> list[TokenizedPair]:
    zeros = np.zeros(length, dtype=np.int64)
    return [TokenizedPair(np.full(length, token), zeros, number, None, False) for number, token in enumerate(tokens)]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def scheduler(model: Model) -> Iterator[Scheduler]:
    made = Scheduler(model, workers=1, max_run_tokens=0)
    yield made
    model.gate.set()
    made.close()


def test_logits_come_back_in_the_order_of_the_pairs(model: Model) -> None:
    scheduler = Scheduler(model, workers=3, max_run_tokens=25)
    mixed = [*pairs(5, 4, 3), *pairs(2, 1, length=7)]
    assert scheduler.submit(mixed).logits.result(10).tolist() == [5, 4, 3, 2, 1]
    scheduler.close()


def test_calls_take_turns(model: Model, scheduler: Scheduler) -> None:
    model.gate.clear()
    long = scheduler.submit(pairs(1, 2, 3, 4))
    assert model.entered.acquire(timeout=10)
    short = scheduler.submit(pairs(9))
    model.gate.set()
    short.logits.result(10)
    long.logits.result(10)
    assert model.runs.index([9]) <= 2, "the short call waited for more than one run after the one in flight"


def test_expired_and_cancelled_calls_cost_nothing(model: Model, scheduler: Scheduler) -> None:
    model.gate.clear()
    first = scheduler.submit(pairs(1))
    assert model.entered.acquire(timeout=10)
    expired = scheduler.submit(pairs(2), deadline=time.monotonic() - 1)
    cancelled = scheduler.submit(pairs(3))
    scheduler.cancel(cancelled)
    model.gate.set()
    with pytest.raises(DeadlineExceeded):
        expired.logits.result(10)
    with pytest.raises(CallCancelled):
        cancelled.logits.result(10)
    first.logits.result(10)
    assert scheduler.submit(pairs(4)).logits.result(10).tolist() == [4]
    assert model.runs == [[1], [4]]


def test_a_fault_fails_its_call_and_leaves_the_workers(model: Model, scheduler: Scheduler) -> None:
    with pytest.raises(CrossrankError) as fault:
        scheduler.submit(pairs(-1)).logits.result(10)
    assert "/secret" not in str(fault.value)
    assert scheduler.submit(pairs(7)).logits.result(10).tolist() == [7]


def test_close_fails_what_is_queued_and_refuses_more(model: Model) -> None:
    scheduler = Scheduler(model, workers=1, max_run_tokens=0)
    model.gate.clear()
    running = scheduler.submit(pairs(1))
    assert model.entered.acquire(timeout=10)
    queued = scheduler.submit(pairs(2))
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    with pytest.raises(NotServing):
        queued.logits.result(10)
    model.gate.set()
    closing.join(10)
    assert running.logits.result(10).tolist() == [1]
    with pytest.raises(NotServing):
        scheduler.submit(pairs(3))
