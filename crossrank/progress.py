"""Progress of long work, told through logging: a line as it begins, and one after every ten seconds.

    with Progress(logging.getLogger("crossrank.train"), "embed", total=len(texts)) as progress:
        for batch in batches:
            ...
            progress.advance(len(batch))

Work inside of other work is told in its place, without a line as it begins. Each record carries the outermost Progress
as `record.progress`, of which a handler may draw bars, and `record.again`, whether the line repeats an earlier one.
"""

import logging
import threading
import time
from contextvars import ContextVar
from types import TracebackType
from typing import Self

_EVERY_SECONDS = 10.0

_innermost: ContextVar["Progress | None"] = ContextVar("innermost", default=None)


class Progress:
    """One piece of work, from its `with` to the end of that block.

    Attributes:
        what: the work, in a few words.
        total: steps in all; None where that is not known.
        done: steps so far.
        note: what else is known, such as "loss 0.3142".
        inner: the work inside of this one that runs now.
    """

    def __init__(self, log: logging.Logger, what: str, *, total: int | None = None) -> None:
        """Nothing begins, and nothing is logged, before the `with`."""
        self.what, self.total = what, total
        self.done = 0
        self.note = ""
        self.inner: Progress | None = None
        self._log = log
        self._skipped = 0
        self._started = self._told = time.monotonic()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._outer = _innermost.get()
        self._root: Progress = self._outer._root if self._outer else self
        self._token = _innermost.set(self)
        if self._outer:
            self._outer.inner = self
        else:
            self._told = self._started
            self._log.info("%s", self.what, extra={"progress": self, "again": False})
            threading.Thread(target=self._repeat, name=f"progress: {self.what}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        _innermost.reset(self._token)
        if self._outer:
            self._outer.inner = None

    @property
    def ended(self) -> bool:
        """Whether the block has ended."""
        return self._ended.is_set()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Seconds until its end at the mean speed so far; None where nothing can be said of that."""
        fresh = self.done - self._skipped
        return self.seconds * (self.total - self.done) / fresh if self.total and fresh > 0 else None

    def advance(self, steps: int = 1) -> None:
        """Counts steps as done."""
        self.done += steps

    def resume(self, done: int, total: int) -> None:
        """Begins at step `done` of `total`, which an earlier run reached."""
        self.done, self.total, self._skipped = done, total, done

    def tell(self) -> None:
        """Logs how far it is, at once."""
        self._root._told = time.monotonic()
        before = f"{self._outer.what}: " if self._outer else ""
        self._log.info("%s%s", before, self, extra={"progress": self._root, "again": True})

    def __str__(self) -> str:
        counted = f"{self.done:,}" if self.done else ""
        if self.total:
            counted = f"{self.done:,} of {self.total:,}"
        left = self.seconds_left
        spent = f"{duration(self.seconds)} so far" if left is None else f"{duration(left)} left"
        return f"{self.what}: {', '.join(part for part in (counted, self.note, spent) if part)}"

    def _repeat(self) -> None:
        while not self._ended.wait(max(0.0, self._told + _EVERY_SECONDS - time.monotonic())):
            innermost = self
            while innermost.inner:
                innermost = innermost.inner
            innermost.tell()


def duration(seconds: float) -> str:
    """Seconds for a person: "40 s", "12 min" or "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
