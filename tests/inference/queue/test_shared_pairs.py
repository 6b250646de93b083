"""Pairs that several calls want, and logits that are kept."""

import random
import time
from collections.abc import Iterator

import pytest

from crossrank.errors import Cancelled, CrossrankError, DeadlineExceeded
from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.scheduler import Scheduler
from crossrank.inference.tokens.tokenizer import TokenizedPair
from tests.inference.queue.gated_model import Model, pairs


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def caching(model: Model) -> Iterator[Scheduler]:
    made = Scheduler(model, workers=1, policy=BatchPolicy(0), cache_size=3)
    yield made
    model.gate.set()
    made.close()


def test_equal_pairs_are_computed_once(model: Model, caching: Scheduler) -> None:
    twice = caching.submit(pairs(1, 2, 1))
    assert twice.logits.result(120).tolist() == [1, 2, 1]
    again = caching.submit(pairs(2, 1))
    assert again.logits.result(120).tolist() == [2, 1]
    assert (twice.cache_hits, again.cache_hits, caching.counts.cached) == (1, 2, 3)
    assert sorted(model.runs) == [[1], [2]]
    caching.submit(pairs(3, 4)).logits.result(120)
    caching.submit(pairs(1)).logits.result(120)
    caching.submit(pairs(2)).logits.result(120)
    assert model.runs[-1] == [2], "the least recently used entry did not make room"


def test_a_pair_leaves_every_queue_when_a_run_takes_it(model: Model, caching: Scheduler) -> None:
    model.gate.clear()
    blocker = caching.submit(pairs(9))
    assert model.entered.acquire(timeout=120)
    both = [caching.submit(pairs(1)), caching.submit(pairs(1, 2))]
    assert caching.queued_tokens == 30
    model.gate.set()
    assert [call.logits.result(120).tolist() for call in (blocker, *both)] == [[9], [1], [1, 2]]
    assert sorted(model.runs) == [[1], [2], [9]]
    assert caching.queued_tokens == 0


def test_a_run_with_room_takes_a_pair_that_two_calls_want_once(model: Model) -> None:
    scheduler = Scheduler(model, workers=1, policy=BatchPolicy(1000), cache_size=9)
    model.gate.clear()
    blocker = scheduler.submit(pairs(9))
    assert model.entered.acquire(timeout=120)
    both = [scheduler.submit(pairs(1)), scheduler.submit(pairs(1, 2))]
    model.gate.set()
    assert [call.logits.result(120).tolist() for call in (blocker, *both)] == [[9], [1], [1, 2]]
    assert sorted(map(sorted, model.runs)) == [[1, 2], [9]]
    scheduler.close()


def test_type_ids_tell_pairs_apart(model: Model, caching: Scheduler) -> None:
    [pair] = pairs(1)
    other = TokenizedPair(pair.ids, pair.type_ids + 1, 0, None, False)
    caching.submit([pair, other]).logits.result(120)
    assert len(model.runs) == 2


def test_a_pair_that_two_calls_want_outlives_the_death_of_one(model: Model, caching: Scheduler) -> None:
    model.gate.clear()
    blocker = caching.submit(pairs(9))
    assert model.entered.acquire(timeout=120)
    dying = caching.submit(pairs(1, 2))
    living = caching.submit(pairs(2, 3))
    caching.cancel(dying)
    joining = caching.submit(pairs(9))
    model.gate.set()
    assert living.logits.result(120).tolist() == [2, 3]
    assert joining.logits.result(120).tolist() == blocker.logits.result(120).tolist() == [9]
    assert sorted(model.runs) == [[2], [3], [9]]
    assert (caching.counts.dropped, caching.counts.wasted) == (1, 0)
    assert not caching._waiting._wanted and not caching._waiting._pending


@pytest.mark.parametrize("policy", [BatchPolicy(0), BatchPolicy(40, 0.3), BatchPolicy(200, 0.3, True)])
def test_calls_that_share_pairs_end_and_leave_nothing_behind(model: Model, policy: BatchPolicy) -> None:
    """Three workers, few different pairs, and calls that are cancelled, late, or broken."""
    draw = random.Random(0)
    scheduler = Scheduler(model, workers=3, policy=policy, cache_size=4)
    calls = []
    for number in range(300):
        tokens = [draw.choice([-1, *range(12), *range(12)]) for _ in range(draw.randint(1, 8))]
        made = [pair for token in tokens for pair in pairs(token, length=8 + token % 5)]
        late = time.monotonic() + draw.choice([0.0, 0.001, 30.0])
        calls.append((tokens, scheduler.submit(made, deadline=draw.choice([None, late]))))
        if number % 5 == 0:
            scheduler.cancel(calls[draw.randrange(len(calls))][1])
    for tokens, call in calls:
        try:
            assert call.logits.result(120).tolist() == tokens
        except CrossrankError as error:
            assert isinstance(error, Cancelled | DeadlineExceeded) or -1 in tokens, error
    scheduler.close()
    assert scheduler.queued_tokens == 0
    assert not scheduler._waiting._pending and not scheduler._waiting._wanted
