"""Workers that pull runs of pairs: calls take turns, dead calls cost nothing, nothing sleeps or polls."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from serve.errors import CallCancelled, CrossrankError, DeadlineExceeded, NotServing
from serve.plan import plan
from serve.tokenizer import TokenizedPair


class Call:
    """The pairs of one request on their way through the workers.

    Attributes:
        logits: resolves to float32, shape [len(pairs)], or to DeadlineExceeded, CallCancelled, NotServing or
            whatever the run raised.
        queued: seconds from submission to the first run.
        computed: seconds from the first run to the last logit.
        busy: seconds of all its runs together, whichever workers ran them.
        tokens: of all its pairs.
    """

    def __init__(self, pairs: Sequence[TokenizedPair], runs: list[list[int]], deadline: float | None) -> None:
        self.logits: Future[NDArray[np.float32]] = Future()
        # A future that asyncio wraps can otherwise be cancelled between a worker's look and its result.
        self.logits.set_running_or_notify_cancel()
        self.queued = 0.0
        self.computed = 0.0
        self.busy = 0.0
        self._submitted = time.monotonic()
        self._started: float | None = None
        self._pairs = pairs
        self._runs = deque(runs)
        self._missing = len(runs)
        self._values = np.empty(len(pairs), dtype=np.float32)
        self._deadline = deadline
        self.tokens = sum(len(pair.ids) for pair in pairs)

    def _dead(self) -> bool:
        if not self.logits.done() and self._deadline is not None and time.monotonic() > self._deadline:
            self._fail(DeadlineExceeded("the deadline passed before all pairs were scored"))
        return self.logits.done()

    def _fail(self, error: Exception) -> None:
        if not self.logits.done():
            self.logits.set_exception(error)

    def _next_run(self) -> list[int]:
        if self._started is None:
            self._started = time.monotonic()
            self.queued = self._started - self._submitted
        return self._runs.popleft()

    def _finish(self, run: list[int], values: NDArray[np.float32], seconds: float) -> None:
        self._values[run] = values
        self.busy += seconds
        self._missing -= 1
        if not self._missing and not self.logits.done():
            assert self._started is not None
            self.computed = time.monotonic() - self._started
            self.logits.set_result(self._values)


class Scheduler:
    """A fixed number of workers over one queue of calls.

    Args:
        run: computes the logits of a few pairs; called from several threads at once.
        workers: how many threads.
        max_run_tokens: see `serve.plan.plan`.
    """

    def __init__(
        self,
        run: Callable[[Sequence[TokenizedPair]], NDArray[np.float32]],
        *,
        workers: int,
        max_run_tokens: int,
    ) -> None:
        self._run = run
        self._max_run_tokens = max_run_tokens
        self._calls: deque[Call] = deque()
        self._changed = threading.Condition()
        self._closed = False
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
            deadline: on the clock of `time.monotonic`; runs that have not begun by then are never begun.

        Raises:
            NotServing: the scheduler is closed.
            ValueError: there are no pairs.
        """
        if not pairs:
            raise ValueError("there are no pairs to score")
        runs = plan([len(pair.ids) for pair in pairs], max_run_tokens=self._max_run_tokens)
        call = Call(pairs, runs, deadline)
        with self._changed:
            if self._closed:
                raise NotServing("the ranker is being closed")
            self._calls.append(call)
            self._changed.notify(len(runs))
        return call

    def cancel(self, call: Call) -> None:
        """Drops the runs of a call that have not begun."""
        with self._changed:
            call._fail(CallCancelled("the caller went away"))

    def close(self) -> None:
        """Drops what is queued and waits for the runs in flight."""
        with self._changed:
            self._closed = True
            for call in self._calls:
                call._fail(NotServing("the ranker is being closed"))
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _take(self) -> tuple[Call, list[int]] | None:
        """The next run, of the call whose turn it is; None once closed."""
        with self._changed:
            while True:
                while self._calls:
                    call = self._calls.popleft()
                    if call._dead():
                        continue
                    run = call._next_run()
                    if call._runs:
                        self._calls.append(call)
                    return call, run
                if self._closed:
                    return None
                self._changed.wait()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            call, run = taken
            started = time.monotonic()
            try:
                values = self._run([call._pairs[index] for index in run]).reshape(len(run))
            except CrossrankError as error:
                outcome: Exception | NDArray[np.float32] = error
            except Exception as error:
                outcome = CrossrankError("the model could not be run")
                outcome.__cause__ = error
            else:
                outcome = values
            with self._changed:
                if isinstance(outcome, Exception):
                    call._fail(outcome)
                else:
                    call._finish(run, outcome, time.monotonic() - started)
