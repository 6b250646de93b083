"""A call's way through one ranker, without the wire."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from crossrank.errors import DeadlineExceeded, InvalidRequest
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.scorer import Scorer
from crossrank.serve.access.gate import CALLER
from crossrank.serve.engine.engine import Engine
from crossrank.serve.engine.requests import ScoringRequest

PAIRS = [("a query", f"text {number}") for number in range(5)]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(Scorer.open(DEFAULT_RANKER), max_queued_tokens=10**6)
    yield made
    made.close()


def request(**changes: Any) -> ScoringRequest:
    plain: dict[str, Any] = {
        "model": "",
        "pairs": PAIRS,
        "sizes": [len(query + document) for query, document in PAIRS],
        "kind": None,
        "max_length": None,
        "strategy": "truncate",
    }
    return ScoringRequest(**(plain | changes))


@pytest.mark.parametrize("way", ["deadline", "cancel"])
def test_a_call_that_dies_before_it_is_tokenised_never_is(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    before = engine.counts
    tokenised: list[object] = []

    def steps(*given: Any, **options: Any) -> Iterator[Any]:
        tokenised.append(given)
        yield []

    monkeypatch.setattr(engine.scorer.tokenizer, "encode_in_steps", steps)
    busy = threading.Event()
    engine._tokenizing.submit(busy.wait, 30)

    async def call() -> None:
        if way == "deadline":
            with pytest.raises(DeadlineExceeded):
                await engine.score(request(), 0.1)
        else:
            task = asyncio.ensure_future(engine.score(request(), 30.0))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(call())
    busy.set()
    engine._tokenizing.submit(lambda: None).result(120)
    assert not tokenised
    assert (engine.counts.dropped - before.dropped, engine.counts.computed - before.computed) == (5, 0)


def test_a_bad_request_is_no_dropped_work_and_leaves_the_queue(engine: Engine) -> None:
    before = engine.counts
    with pytest.raises(InvalidRequest, match="max_length"):
        asyncio.run(engine.score(request(max_length=3), 30.0))
    assert engine.counts.dropped == before.dropped
    assert not engine._admission._arriving
    assert len(asyncio.run(engine.score(request(), 30.0)).values) == 5


def test_predictions_learn_from_the_pairs_that_lost_no_text(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[int, int]] = []
    monkeypatch.setattr(engine._admission, "learn", lambda text_bytes, tokens: learned.append((text_bytes, tokens)))
    pairs = [*PAIRS, ("query", "cut " * 600)]
    sizes = [len(query + document) for query, document in pairs]
    asyncio.run(engine.score(request(pairs=pairs, sizes=sizes), 30.0))
    assert learned == [(sum(sizes[:-1]), sum(len(pair.ids) for pair in engine.scorer.tokenizer.encode(PAIRS)))]


def test_the_time_of_a_call_is_told_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = engine.scorer.scheduler.submit

    def held_up(*given: Any, **options: Any) -> Any:
        call = submit(*given, **options)
        time.sleep(1)  # its runs begin meanwhile
        return call

    monkeypatch.setattr(engine.scorer.scheduler, "submit", held_up)
    started = time.monotonic()
    scores = asyncio.run(engine.score(request(), 30.0))
    assert scores.tokenize + scores.queue + scores.compute <= time.monotonic() - started
    assert scores.tokenize < 1


def test_the_queue_knows_whose_call_it_is(engine: Engine) -> None:
    async def call() -> None:
        CALLER.set("team")
        await engine.score(request(), 60.0)

    asyncio.run(call())
    assert "team" in engine.scorer.scheduler._waiting._queue._callers
