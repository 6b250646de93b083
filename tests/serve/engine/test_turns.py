import asyncio

from crossrank.serve.engine.turns import Turns


def test_who_was_served_least_goes_first_and_a_cancelled_wait_blocks_nobody() -> None:
    order: list[str] = []

    async def run() -> None:
        turns = Turns()

        async def work(name: str, served: float) -> None:
            async with turns.turn(served):
                order.append(name)
                await asyncio.sleep(0)

        async with turns.turn(0):
            tasks = {
                name: asyncio.create_task(work(name, served))
                for name, served in (("long", 9), ("leaving", 0), ("small", 1), ("smaller", 0), ("late", 0))
            }
            await asyncio.sleep(0)
            tasks["leaving"].cancel()
        await asyncio.sleep(0)
        tasks["late"].cancel()
        await asyncio.wait(tasks.values())

    asyncio.run(run())
    assert order == ["smaller", "small", "long"]


def test_a_turn_that_was_given_to_a_cancelled_wait_is_passed_on() -> None:
    async def run() -> str:
        turns = Turns()

        async def wait() -> None:
            async with turns.turn(0):
                raise AssertionError("it was cancelled")

        async with turns.turn(0):
            first = asyncio.create_task(wait())
            await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(30), turns.turn(0):
            return "served"

    assert asyncio.run(run()) == "served"
