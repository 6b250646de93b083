"""Turns at work that one call does at a time: the call that was served least goes first."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush


class Turns:
    """Gives turns one after the other; for one event loop."""

    def __init__(self) -> None:
        self._busy = False
        self._arrivals = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, served: float) -> AsyncIterator[None]:
        """Waits for a turn, which lasts as long as the block.

        Args:
            served: how much of its work the call has had done; among equals the older wait goes first.
        """
        if self._busy:
            given = asyncio.get_running_loop().create_future()
            heappush(self._waiting, (served, next(self._arrivals), given))
            try:
                await given
            except asyncio.CancelledError:
                if not given.cancelled():
                    self._pass_on()
                raise
        self._busy = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            *_, given = heappop(self._waiting)
            if not given.done():
                given.set_result(None)
                return
        self._busy = False
