"""Progress on standard error: bars with the time left on a terminal, lines in a file or a pipe."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from crossrank.cli.output import console, print_step
from crossrank.progress import Progress, duration


@contextmanager
def shown_progress() -> Iterator[None]:
    """While it lasts, what crossrank logs is shown."""
    handler = _Handler()
    log = logging.getLogger("crossrank")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        if console.is_terminal:
            with Live(get_renderable=handler.bars, console=console, transient=True):
                yield
        else:
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._shown: Progress | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._shown = getattr(record, "progress", self._shown)
        # A terminal has the bar for that.
        if not (console.is_terminal and getattr(record, "again", False)):
            print_step(record.getMessage())

    def bars(self) -> Table:
        """A line for the work that runs, and one for the work inside of it."""
        table = Table.grid(padding=(0, 1))
        work = self._shown if self._shown and not self._shown.ended else None
        while work:
            left = work.seconds_left
            table.add_row(
                work.what,
                ProgressBar(work.total, work.done, width=30, pulse=not work.total),
                f"{work.done:,}/{work.total:,}" if work.total else "",
                work.note,
                f"{duration(work.seconds)} so far" if left is None else f"{duration(left)} left",
            )
            work = work.inner
        return table
