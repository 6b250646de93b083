"""A call on its way through the workers, and the pairs that it shares with others."""

import math
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from crossrank.inference.batching import SLACK, QueuedCall
from crossrank.inference.tokenizer import TokenizedPair


class Call:
    """The pairs of one request.

    Attributes:
        logits: resolves to float32, shape [pairs], or to DeadlineExceeded, Cancelled, Unavailable or whatever the
            run raised.
        queued: seconds from submission to the first run.
        computed: seconds from the first run to the last logit.
        tokens: of all its pairs.
        cache_hits: pairs whose logit was known, or was being computed for another call.
    """

    def __init__(self, pairs: Sequence[TokenizedPair], deadline: float | None) -> None:
        self.logits: Future[NDArray[np.float32]] = Future()
        # A future that asyncio wraps can otherwise be cancelled between a worker's look and its result.
        self.logits.set_running_or_notify_cancel()
        self.queued = 0.0
        self.computed = 0.0
        self.tokens = sum(len(pair.ids) for pair in pairs)
        self.cache_hits = 0
        self._submitted = time.monotonic()
        self.deadline = math.inf if deadline is None else deadline
        self.due = math.inf if deadline is None else deadline - SLACK * (deadline - self._submitted)
        self._started: float | None = None
        self._missing = len(pairs)
        self._values = np.empty(len(pairs), dtype=np.float32)

    @property
    def done(self) -> bool:
        """Whether its logits are there, or never will be."""
        return self.logits.done()

    def start(self) -> None:
        """A run takes a pair of it."""
        if self._started is None:
            self._started = time.monotonic()
            self.queued = self._started - self._submitted

    def set_logit(self, index: int, logit: float) -> None:
        """One of its pairs has its logit."""
        self._values[index] = logit
        self._missing -= 1
        if not self._missing and not self.done:
            self.computed = 0.0 if self._started is None else time.monotonic() - self._started
            self.logits.set_result(self._values)

    def fail(self, error: Exception) -> None:
        """It will have no logits; nothing happens where it has them or has failed already."""
        if not self.done:
            self.logits.set_exception(error)


class SharedPair:
    """A pair to be computed once, for every place of every call that wants it.

    Attributes:
        tokens: what the model reads.
        key: what it is known by in the cache; None where nothing is shared.
        waiters: calls, and the pair's places in them.
        running: whether a run has taken it.
    """

    __slots__ = ("key", "running", "tokens", "waiters")

    def __init__(self, tokens: TokenizedPair, key: bytes | None) -> None:
        self.tokens = tokens
        self.key = key
        self.waiters: list[tuple[Call, int]] = []
        self.running = False

    @property
    def length(self) -> int:
        """In tokens."""
        return len(self.tokens.ids)


class PendingPairs:
    """The pairs of a call that no run has taken.

    Attributes:
        call: the call.
        waiting: what the plan sees of them.
    """

    def __init__(self, call: Call, pairs: Sequence[SharedPair], served: float) -> None:
        self.call = call
        self._pairs = sorted(pairs, key=lambda pair: pair.length)
        self.waiting = QueuedCall([pair.length for pair in self._pairs], served, call.due, call.deadline)

    def __iter__(self) -> Iterator[SharedPair]:
        return iter(self._pairs)

    def take(self, places: range) -> list[SharedPair]:
        """Removes pairs for a run, on this call's account."""
        taken = self._pairs[places.start : places.stop]
        del self._pairs[places.start : places.stop]
        del self.waiting.lengths[places.start : places.stop]
        self.waiting.served += sum(pair.length for pair in taken)
        return taken

    def remove(self, pair: SharedPair) -> None:
        """Removes a pair, where it is here, that is computed on another call's account."""
        start = bisect_left(self.waiting.lengths, pair.length)
        end = bisect_left(self.waiting.lengths, pair.length + 1)
        for place in range(start, end):
            if self._pairs[place] is pair:
                del self._pairs[place]
                del self.waiting.lengths[place]
                return
