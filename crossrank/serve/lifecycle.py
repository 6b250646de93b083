"""Lifecycle: from the command to its end, which signals and the watchdog begin and which comes whatever hangs."""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from crossrank.serve.engine.reload import Reloader
from crossrank.serve.server import Ports, RankServer
from crossrank.serve.settings import ServerSettings
from crossrank.serve.watchdog import Watchdog

# What a server ends with that hung: EX_SOFTWARE of sysexits.h. A supervisor starts it again.
EXIT_HUNG = 70

# Seconds after the drain in which files are closed and threads end.
_ENDING = 5.0
# Seconds in which the last log line is written.
_LAST_LINE = 0.2

_log = structlog.get_logger()


class Ending:
    """The end of a server, begun once; made in its event loop.

    Args:
        seconds: that it may take; then the process ends, whatever hangs.
    """

    def __init__(self, seconds: float) -> None:
        self.code = 0
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()

    async def wait(self) -> None:
        """Returns when the end has begun."""
        await self._begun.wait()

    def on_signals(self) -> None:
        """Begins the end with SIGTERM or SIGINT; the second one ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._begin)

    def hung(self, reason: str) -> None:
        """Begins the end of a server whose work does not move; may be called from any thread."""
        _log.error("hung", reason=reason, exit_code=EXIT_HUNG)
        self.code = EXIT_HUNG
        self._bound()
        self._loop.call_soon_threadsafe(self._begin)

    def exit(self) -> None:
        """Ends the process now, without a word to threads that hang."""
        time.sleep(_LAST_LINE)
        os._exit(self.code)

    def _begin(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
            # By the system itself, since Python may be what hangs.
            signal.signal(number, signal.SIG_DFL)
        self._bound()
        self._begun.set()

    def _bound(self) -> None:
        timer = threading.Timer(self._seconds, self._force)
        timer.daemon = True
        timer.start()
        if sys.stderr is not None:  # for a thread that never gives the interpreter back
            faulthandler.dump_traceback_later(self._seconds + _ENDING, exit=True)

    def _force(self) -> None:
        self.code = EXIT_HUNG
        _log.error("did not end in time", seconds=self._seconds, exit_code=self.code)
        self.exit()


async def serve(settings: ServerSettings, ready: Callable[[Ports], None]) -> int:
    """Serves until a signal or the watchdog ends it, then drains.

    Args:
        settings: see `ServerSettings`.
        ready: called with the ports once calls are answered.

    Returns:
        The exit code: 0, or 70 where its work did not move.

    Raises:
        UsageError, InvalidRanker: as `RankServer.start` raises them.
    """
    if sys.stderr is not None:
        faulthandler.enable()
    pause = _pause(settings)
    server = RankServer(settings)
    ending = Ending(pause + settings.drain_timeout + _ENDING)
    ending.on_signals()
    loop = asyncio.get_running_loop()
    # While it loads, what it would reload is being loaded.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    try:
        reloader = Reloader(server.models, settings)  # first: what changes while it loads is reloaded
        starting, ended = asyncio.ensure_future(server.start()), asyncio.ensure_future(ending.wait())
        await asyncio.wait({starting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            ports = starting.result()
            Watchdog(server.models, settings.run_limit, loop, ending.hung).start()
            async with _reloading(reloader, settings.reload_interval > 0):
                ready(ports)
                await ended
    except BaseException:
        await server.close()
        raise
    if not starting.done():
        await server.close()
        ending.exit()  # the thread that loads would keep the process
    if not await server.stop(pause):
        ending.code = EXIT_HUNG
        ending.exit()
    return ending.code


@asynccontextmanager
async def _reloading(reloader: Reloader, watch: bool) -> AsyncIterator[None]:
    """Reloads rankers with SIGHUP, and when their directories change."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, lambda: tasks.add(loop.create_task(reloader.reload_all())))
    if watch:
        tasks.add(loop.create_task(reloader.watch()))
    try:
        yield
    finally:
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        for task in tasks:
            task.cancel()


def _pause(settings: ServerSettings) -> float:
    """Seconds between NOT_SERVING and the end of new connections."""
    if settings.drain_delay is not None:
        return settings.drain_delay
    return 0.0 if sys.stderr is not None and sys.stderr.isatty() else 5.0
