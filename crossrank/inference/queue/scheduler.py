"""Scheduler: workers that pull batches of pairs; calls take turns, dead calls cost nothing, nothing sleeps or polls."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossrank.errors import Cancelled, CrossrankError, DeadlineExceeded, Unavailable, UsageError
from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.calls import Call, Run, SharedPair
from crossrank.inference.queue.queued_call import SLACK
from crossrank.inference.queue.waiting import Counts, WaitingCalls
from crossrank.inference.tokens.tokenizer import TokenizedPair

# Before anything has run: a slow machine.
_SECONDS_PER_TOKEN = 2e-4
# How much of what the rate remembers each batch forgets.
_FORGOTTEN = 0.05
# Seconds that `close` gives the runs in flight to finish, and then to end.
_FINISHING, _ENDING = 2.0, 1.0

_LOG = logging.getLogger("crossrank.inference")

Model = Callable[[Sequence[TokenizedPair], Run], NDArray[np.float32]]


class Scheduler:
    """A fixed number of workers over one queue of calls.

    A run that nobody waits for any more is ended. What the model raises fails its own pairs; a worker that fails itself
    fails every call and begins anew.

    Args:
        run: computes the logits of a few pairs; called from several threads at once. It hands what ends it to
            `Run.attach`.
        workers: how many threads.
        policy: what may share a batch.
        cache_size: logits that are kept; 0 keeps none, and computes equal pairs as often as they come.
    """

    def __init__(self, run: Model, *, workers: int, policy: BatchPolicy, cache_size: int = 0) -> None:
        self._run = run
        self._waiting = WaitingCalls(policy, cache_size)
        self._runs: list[Run] = []
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

    def submit(self, pairs: Sequence[TokenizedPair], *, deadline: float | None = None, caller: str = "") -> Call:
        """Queues a call.

        Args:
            pairs: its pairs, at least one.
            deadline: on the clock of `time.monotonic`; batches that have not begun by then are never begun.
            caller: who makes it; turns are taken between callers first.

        Raises:
            Unavailable: the scheduler is closed.
            UsageError: it was made before this process forked.
            ValueError: there are no pairs, or one without tokens.
        """
        if self._process != os.getpid():  # a fork copies no threads: nobody would ever compute it
            raise UsageError("the ranker was opened before this process forked; open it in each process")
        if not pairs or not all(len(pair.ids) for pair in pairs):
            raise ValueError("there are no pairs to score, or one without tokens")
        keys = [pair.digest() for pair in pairs] if self._waiting.shares else [None] * len(pairs)
        call = Call(pairs, deadline, caller)
        with self._changed:
            if self._closed:
                raise Unavailable("the ranker is being closed")
            with self._whole():
                self._changed.notify(self._waiting.add(call, pairs, keys))
        return call

    def cancel(self, call: Call) -> None:
        """Drops the pairs of a call that no batch has taken, and ends the runs that nobody else waits for."""
        with self._changed, self._whole():
            self._waiting.drop(call, Cancelled("the caller went away"))
            self._end_abandoned()

    def terminate(self, run: Run) -> None:
        """Ends a run that takes too long; the calls that wait for it fail with DeadlineExceeded."""
        with self._changed:
            self._end(run, DeadlineExceeded("the model took too long"))

    def close(self) -> None:
        """Drops what is queued, waits a moment for the runs in flight, and ends those that do not finish."""
        with self._changed:
            self._closed = True
            self._waiting.drop_all(Unavailable("the ranker is being closed"))
            self._changed.notify_all()
        self._join(_FINISHING)
        with self._changed:
            for run in self._runs:
                self._end(run, Unavailable("the ranker is being closed"))
        self._join(_ENDING)

    @property
    def counts(self) -> Counts:
        """A copy of what has been counted."""
        with self._changed:
            return replace(self._waiting.counts)

    @property
    def queued_tokens(self) -> int:
        """Tokens that no batch has taken; costs nothing, and waits for no lock."""
        return self._waiting.tokens

    def tokens_before(self, tokens: int, deadline: float, caller: str = "") -> int:
        """How many tokens of the calls that wait are served before a newcomer is done.

        Args:
            tokens: of the newcomer.
            deadline: its deadline, on the clock of `time.monotonic`.
            caller: who makes it.
        """
        now = time.monotonic()
        due = deadline - SLACK * (deadline - now)
        with self._changed:
            return self._waiting.tokens_before(caller, tokens, due, now=now, seconds_per_token=self.seconds_per_token)

    @property
    def seconds_per_token(self) -> float:
        """Of all workers together: a mean over recent batches."""
        return self._worker_seconds_per_token / len(self._threads)

    @property
    def runs(self) -> list[Run]:
        """The runs in flight."""
        with self._changed:
            return list(self._runs)

    @property
    def workers(self) -> int:
        """How many workers are alive; after `close`, how many did not end."""
        return sum(thread.is_alive() for thread in self._threads)

    @property
    def _worker_seconds_per_token(self) -> float:
        return self._seconds / self._tokens if self._tokens else _SECONDS_PER_TOKEN

    def _join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _end_abandoned(self) -> None:
        for run in self._runs:
            if not run.terminated and run.abandoned:
                self._end(run, Cancelled("nobody waited for the run"))

    def _end(self, run: Run, error: CrossrankError) -> None:
        """Ends a run; its pairs fail at once, whenever it returns, and who comes later computes them anew."""
        if run.terminated:
            return
        run.terminate()
        self._waiting.counts.terminated += 1
        for pair in run.pairs:
            self._waiting.forget(pair)
            for call, _ in pair.waiters:
                self._waiting.drop(call, error)

    def _work(self) -> None:
        while True:
            try:
                while (run := self._take()) is not None:
                    self._finish(run, self._computed(run, run.pairs))
                return
            except BaseException as error:  # whatever it is, calls wait for this worker
                _LOG.error("worker fault", exc_info=error)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Nobody knows what a fault leaves of the queue: every call fails then, and the next ones get an empty one."""
        try:
            yield
        except BaseException:
            self._runs.clear()
            self._waiting = self._waiting.renewed(CrossrankError("a worker failed"))
            raise

    def _take(self) -> Run | None:
        """Takes the next batch; None once closed."""
        with self._changed, self._whole():
            while True:
                now = time.monotonic()
                if self._waiting.drop_expired(now):
                    self._end_abandoned()
                if pairs := self._waiting.take(now=now, seconds_per_token=self.seconds_per_token):
                    tokens = sum(pair.length for pair in pairs)
                    self._runs.append(run := Run(pairs, tokens * self._worker_seconds_per_token))
                    return run
                if self._closed:
                    return None
                self._changed.wait()

    def _computed(self, run: Run, pairs: Sequence[SharedPair]) -> list[float | CrossrankError]:
        try:
            return [float(logit) for logit in self._run([pair.tokens for pair in pairs], run)]
        except BaseException as error:  # the pairs' calls fail, whatever the model did
            if run.terminated:
                return [Cancelled("the run was ended") for _ in pairs]
            if len(pairs) > 1:  # only the invalid pair shall fail its calls
                return [outcome for pair in pairs for outcome in self._computed(run, [pair])]
            if isinstance(error, CrossrankError):
                return [error]
            fault = CrossrankError("the model could not be run")
            fault.__cause__ = error
            return [fault]

    def _finish(self, run: Run, outcomes: Sequence[float | CrossrankError]) -> None:
        seconds = time.monotonic() - run.started
        tokens = sum(pair.length for pair in run.pairs)
        with self._changed, self._whole():
            if run in self._runs:  # else another worker failed meanwhile
                self._runs.remove(run)
            counts = self._waiting.counts
            counts.computed += len(run.pairs)
            counts.tokens += tokens
            counts.busy_seconds += seconds
            if not run.terminated:  # else it did not run all of them
                self._seconds += seconds - _FORGOTTEN * self._seconds
                self._tokens += tokens - _FORGOTTEN * self._tokens
            for pair, outcome in zip(run.pairs, outcomes, strict=True):
                self._waiting.finish(pair, outcome)
