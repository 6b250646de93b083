"""Budget: what is in flight stays within both limits, and who waits gets room in turn."""

import asyncio
import contextlib

import pytest

from crossrank.errors import Overloaded
from crossrank.serve.engine.budget import Budget, pushback


@pytest.mark.parametrize("spent", ["requests", "bytes"])
def test_a_unary_call_without_room_is_refused_with_pushback(spent: str) -> None:
    budget = Budget(2, 10**6) if spent == "requests" else Budget(100, 10)
    with budget.take(5), budget.take(5):
        with pytest.raises(Overloaded) as refused, budget.take(1):
            pass
        assert refused.value.retry_after is not None and 0 < refused.value.retry_after <= 3
    assert (budget.requests, budget.bytes) == (0, 0)
    with budget.take(5):
        pass


def test_a_request_above_the_limit_gets_room_alone() -> None:
    budget = Budget(2, 10)
    with budget.take(50), pytest.raises(Overloaded), budget.take(0):
        pass
    with budget.take(1), pytest.raises(Overloaded), budget.take(50):
        pass


def test_streams_wait_in_turn_and_give_back_what_they_held_even_when_cancelled() -> None:
    held: list[int] = []

    async def run() -> None:
        budget = Budget(100, 10)
        most = 0

        async def request(number: int) -> None:
            nonlocal most
            async with budget.wait(4):
                held.append(number)
                most = max(most, budget.bytes)
                await asyncio.sleep(0)

        with budget.take(8):
            tasks = [asyncio.create_task(request(number)) for number in range(9)]
            await asyncio.sleep(0)
            tasks[3].cancel()
            await asyncio.sleep(0)
            assert not held
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 8
        assert (budget.requests, budget.bytes) == (0, 0)

    asyncio.run(run())
    assert held == [0, 1, 2, 4, 5, 6, 7, 8]


def test_a_failure_gives_back_what_it_held() -> None:
    budget = Budget(1, 10)
    with pytest.raises(ValueError, match="no number"), budget.take(10):
        raise ValueError("no number")
    assert (budget.requests, budget.bytes) == (0, 0)


def test_pushback_is_spread_and_short() -> None:
    drawn = [pushback(600.0) for _ in range(50)]
    assert len(set(drawn)) > 40
    assert all(0 < seconds <= 3 for seconds in drawn)
    assert all(0.1 <= pushback(0.2) <= 0.2 for _ in range(50))
