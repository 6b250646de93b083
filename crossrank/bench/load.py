"""Load on a server: calls sent when they are due, whatever the server does, or each when the last is answered."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from crossrank.bench.targets import Answer, Target, open_target
from crossrank.bench.workload import RankCall

Arrivals = Literal["poisson", "constant"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call.

    Attributes:
        due: seconds from the start at which it should have been sent.
        late: seconds after that at which it was sent, for which the generator is to blame.
        latency: seconds from `due` to its end, so that what a stalled server holds up counts as waiting.
        status: how it ended.
        pairs: of it.
        split: what the server says of its time, in seconds; empty where it says nothing.
    """

    due: float
    late: float
    latency: float
    status: str
    pairs: int
    split: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Load:
    """What a generator did.

    Attributes:
        outcomes: of the calls that ended, in that order.
        seconds: from the first call to the last end.
        cpu_seconds: that the generator's own process used in them.
        interrupted: whether it was stopped early; calls in flight then are not among the outcomes.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    interrupted: bool = False


def open_loop(
    address: str,
    calls: Sequence[RankCall],
    *,
    rate: float,
    seconds: float,
    deadline: float,
    seed: int,
    arrivals: Arrivals = "poisson",
) -> Load:
    """Sends calls at times that do not depend on the server.

    Latency counts from the intended time: otherwise a server that stalls is asked less, and looks well ("coordinated
    omission", Gil Tene, "How NOT to Measure Latency").

    Args:
        address: as `open_target` has it.
        calls: taken in turn.
        rate: calls a second.
        seconds: for how long calls are sent.
        deadline: seconds of each call.
        seed: of the times.
        arrivals: "poisson", or "constant" for equal gaps.

    Raises:
        UsageError, CrossrankError: as `open_target` raises them.
    """
    times = due_times(rate, seconds, seed, arrivals)

    async def run(send: "_Send") -> None:
        async def one(number: int, due: float) -> None:
            await asyncio.sleep(send.start + due - time.perf_counter())
            await send(number, due)

        await _gather(one(number, due) for number, due in enumerate(times))

    return asyncio.run(_measured(address, calls, deadline, run))


def closed_loop(address: str, calls: Sequence[RankCall], *, clients: int, seconds: float, deadline: float) -> Load:
    """Clients that each send their next call when the last one is answered.

    Args:
        address: as `open_target` has it.
        calls: each client begins at another one.
        clients: how many.
        seconds: for how long calls are sent; each client sends one at least.
        deadline: seconds of each call.

    Raises:
        UsageError, CrossrankError: as `open_target` raises them.
    """

    async def run(send: "_Send") -> None:
        async def client(number: int) -> None:
            first = number
            while (due := time.perf_counter() - send.start) < seconds or number == first:
                await send(number, due)
                number += clients

        await _gather(map(client, range(clients)))

    return asyncio.run(_measured(address, calls, deadline, run))


def due_times(rate: float, seconds: float, seed: int, arrivals: Arrivals) -> list[float]:
    """When calls are due, in seconds from the start, ascending and below `seconds`."""
    count = int(rate * seconds)
    if arrivals == "constant":
        return [number / rate for number in range(max(1, count))]
    # Enough for all but one run in many thousands; a Poisson count spreads by its square root.
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=count + int(5 * count**0.5) + 10)
    return [float(at) for at in np.cumsum(gaps) if at < seconds] or [0.0]


class _Send:
    """Sends calls and keeps what becomes of them."""

    def __init__(self, target: Target, calls: Sequence[RankCall], deadline: float) -> None:
        self._requests = [(target.serialise(call), len(call.documents)) for call in calls]
        self._target, self._deadline = target, deadline
        self.load = Load()
        self.start = time.perf_counter()

    async def __call__(self, number: int, due: float) -> None:
        request, pairs = self._requests[number % len(self._requests)]
        sent = time.perf_counter() - self.start
        answer: Answer = await self._target.send(request, self._deadline)
        ended = time.perf_counter() - self.start
        self.load.outcomes.append(Outcome(due, sent - due, ended - due, answer.status, pairs, answer.split))


async def _measured(
    address: str, calls: Sequence[RankCall], deadline: float, run: Callable[[_Send], Awaitable[None]]
) -> Load:
    async with open_target(address) as target:
        send = _Send(target, calls, deadline)
        cpu = time.process_time()
        try:
            await run(send)
        except asyncio.CancelledError:
            # Ctrl-C; asyncio.run then raises KeyboardInterrupt only if this ends as cancelled.
            send.load.interrupted = True
        send.load.seconds = time.perf_counter() - send.start
        send.load.cpu_seconds = time.process_time() - cpu
        return send.load


async def _gather(calls: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*calls)
