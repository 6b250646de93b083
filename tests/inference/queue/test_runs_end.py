"""Runs that do not end by themselves, and workers that fail: nothing waits for them for ever."""

import time
from collections.abc import Iterator

import pytest

from crossrank.errors import Cancelled, CrossrankError, DeadlineExceeded, Unavailable
from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.scheduler import Scheduler
from crossrank.inference.session import OnnxSession
from tests.inference.queue.gated_model import Model, pairs
from tests.support.hanging_graphs import HARMLESS, endless_loop


def _wait_for_a_run(scheduler: Scheduler) -> None:
    while not scheduler.runs:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> OnnxSession:
    return OnnxSession(endless_loop(tmp_path_factory.mktemp("endless") / "model.onnx"), padding_id=0)


@pytest.fixture
def endless(session: OnnxSession) -> Iterator[Scheduler]:
    """One worker; equal pairs are computed once."""
    made = Scheduler(session.run, workers=1, policy=BatchPolicy(40), cache_size=9)
    yield made
    made.close()
    assert made.workers == 0


def test_a_run_that_nobody_waits_for_is_ended(endless: Scheduler) -> None:
    both = [endless.submit(pairs(HARMLESS + 1)), endless.submit(pairs(HARMLESS + 1))]
    _wait_for_a_run(endless)
    endless.cancel(both[0])
    assert not endless.runs[0].terminated
    endless.cancel(both[1])
    for call in both:
        with pytest.raises(Cancelled):
            call.logits.result(120)
    assert endless.submit(pairs(3)).logits.result(120).tolist() == [30]
    counts = endless.counts
    assert (counts.terminated, counts.wasted, counts.worker_faults) == (1, 1, 0)


def test_a_run_that_takes_too_long_is_ended_and_not_joined(endless: Scheduler) -> None:
    first = endless.submit(pairs(HARMLESS + 1))
    _wait_for_a_run(endless)
    endless.terminate(endless.runs[0])
    with pytest.raises(DeadlineExceeded):
        first.logits.result(120)
    again = endless.submit(pairs(HARMLESS + 1))
    _wait_for_a_run(endless)
    assert not again.done
    endless.cancel(again)
    assert endless.submit(pairs(3)).logits.result(120).tolist() == [30]


def test_close_ends_a_run_that_does_not_finish(session: OnnxSession) -> None:
    scheduler = Scheduler(session.run, workers=2, policy=BatchPolicy(0))
    hanging = scheduler.submit(pairs(HARMLESS + 1))
    _wait_for_a_run(scheduler)
    scheduler.close()
    with pytest.raises(Unavailable):
        hanging.logits.result(120)
    assert scheduler.workers == 0


@pytest.mark.parametrize("fault", [RuntimeError, MemoryError, SystemExit, KeyboardInterrupt])
def test_whatever_the_model_raises_fails_its_own_pairs(model: Model, fault: type[BaseException]) -> None:
    scheduler = Scheduler(model, workers=1, policy=BatchPolicy(100))

    def fail() -> None:
        if 1 in model.runs[-1]:
            raise fault("a user's text")

    model.on_run = fail
    model.gate.clear()
    blocker = scheduler.submit(pairs(9))
    assert model.entered.acquire(timeout=120)
    broken, sound = scheduler.submit(pairs(1)), scheduler.submit(pairs(5))
    model.gate.set()
    with pytest.raises(CrossrankError) as raised:
        broken.logits.result(120)
    assert "text" not in str(raised.value)
    assert [call.logits.result(120).tolist() for call in (blocker, sound)] == [[9], [5]]
    assert scheduler.counts.worker_faults == 0
    scheduler.close()


@pytest.mark.parametrize("place", ["take", "finish", "drop_expired"])
@pytest.mark.parametrize("fault", [RuntimeError, SystemExit])
def test_a_worker_that_fails_begins_anew(
    model: Model, monkeypatch: pytest.MonkeyPatch, place: str, fault: type[BaseException]
) -> None:
    scheduler = Scheduler(model, workers=2, policy=BatchPolicy(0))
    model.gate.clear()
    running = [scheduler.submit(pairs(1)), scheduler.submit(pairs(2))]
    assert model.entered.acquire(timeout=120) and model.entered.acquire(timeout=120)
    queued = scheduler.submit(pairs(3, 4))

    def fail(*arguments: object, **named: object) -> None:
        raise fault("broken")

    monkeypatch.setattr(scheduler._waiting, place, fail)
    model.gate.set()
    for call in (*running, queued):
        try:
            call.logits.result(120)
        except CrossrankError:
            continue
        assert call in running and place != "finish", "it was in the queue that broke"
    assert scheduler.submit(pairs(7)).logits.result(120).tolist() == [7]
    assert scheduler.counts.worker_faults == 1
    assert scheduler.workers == 2
    scheduler.close()


@pytest.fixture
def model() -> Model:
    return Model()
