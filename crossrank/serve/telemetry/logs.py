"""Logs: JSON lines on standard error; they hold no query and no document, and no call ever waits for them."""

import asyncio
import atexit
import logging
import os
import queue
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

from crossrank.errors import CrossrankError

# Lines that may wait for whoever reads standard error; more are dropped, and counted.
_LINES = 10_000
# Seconds that the last lines get when the process ends.
_LAST = 2.0
# Frames of an exception, and exceptions of a chain, that a line holds.
_FRAMES, _CHAIN = 30, 5


def configure_logs() -> None:
    """Makes structlog write one JSON object a line, with time and level; all that Python itself would write, as well.

    That is uncaught exceptions of any thread, warnings, and the logging of libraries. The messages of exceptions and of
    libraries may quote a text: of exceptions that are not ours a line has the class and the frames, of libraries' lines
    the place in their code.
    """
    lines = _Lines()
    atexit.register(lines.finish)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _render_exception,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )
    for name in ("", "crossrank"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger().addHandler(_Library(logging.WARNING))
    warnings.showwarning = cast("Any", _log_warning)
    sys.excepthook = lambda kind, error, trace: _log_uncaught(error, "main")
    sys.unraisablehook = lambda unraisable: _log_uncaught(unraisable.exc_value, "finalizer")
    threading.excepthook = lambda arguments: _log_uncaught(
        arguments.exc_value, arguments.thread.name if arguments.thread else "unknown"
    )


def dropped_lines() -> int:
    """Lines that were dropped since the process began, because nobody read what was written before."""
    return _Lines.lost


def log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs what an event loop could not give to anybody, such as an exception in a callback."""
    _log_uncaught(context.get("exception"), "event loop")


def _log_uncaught(error: BaseException | None, place: str) -> None:
    structlog.get_logger().error("uncaught", place=place, exc_info=error)


def _log_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
) -> None:
    structlog.get_logger().warning("warning", category=category.__name__, file=filename, line=lineno)


class _Library(logging.Handler):
    """Logs the records of the standard library's loggers; the messages of our own only."""

    def emit(self, record: logging.LogRecord) -> None:
        told = {"message": record.getMessage()} if record.name.startswith("crossrank") else {}
        structlog.get_logger().log(
            max(logging.DEBUG, min(record.levelno, logging.CRITICAL) // 10 * 10),
            "library",
            logger=record.name,
            file=record.pathname,
            line=record.lineno,
            exc_info=record.exc_info and record.exc_info[1],
            **told,
        )


def _render_exception(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Puts class and frames in the place of an exception, of those that led to it as well."""
    error = line.pop("exc_info", None)
    rendered: list[dict[str, Any]] = []
    if error is True:
        error = sys.exception()
    while isinstance(error, BaseException) and len(rendered) < _CHAIN:
        frames = traceback.extract_tb(error.__traceback__, -_FRAMES)
        rendered.append(
            {
                "class": f"{type(error).__module__}.{type(error).__qualname__}",
                **({"message": str(error)} if isinstance(error, CrossrankError) else {}),
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if rendered:
        line["exception"] = rendered
    return line


class _Lines:
    """Hands lines to a thread that writes them: else a pipe that nobody reads would stop the event loop.

    Attributes:
        lost: lines that were dropped, of all instances.

    The thread writes to the descriptor: while it hung in `sys.stderr`, it would hold a lock that Python needs to end.
    """

    lost = 0

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
            _Lines.lost += 1
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
