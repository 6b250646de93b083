"""Watchdog: notices work that does not move, in a thread that neither the event loop nor a worker can stop."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import structlog

from crossrank.inference.queue.calls import Run
from crossrank.inference.queue.scheduler import Scheduler
from crossrank.serve.engine.engine import Engine
from crossrank.serve.engine.registry import ModelRegistry

_TICK = 1.0
# A run may take this many times its prediction, which knows nothing of what else the machine does.
_TIMES = 20.0
# Seconds that a run gets to end after it was terminated.
_ENDING = 5.0

_log = structlog.get_logger()


class Watchdog:
    """Looks once a second at the runs, the workers, the tokenizers and the event loop.

    A run that takes too long is terminated. The server hangs where such a run does not end, where a ranker has no
    worker, where its tokenizer does not end a step, or where the event loop does not answer.

    Time is counted in looks: a process that was stopped or suspended as a whole does not hang.

    Args:
        models: the rankers.
        limit: seconds that a run may take where 20 times its prediction is shorter; also for a tokenizer's step and for
            the event loop.
        loop: the event loop.
        hung: called once, from the watchdog's thread, with the reason.
    """

    def __init__(
        self, models: ModelRegistry, limit: float, loop: asyncio.AbstractEventLoop, hung: Callable[[str], None]
    ) -> None:
        self._models = models
        self._limit = limit
        self._loop = loop
        self._hung = hung
        self._ages: dict[Run, float] = {}
        # Of each engine: what waits for its tokenizer, and for how long.
        self._probes: dict[Engine, tuple[Future[None], float]] = {}
        self._unanswered = 0.0

    def start(self) -> None:
        """Starts the thread; it ends with the process."""
        threading.Thread(target=self._watch, name="crossrank-watchdog", daemon=True).start()

    def _watch(self) -> None:
        while not self._loop.is_closed():
            time.sleep(_TICK)
            if (reason := self._look()) is not None:
                self._hung(reason)
                return

    def _look(self) -> str | None:
        """Why the server hangs; None where it does not."""
        ages, self._ages = self._ages, {}
        probes, self._probes = self._probes, {}
        for name, engine in self._models.all_engines():
            if self._is_tokenizing_for_long(engine, probes.get(engine)):
                return f"{name}: a step of the tokenizer does not end"
            scheduler = engine.scorer.scheduler
            if not scheduler.workers:
                return f"{name}: no worker is alive"
            for run in scheduler.runs:
                self._ages[run] = ages.get(run, 0.0) + _TICK
                if self._endless(name, scheduler, run):
                    return f"{name}: a run of the model does not end"
        if self._unanswered > self._limit:
            return "the event loop does not answer"
        self._unanswered += _TICK
        self._loop.call_soon_threadsafe(self._answer)
        return None

    def _is_tokenizing_for_long(self, engine: Engine, probe: tuple[Future[None], float] | None) -> bool:
        try:
            if probe is None or probe[0].done():
                probe = engine.probe_tokenizing(), -_TICK
        except RuntimeError:  # closed
            return False
        self._probes[engine] = probe[0], probe[1] + _TICK
        return probe[1] + _TICK > self._limit

    def _endless(self, name: str, scheduler: Scheduler, run: Run) -> bool:
        over = self._ages[run] - max(self._limit, _TIMES * run.predicted)
        if 0 < over <= _TICK:
            _log.warning("run terminated", model=name, seconds=self._ages[run], pairs=len(run.pairs))
            scheduler.terminate(run)
        return over > _ENDING

    def _answer(self) -> None:
        self._unanswered = 0.0
