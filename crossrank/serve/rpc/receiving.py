"""Receiving: requests are read a few at once, each within a time.

What has arrived of a request that somebody reads is held, up to the largest one; of one that nobody reads gRPC and
HTTP take no more than 64 KiB from the network.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc.aio import ServicerContext

from crossrank.errors import Cancelled, DeadlineExceeded, InvalidRequest, Overloaded
from crossrank.serve.engine.budget import pushback

# Requests that are read at once. Most have arrived with their call and take no time.
_AT_ONCE = 8
# Seconds that a request may take to arrive while others wait, and while none does.
_BRISK, _LONGEST = 0.25, 10.0
# Seconds until its deadline of a call that gRPC has ended for it.
_ENDED = 0.05


class Receiver:
    """Gives requests their turns to be read; for one event loop.

    Args:
        max_waiting: largest number of calls that wait for others to be read.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._free = _AT_ONCE
        self._reading: dict[asyncio.Timeout, float] = {}
        self._waiting: list[asyncio.Future[None]] = []

    async def read(self, context: ServicerContext[bytes, Any]) -> bytes:
        """Reads the request of a call.

        Raises:
            InvalidRequest: the caller ended the call without one.
            DeadlineExceeded: it did not arrive in time.
            Cancelled: the caller went away.
            Overloaded: too many calls wait for others to be read.
        """
        async with self.turn():
            # The iterator of messages would keep the last one.
            message = await context.read()
        if not isinstance(message, bytes):
            left = context.time_remaining()
            if left is not None and left < _ENDED:
                raise DeadlineExceeded("the deadline passed before the request had arrived")
            if context.cancelled():
                raise Cancelled("the caller went away before the request had arrived")
            raise InvalidRequest("request: is missing; send one message")
        return message

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Lets one request be read within the block.

        Raises:
            DeadlineExceeded: it did not arrive in time.
            Overloaded: too many requests wait for others to be read.
        """
        await self._wait()
        started = asyncio.get_running_loop().time()
        limit = asyncio.timeout(_BRISK if self._waiting else _LONGEST)
        try:
            async with limit:
                self._reading[limit] = started
                yield
        except TimeoutError:
            if self._waiting:
                raise Overloaded(
                    "others wait for this request to arrive; try again soon", retry_after=pushback(1.0)
                ) from None
            raise DeadlineExceeded("the request did not arrive in time; send it faster, or less") from None
        finally:
            self._reading.pop(limit, None)
            self._release()

    async def _wait(self) -> None:
        """Waits until fewer are read. The newest goes first: requests that never arrive would hold up all others."""
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded("too many requests are on their way; try again in 1 s", retry_after=1.0)
        for limit, started in self._reading.items():
            if limit.expired():  # its task has not noticed yet
                continue
            limit.reschedule(min(limit.when() or 0.0, started + _BRISK))
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(_LONGEST):
                await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.done() and not turn.cancelled():
                self._release()
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(f"the request was not read within {_LONGEST:.1f} s") from None
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
