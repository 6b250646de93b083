"""Budget of the requests and bytes that a server holds at once, over its unary calls and streams."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from crossrank.errors import Overloaded

# Seconds after which a refused caller may try again, at most: much changes in a queue meanwhile.
_LONGEST_PUSHBACK = 3.0
# Seconds after which a caller may try again that found the budget spent: most requests are shorter.
_SPENT = 1.0


def pushback(seconds: float) -> float:
    """Returns when a refused caller should try again.

    Args:
        seconds: the predicted wait.

    Returns:
        At most a few seconds, drawn from the upper half of the wait: callers refused together come back apart.
    """
    return min(seconds, _LONGEST_PUSHBACK) * random.uniform(0.5, 1.0)


class Budget:
    """Requests and bytes in flight, with a limit for each; for one event loop.

    A request that exceeds a limit by itself gets room while nothing else is in flight.

    Args:
        max_requests: largest number of requests in flight.
        max_bytes: largest sum of their sizes.

    Attributes:
        requests: requests in flight.
        bytes: sum of their sizes.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0
        self._freed = asyncio.Event()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Holds room for a request within the block, or refuses it: for unary calls.

        Args:
            size: bytes of its message.

        Raises:
            Overloaded: there is no room.
        """
        if not self._fits(size):
            raise Overloaded(
                f"{self.requests} requests with {self.bytes} bytes are in flight; try again soon",
                retry_after=pushback(_SPENT),
            )
        with self._held(size):
            yield

    @asynccontextmanager
    async def wait(self, size: int) -> AsyncIterator[None]:
        """Holds room for a request within the block, once there is some: for streams, which do not read on meanwhile.

        Args:
            size: bytes of its message.
        """
        while not self._fits(size):
            self._freed.clear()
            await self._freed.wait()
        with self._held(size):
            yield

    def _fits(self, size: int) -> bool:
        return not self.requests or (self.requests < self._max_requests and self.bytes + size <= self._max_bytes)

    @contextmanager
    def _held(self, size: int) -> Iterator[None]:
        self.requests += 1
        self.bytes += size
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= size
            self._freed.set()
