"""Logging of the commands: what `logging.getLogger("crossrank.…")` is told goes to standard error, results do not.

On a terminal rich writes the records, above any progress bar; elsewhere each is one plain line.
"""

import logging
import sys

_TIME = "[%H:%M:%S]"


def configure_logging() -> None:
    """Shows what the package logs, from INFO up; what other libraries log is left to them."""
    logger = logging.getLogger("crossrank")
    logger.setLevel(logging.INFO)
    logger.handlers = [_terminal() if sys.stderr.isatty() else _lines()]


def _terminal() -> logging.Handler:
    from rich.highlighter import NullHighlighter
    from rich.logging import RichHandler

    from crossrank.cli.output import console

    handler = RichHandler(
        console=console(), show_level=False, show_path=False, highlighter=NullHighlighter(), log_time_format=_TIME
    )
    handler.setFormatter(_Printable())
    # Bars show how far work is; see `crossrank.cli.progress`.
    handler.addFilter(lambda record: not getattr(record, "again", False))
    return handler


def _lines() -> logging.Handler:
    # Rich would fold what is longer than a line.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(asctime)s %(message)s", datefmt=_TIME))
    return handler


class _Printable(logging.Formatter):
    """Lines that do not steer the terminal, whatever texts and names of files they quote."""

    def format(self, record: logging.LogRecord) -> str:
        from crossrank.cli.output import printable

        return printable(super().format(record))
