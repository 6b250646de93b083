"""Load on a server: calls sent when they are due, whatever the server does, or each when the last is answered."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Literal, TypeVar

import numpy as np

from crossrank.bench.outcomes import STOPPED, Load, Outcome
from crossrank.bench.targets import Target, open_target
from crossrank.bench.workload import RankCall

Arrivals = Literal["poisson", "constant"]

# What one measurement may send at most; a slip of the hand should not become an attack.
MOST_CALLS = 1_000_000
# A target that fails so often in a row is gone; a closed loop would ask it as fast as it can.
_MOST_FAILURES = 100
_TICK = 0.005
# What makes the query of each call its own; of one length, so that it can be replaced in a serialised request.
_NUMBER = "#00000000"

_T = TypeVar("_T")


class Session:
    """One open target for all the loads of a command; Ctrl-C ends the load that runs, and all after it at once."""

    def __init__(self, target: Target, stop: asyncio.Event) -> None:
        self._target, self._stop = target, stop
        # Two commands after each other should not send the same queries either: a server may keep scores.
        self._number = int(time.time() * 1000)

    async def open_loop(
        self,
        calls: Sequence[RankCall],
        *,
        rate: float,
        seconds: float,
        deadline: float,
        seed: int,
        arrivals: Arrivals = "poisson",
    ) -> Load:
        """Sends calls at times that do not depend on the server.

        Latency counts from the intended time: otherwise a server that stalls is asked less, and looks well
        ("coordinated omission", Gil Tene, "How NOT to Measure Latency").

        Args:
            calls: taken in turn; the query of each one sent ends in a number of its own, so that no cache answers.
            rate: calls a second.
            seconds: for how long calls are sent.
            deadline: seconds of each call.
            seed: of the times.
            arrivals: "poisson", or "constant" for equal gaps.
        """
        sender = self._sender(calls, deadline)

        async def send_all() -> None:
            try:
                async with asyncio.TaskGroup() as calls_in_flight:
                    for number, due in enumerate(due_times(rate, seconds, seed, arrivals)):
                        await asyncio.sleep(sender.start + due - time.perf_counter())
                        calls_in_flight.create_task(sender.send(number, due))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None

        return await self._measured(sender, send_all())

    async def closed_loop(self, calls: Sequence[RankCall], *, clients: int, seconds: float, deadline: float) -> Load:
        """Clients that each send their next call when the last one is answered.

        Args:
            calls: each client begins at another one; see `open_loop`.
            clients: how many.
            seconds: for how long calls are sent; each client sends one at least.
            deadline: seconds of each call.
        """
        sender = self._sender(calls, deadline)

        async def client(number: int) -> None:
            first = number
            while (due := time.perf_counter() - sender.start) < seconds or number == first:
                await sender.send(number, due)
                if sender.sent >= MOST_CALLS:
                    sender.load.cut_short = f"{MOST_CALLS:,} calls are enough"
                    return
                if sender.failures >= _MOST_FAILURES:
                    sender.load.cut_short = f"{_MOST_FAILURES} calls in a row failed"
                    return
                number += clients

        async def send_all() -> None:
            await asyncio.gather(*map(client, range(clients)))

        return await self._measured(sender, send_all())

    @property
    def stopped(self) -> bool:
        """Whether somebody wanted it to end."""
        return self._stop.is_set()

    def _sender(self, calls: Sequence[RankCall], deadline: float) -> "_Sender":
        sender = _Sender(self._target, calls, deadline, self._number)
        self._number += 1_000_000
        return sender

    async def _measured(self, sender: "_Sender", work: Coroutine[Any, Any, None]) -> Load:
        load = sender.load
        sender.begin()
        ticking = asyncio.create_task(_tick(load.lags))
        working, stopping = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        load.seconds, load.cpu_seconds = time.perf_counter() - sender.start, sender.cpu()
        if not working.done():
            load.cut_short = STOPPED
        # What went wrong in the work is raised when nothing runs any more.
        for task in (stopping, ticking, working):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return load


def run_load(address: str, loads: Callable[[Session], Coroutine[Any, Any, _T]]) -> _T:
    """Opens a session and awaits `loads(session)` in an event loop of its own.

    Raises:
        UsageError, CrossrankError: as `open_target` raises them.
    """

    async def run() -> _T:
        async with open_session(address) as session:
            return await loads(session)

    return asyncio.run(run())


@asynccontextmanager
async def open_session(address: str) -> AsyncIterator[Session]:
    """Connects to a server; in the main thread it takes Ctrl-C upon itself.

    Args:
        address: as `open_target` has it.

    Raises:
        UsageError, CrossrankError: as `open_target` raises them.
    """
    async with open_target(address) as target:
        stop = asyncio.Event()
        with _interrupts(stop):
            yield Session(target, stop)


def due_times(rate: float, seconds: float, seed: int, arrivals: Arrivals) -> list[float]:
    """When calls are due, in seconds from the start, ascending and below `seconds`; one at least."""
    count = int(rate * seconds)
    if arrivals == "constant":
        return [number / rate for number in range(max(1, count))]
    # Enough for all but one run in many thousands; a Poisson count spreads by its square root.
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=count + int(5 * count**0.5) + 10)
    return [float(at) for at in np.cumsum(gaps) if at < seconds] or [0.0]


class _Sender:
    """Sends calls and keeps what becomes of them."""

    def __init__(self, target: Target, calls: Sequence[RankCall], deadline: float, first: int) -> None:
        self._requests = [
            (target.serialise(RankCall(f"{call.query} {_NUMBER}", call.documents)), len(call.documents))
            for call in calls
        ]
        self._target, self._deadline, self._first = target, deadline, first
        self.sent = 0
        self.load = Load()
        self.failures = 0
        self.begin()

    def begin(self) -> None:
        """Starts the clock."""
        self.start, self._cpu = time.perf_counter(), time.process_time()

    def cpu(self) -> float:
        """Seconds of processor time since then."""
        return time.process_time() - self._cpu

    async def send(self, number: int, due: float) -> None:
        """One call, in its turn of those that there are."""
        request, pairs = self._requests[number % len(self._requests)]
        self.sent += 1
        request = request.replace(_NUMBER.encode(), b"#%08d" % ((self._first + self.sent) % 10**8), 1)
        sent = time.perf_counter() - self.start
        self.load.sending, self.load.sending_cpu_seconds = sent, self.cpu()
        answer = await self._target.send(request, self._deadline)
        ended = time.perf_counter() - self.start
        self.failures = 0 if answer.status == "OK" else self.failures + 1
        self.load.outcomes.append(Outcome(due, sent - due, ended - due, answer.status, pairs, answer.server))


async def _tick(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append(time.perf_counter() - before - _TICK)


@contextmanager
def _interrupts(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C sets the event; in other threads than the main one, and on systems without it, it stays as it is."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, stop.set)
    except (ValueError, RuntimeError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
