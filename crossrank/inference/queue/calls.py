"""Calls on their way through the workers, the pairs that they share, and the runs that compute them."""

import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossrank.inference.queue.queued_call import SLACK, QueuedCall
from crossrank.inference.tokens.tokenizer import TokenizedPair


class Call:
    """The pairs of one request.

    Args:
        pairs: in the order of its logits.
        deadline: on the clock of `time.monotonic`; None for none.
        caller: who makes it.

    Attributes:
        logits: resolves to float32, shape [pairs], or to DeadlineExceeded, Cancelled, Unavailable or whatever the
            model raised.
        queued: seconds from submission to the first batch.
        computed: seconds from the first batch to the last logit.
        tokens: of all its pairs.
        cache_hits: pairs whose logit was known, or was being computed for another call.
    """

    def __init__(self, pairs: Sequence[TokenizedPair], deadline: float | None, caller: str = "") -> None:
        self.caller = caller
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
        """Notes that a batch has taken a pair of it."""
        if self._started is None:
            self._started = time.monotonic()
            self.queued = self._started - self._submitted

    def set_logit(self, index: int, logit: float) -> None:
        """Stores the logit of one of its pairs; the last one resolves `logits`."""
        self._values[index] = logit
        self._missing -= 1
        if not self._missing and not self.done:
            self.computed = 0.0 if self._started is None else time.monotonic() - self._started
            self.logits.set_result(self._values)

    def fail(self, error: Exception) -> None:
        """Resolves `logits` to an error; does nothing where they are resolved already."""
        if not self.done:
            self.logits.set_exception(error)


class SharedPair:
    """A pair to be computed once, for every place of every call that waits for it.

    Attributes:
        tokens: what the model reads.
        key: what it is known by in the cache; None where nothing is shared.
        waiters: calls, and the pair's places in them.
        running: whether a batch has taken it.
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


class PendingPairs(QueuedCall):
    """The pairs of a call that no batch has taken.

    Attributes:
        call: the call.
        pairs: in the order of `lengths`; who takes some from the queue removes them here too.
    """

    def __init__(self, call: Call, pairs: Sequence[SharedPair]) -> None:
        self.call = call
        self.pairs = sorted(pairs, key=lambda pair: pair.length)
        super().__init__([pair.length for pair in self.pairs], call.due, call.deadline, call.caller)

    def pop(self, places: range) -> list[SharedPair]:
        """Removes pairs from `pairs`, and gives them."""
        popped = self.pairs[places.start : places.stop]
        del self.pairs[places.start : places.stop]
        return popped

    def find(self, pair: SharedPair) -> range:
        """Where a pair is; empty where it is not."""
        start = bisect_left(self.lengths, pair.length)
        for place in range(start, bisect_left(self.lengths, pair.length + 1)):
            if self.pairs[place] is pair:
                return range(place, place + 1)
        return range(0)


class RunOptions(Protocol):
    """What ONNX Runtime looks at between two nodes of a graph."""

    terminate: bool


class Run:
    """One run of the model over a few pairs, which any thread may end.

    Args:
        pairs: what it computes.
        predicted: seconds that it should take.
    """

    def __init__(self, pairs: Sequence[SharedPair], predicted: float) -> None:
        self.pairs = pairs
        self.predicted = predicted
        self.started = time.monotonic()
        self.terminated = False
        self._options: RunOptions | None = None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for any pair of it."""
        return all(call.done for pair in self.pairs for call, _ in pair.waiters)

    def attach(self, options: RunOptions) -> None:
        """Takes what ends the model; the model calls it before it computes."""
        self._options = options
        options.terminate = self.terminated

    def terminate(self) -> None:
        """Ends the model before its next node; what it computes is lost."""
        self.terminated = True
        if self._options is not None:
            self._options.terminate = True
