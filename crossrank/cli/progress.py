"""Progress bars of the commands: on a terminal, the work that runs with the time that it still takes.

In a file or a pipe the lines of the log say the same.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossrank.cli.output import console, printable
from crossrank.progress import Progress, duration

if TYPE_CHECKING:
    from rich.table import Table

_log = logging.getLogger(__name__)


@contextmanager
def progress_bars() -> Iterator[None]:
    """While it lasts, a terminal shows bars of every `crossrank.progress.Progress` that runs."""
    if not console().is_terminal:
        yield
        return
    from rich.live import Live

    bars = _Bars()
    log = logging.getLogger("crossrank")
    log.addHandler(bars)
    try:
        with Live(get_renderable=bars.table, console=console(), transient=True):
            yield
    finally:
        log.removeHandler(bars)


def steps_of(progress: Progress) -> Callable[[str], None]:
    """A function that logs each step of some work and keeps it as the note of its progress."""

    def step(name: str) -> None:
        progress.note = name
        _log.info("%s", name)

    return step


class _Bars(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._shown: Progress | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._shown = getattr(record, "progress", self._shown)

    def table(self) -> "Table":
        """A line for the work that runs, and one for the work inside of it."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        work = self._shown if self._shown and not self._shown.ended else None
        while work:
            left = work.seconds_left
            table.add_row(
                Text(printable(work.what)),
                ProgressBar(work.total, work.done, width=30, pulse=not work.total),
                f"{work.done:,}/{work.total:,}" if work.total else "",
                Text(printable(work.note)),
                f"{duration(work.seconds)} so far" if left is None else f"{duration(left)} left",
            )
            work = work.inner
        return table
