"""Scheduler: workers that pull batches of pairs; calls take turns, dead calls cost nothing, nothing sleeps or polls."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from crossrank.errors import Cancelled, CrossrankError, DeadlineExceeded, Unavailable, UsageError
from crossrank.inference.batching import BatchPolicy, CallQueue
from crossrank.inference.calls import Call, PendingPairs, SharedPair
from crossrank.inference.tokenizer import TokenizedPair

# Before anything has run: a slow machine.
_SECONDS_PER_TOKEN = 2e-4
# How much of what the rate remembers each batch forgets.
_FORGOTTEN = 0.05

_Outcome = float | CrossrankError


@dataclass(slots=True)
class Counts:
    """Counts of what the workers have done since they began.

    Attributes:
        computed: pairs that were run.
        tokens: of these.
        wasted: pairs that were run for calls that had died meanwhile: what was in flight at that moment.
        dropped: pairs of dead calls that were never run.
        cached: pairs whose logit was known, or was being computed for another call.
        busy_seconds: of all batches together.
    """

    computed: int = 0
    tokens: int = 0
    wasted: int = 0
    dropped: int = 0
    cached: int = 0
    busy_seconds: float = 0.0


class Scheduler:
    """A fixed number of workers over one queue of calls.

    Args:
        run: computes the logits of a few pairs; called from several threads at once.
        workers: how many threads.
        policy: what may share a batch.
        cache_size: logits that are kept; 0 keeps none, and computes equal pairs as often as they come.
    """

    def __init__(
        self,
        run: Callable[[Sequence[TokenizedPair]], NDArray[np.float32]],
        *,
        workers: int,
        policy: BatchPolicy,
        cache_size: int = 0,
    ) -> None:
        self._run = run
        self._queue: CallQueue[PendingPairs] = CallQueue(policy)
        self._pending: dict[Call, PendingPairs] = {}
        # A logit depends on its pair's tokens alone, bit for bit on the CPU.
        self._cache: LRUCache[bytes, float] | None = LRUCache(cache_size) if cache_size else None
        # Pairs that are waiting or being run, by their key.
        self._wanted: dict[bytes, SharedPair] = {}
        self._counts = Counts()
        # Of recent batches.
        self._seconds, self._tokens = 0.0, 0.0
        self._changed = threading.Condition()
        self._closed = False
        self._process = os.getpid()
        self._threads = [
            threading.Thread(target=self._work, name=f"crossrank-worker-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, pairs: Sequence[TokenizedPair], *, deadline: float | None = None) -> Call:
        """Queues a call.

        Args:
            pairs: its pairs, at least one.
            deadline: on the clock of `time.monotonic`; batches that have not begun by then are never begun.

        Raises:
            Unavailable: the scheduler is closed.
            UsageError: it was made before this process forked.
            ValueError: there are no pairs, or one without tokens.
        """
        if self._process != os.getpid():  # a fork copies no threads: nobody would ever compute it
            raise UsageError("the ranker was opened before this process forked; open it in each process")
        if not pairs or not all(len(pair.ids) for pair in pairs):
            raise ValueError("there are no pairs to score, or one without tokens")
        keys = [pair.digest() for pair in pairs] if self._cache is not None else [None] * len(pairs)
        call = Call(pairs, deadline)
        with self._changed:
            if self._closed:
                raise Unavailable("the ranker is being closed")
            waiting = self._look_up(call, pairs, keys)
            if waiting:
                self._pending[call] = pending = PendingPairs(call, waiting)
                self._queue.add(pending)
                self._changed.notify(len(waiting))
        return call

    def cancel(self, call: Call) -> None:
        """Drops the pairs of a call that no batch has taken."""
        with self._changed:
            self._drop(call, Cancelled("the caller went away"))

    def close(self) -> None:
        """Drops what is queued and waits for the batches in flight."""
        with self._changed:
            self._closed = True
            for call in list(self._pending):
                self._drop(call, Unavailable("the ranker is being closed"))
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def counts(self) -> Counts:
        """A copy of what has been counted."""
        with self._changed:
            return replace(self._counts)

    @property
    def queued_tokens(self) -> int:
        """Tokens that no batch has taken; costs nothing, and waits for no lock."""
        return self._queue.tokens

    @property
    def seconds_per_token(self) -> float:
        """Of all workers together: a mean over recent batches."""
        rate = self._seconds / self._tokens if self._tokens else _SECONDS_PER_TOKEN
        return rate / len(self._threads)

    def _look_up(self, call: Call, pairs: Sequence[TokenizedPair], keys: Sequence[bytes | None]) -> list[SharedPair]:
        """Fills in what is known, joins what is wanted already; gives what no batch has taken, each pair once."""
        waiting: dict[int, SharedPair] = {}
        for index, (tokens, key) in enumerate(zip(pairs, keys, strict=True)):
            logit = self._cache.get(key) if self._cache is not None and key is not None else None
            if logit is not None:
                self._counts.cached += 1
                call.cache_hits += 1
                call.set_logit(index, logit)
                continue
            pair = self._wanted.get(key) if key is not None else None
            if pair is None:
                pair = SharedPair(tokens, key)
                if key is not None:
                    self._wanted[key] = pair
            else:
                self._counts.cached += 1
                call.cache_hits += 1
            pair.waiters.append((call, index))
            if not pair.running:
                # It is queued for every call that wants it, until a batch takes it.
                waiting[id(pair)] = pair
        return list(waiting.values())

    def _drop(self, call: Call, error: CrossrankError) -> None:
        """Fails a call; its pairs stay for others that wait for them, and cost nothing where nobody does."""
        call.fail(error)
        if (pending := self._pending.pop(call, None)) is None:
            return
        self._queue.remove(pending, range(len(pending.lengths)))
        for pair in pending.pairs:
            pair.waiters = [waiter for waiter in pair.waiters if waiter[0] is not call]
            if not pair.waiters:
                self._counts.dropped += 1
                if pair.key is not None:
                    del self._wanted[pair.key]

    def _take(self) -> list[SharedPair] | None:
        """Takes the next batch; None once closed."""
        with self._changed:
            while True:
                now = time.monotonic()
                for pending in self._queue.expired(now):
                    self._drop(pending.call, DeadlineExceeded("the deadline passed before all pairs were scored"))
                if batch := self._queue.next_batch(now=now, seconds_per_token=self.seconds_per_token):
                    return self._taken(batch)
                if self._closed:
                    return None
                self._changed.wait()

    def _taken(self, batch: Sequence[tuple[PendingPairs, range]]) -> list[SharedPair]:
        taken = [pair for pending, places in batch for pair in self._remove(pending, places, self._queue.take)]
        pairs = list(dict.fromkeys(taken))  # two calls of this batch may want one pair
        for pair in pairs:
            pair.running = True
            for call, _ in pair.waiters:
                if (pending := self._pending.get(call)) and (place := pending.find(pair)):
                    self._remove(pending, place, self._queue.remove)
        return pairs

    def _remove(self, pending: PendingPairs, places: range, act: Callable[..., None]) -> list[SharedPair]:
        """Removes pairs that a batch takes from a call, and by `act` of the queue from there."""
        pending.call.start()
        pairs = pending.pop(places)
        act(pending, places)
        if not pending.lengths:
            del self._pending[pending.call]
        return pairs

    def _work(self) -> None:
        while (pairs := self._take()) is not None:
            started = time.monotonic()
            outcomes = self._computed(pairs)
            seconds = time.monotonic() - started
            with self._changed:
                self._count(pairs, seconds)
                for pair, outcome in zip(pairs, outcomes, strict=True):
                    self._finish(pair, outcome)

    def _computed(self, pairs: Sequence[SharedPair]) -> Iterable[_Outcome]:
        try:
            return [float(logit) for logit in self._run([pair.tokens for pair in pairs])]
        except Exception as error:
            if len(pairs) > 1:  # only the invalid pair shall fail its calls
                return [outcome for pair in pairs for outcome in self._computed([pair])]
            if isinstance(error, CrossrankError):
                return [error]
            fault = CrossrankError("the model could not be run")
            fault.__cause__ = error
            return [fault]

    def _count(self, pairs: Sequence[SharedPair], seconds: float) -> None:
        tokens = sum(pair.length for pair in pairs)
        self._seconds += seconds - _FORGOTTEN * self._seconds
        self._tokens += tokens - _FORGOTTEN * self._tokens
        self._counts.computed += len(pairs)
        self._counts.tokens += tokens
        self._counts.busy_seconds += seconds

    def _finish(self, pair: SharedPair, outcome: _Outcome) -> None:
        if pair.key is not None:
            del self._wanted[pair.key]
            if self._cache is not None and not isinstance(outcome, CrossrankError):
                self._cache[pair.key] = outcome
        if all(call.done for call, _ in pair.waiters):
            self._counts.wasted += 1
        for call, index in pair.waiters:
            if isinstance(outcome, CrossrankError):
                self._drop(call, outcome)
            elif not call.done:
                call.set_logit(index, outcome)
