"""Logs: JSON lines on standard error; they hold no query and no document, and no call ever waits for them."""

import atexit
import logging
import os
import queue
import sys
import threading
from typing import TextIO, cast

import structlog

# Lines that may wait for whoever reads standard error; more are dropped, and counted.
_LINES = 10_000
# Seconds that the last lines get when the process ends.
_LAST = 2.0


def configure_logs() -> None:
    """Makes structlog write one JSON object a line, with time and level."""
    lines = _Lines()
    atexit.register(lines.finish)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Locals would hold queries and documents.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )


class _Lines:
    """Hands lines to a thread that writes them: else a pipe that nobody reads would stop the event loop.

    The thread writes to the descriptor: while it hung in `sys.stderr`, it would hold a lock that Python needs to end.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[str | None] = queue.Queue(_LINES)
        self._dropped = 0
        # None where the process was started without one: its number may be that of another file.
        self._descriptor = None if sys.stderr is None else sys.stderr.fileno()
        self._thread = threading.Thread(target=self._work, name="crossrank-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> int:
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._dropped += 1
        return len(line)

    def flush(self) -> None:
        """Does nothing: the thread does not buffer."""

    def finish(self) -> None:
        """Gives the lines that wait a moment to be written."""
        try:
            self._waiting.put(None, timeout=_LAST)
        except queue.Full:
            return
        self._thread.join(_LAST)

    def _work(self) -> None:
        while (line := self._waiting.get()) is not None:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._write(f'{{"event": "log lines dropped", "lines": {dropped}, "level": "warning"}}\n')
            self._write(line)

    def _write(self, line: str) -> None:
        rest = line.encode(errors="backslashreplace")
        try:
            while rest and self._descriptor is not None:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            # Closed: nobody is there to be told.
            pass
