"""Load generator: an open loop sends requests when they are due, a closed loop each when the last is answered."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import numpy as np

from crossrank.bench.load.load_metrics import STOPPED, Load, Outcome
from crossrank.bench.load.targets import Target, open_target
from crossrank.bench.load.workload import RerankRequest
from crossrank.bench.options import MAX_REQUESTS, Arrivals

# A target that fails so often in a row is gone; a closed loop would ask it as fast as it can.
_MAX_FAILURES = 100
_TICK = 0.005
# What makes the query of each request its own; of one length, so that it can be replaced in a serialized request.
_NUMBER = "#00000000"

_T = TypeVar("_T")


class Session:
    """One open target for all loads of a command; Ctrl-C ends the load that runs, and all after it at once."""

    def __init__(self, target: Target, stop: asyncio.Event) -> None:
        self._target, self._stop = target, stop
        # Two commands after each other should not send the same queries either: a server may keep scores.
        self._number = int(time.time() * 1000)

    async def open_loop(
        self,
        requests: Sequence[RerankRequest],
        *,
        rate: float,
        seconds: float,
        deadline: float,
        seed: int,
        arrivals: Arrivals = "poisson",
    ) -> Load:
        """Sends requests at times that do not depend on the server.

        Latency counts from the intended time: otherwise a server that stalls is asked less, and looks well
        ("coordinated omission", Gil Tene, "How NOT to Measure Latency").

        Args:
            requests: sent in turn; a number of its own is added to the query of each, so that no cache answers.
            rate: in requests a second.
            seconds: for how long requests are sent.
            deadline: of each request, in seconds.
            seed: random seed of the times.
            arrivals: "poisson", or "constant" for equal gaps.
        """
        sender = self._sender(requests, deadline)

        async def send_all() -> None:
            try:
                async with asyncio.TaskGroup() as in_flight:
                    for number, due in enumerate(due_times(rate, seconds, seed, arrivals)):
                        await asyncio.sleep(sender.start + due - time.perf_counter())
                        in_flight.create_task(sender.send(number, due))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None

        return await self._measured(sender, send_all())

    async def closed_loop(
        self, requests: Sequence[RerankRequest], *, concurrency: int, seconds: float, deadline: float
    ) -> Load:
        """Clients that each send their next request when the last one is answered.

        Args:
            requests: each client begins at a different one; see `open_loop`.
            concurrency: number of clients.
            seconds: for how long requests are sent; each client sends one at least.
            deadline: of each request, in seconds.
        """
        sender = self._sender(requests, deadline)

        async def client(number: int) -> None:
            first = number
            while (due := time.perf_counter() - sender.start) < seconds or number == first:
                await sender.send(number, due)
                if sender.sent >= MAX_REQUESTS:
                    sender.load.cut_short = f"{MAX_REQUESTS:,} requests are the limit"
                    return
                if sender.failures >= _MAX_FAILURES:
                    sender.load.cut_short = f"{_MAX_FAILURES} requests in a row failed"
                    return
                number += concurrency

        async def send_all() -> None:
            await asyncio.gather(*map(client, range(concurrency)))

        return await self._measured(sender, send_all())

    @property
    def stopped(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self._stop.is_set()

    def _sender(self, requests: Sequence[RerankRequest], deadline: float) -> "_Sender":
        sender = _Sender(self._target, requests, deadline, self._number)
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
    """When requests are due, in seconds from the start, ascending and below `seconds`; one at least."""
    count = int(rate * seconds)
    if arrivals == "constant":
        return [number / rate for number in range(max(1, count))]
    # Enough for all but one run in many thousands; a Poisson count spreads by its square root.
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=count + int(5 * count**0.5) + 10)
    return [float(at) for at in np.cumsum(gaps) if at < seconds] or [0.0]


class _Sender:
    """Sends requests and keeps their outcomes."""

    def __init__(self, target: Target, requests: Sequence[RerankRequest], deadline: float, first: int) -> None:
        self._payloads = [
            (target.serialize(RerankRequest(f"{request.query} {_NUMBER}", request.documents)), len(request.documents))
            for request in requests
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
        """Seconds of processor time since the clock started."""
        return time.process_time() - self._cpu

    async def send(self, number: int, due: float) -> None:
        """Sends one request, taken in turn from those of the workload."""
        payload, pairs = self._payloads[number % len(self._payloads)]
        self.sent += 1
        payload = payload.replace(_NUMBER.encode(), b"#%08d" % ((self._first + self.sent) % 10**8), 1)
        sent = time.perf_counter() - self.start
        self.load.sending, self.load.sending_cpu_seconds = sent, self.cpu()
        answer = await self._target.send(payload, self._deadline)
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
