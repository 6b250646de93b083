"""Engine: takes a request through one ranker: admit, tokenise off the event loop, schedule, score."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from crossrank.errors import DeadlineExceeded
from crossrank.inference.queue.calls import Call
from crossrank.inference.queue.waiting import Counts
from crossrank.inference.scorer import Scorer
from crossrank.inference.scores import Scores, scores_of
from crossrank.inference.tokens.tokenizer import TokenizedPair
from crossrank.serve.access.gate import CALLER
from crossrank.serve.engine.admission import Admission, Cost, too_large
from crossrank.serve.engine.requests import ScoringRequest
from crossrank.serve.engine.turns import Turns


class Engine:
    """Answers the calls for one ranker; for one event loop.

    Args:
        scorer: closed with the engine.
        max_queued_tokens: tokens that may wait before calls are refused.

    Attributes:
        calls: that it has not answered yet.
    """

    def __init__(self, scorer: Scorer, max_queued_tokens: int) -> None:
        self.scorer = scorer
        self.calls = 0
        self._admission = Admission(scorer.scheduler, max_queued_tokens, scorer.facts.max_length)
        self._max_queued_tokens = max_queued_tokens
        self._turns = Turns()
        # The tokenizers library has threads of its own; one here keeps its work off the event loop.
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="crossrank-tokenize")
        self._dropped = 0

    async def score(self, request: ScoringRequest, seconds: float) -> Scores:
        """Scores the pairs of a request.

        Args:
            request: the parsed request.
            seconds: until its deadline.

        Raises:
            Overloaded: as `Admission.admit` raises it; or the call has more tokens than may wait.
            DeadlineExceeded: there was no answer in time; what of it had not run by then never runs.
            InvalidRequest: as `PairTokenizer.encode` raises it.
        """
        self.calls += 1
        try:
            return await self._score(request, seconds)
        finally:
            self.calls -= 1

    async def _score(self, request: ScoringRequest, seconds: float) -> Scores:
        deadline = time.monotonic() + seconds
        started = time.monotonic()
        call: Call | None = None
        try:
            async with asyncio.timeout(seconds):
                with self._admission.admit(request, seconds) as cost:
                    encoded = await self._tokenize(request, deadline, cost)
                    # Before it is submitted: from then on its time is the queue's.
                    tokenize = time.monotonic() - started
                    call = self.scorer.scheduler.submit(encoded, deadline=deadline, caller=CALLER.get())
                self._learn(request, encoded)
                await asyncio.wrap_future(call.logits)
        except (TimeoutError, asyncio.CancelledError) as error:
            if call is None:
                self._dropped += len(request.pairs)
            else:
                self.scorer.scheduler.cancel(call)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise DeadlineExceeded(f"no answer within {seconds:.1f} s") from None
        return scores_of(encoded, call, self.scorer.activation(request.kind), tokenize)

    @property
    def counts(self) -> Counts:
        """The workers' counts, with what was dropped before it came to them."""
        counts = self.scorer.scheduler.counts
        return replace(counts, dropped=counts.dropped + self._dropped)

    def probe_tokenizing(self) -> "Future[None]":
        """Resolves when the tokenizer's thread has ended the steps before it.

        Raises:
            RuntimeError: the engine is closed.
        """
        return self._tokenizing.submit(lambda: None)

    def close(self) -> None:
        """Ends the threads; calls that are queued fail with Unavailable."""
        self._tokenizing.shutdown(wait=False, cancel_futures=True)
        self.scorer.close()

    def _learn(self, request: ScoringRequest, encoded: Sequence[TokenizedPair]) -> None:
        whole = [pair for pair in encoded if not pair.truncated and pair.span is None]
        self._admission.learn(sum(request.sizes[pair.document] for pair in whole), sum(len(pair.ids) for pair in whole))

    async def _tokenize(self, request: ScoringRequest, deadline: float, cost: Cost) -> list[TokenizedPair]:
        """Tokenises in steps; between two of them other calls get their turn."""
        steps = self.scorer.tokenizer.encode_in_steps(
            request.pairs, max_length=request.max_length, strategy=request.strategy
        )
        loop = asyncio.get_running_loop()
        encoded: list[TokenizedPair] = []
        tokens, spent = 0, 0.0
        while True:
            async with self._turns.turn(served=spent):
                step = await loop.run_in_executor(self._tokenizing, _next, steps, deadline)
            if step is None:
                break
            encoded += step.pairs
            spent += step.seconds
            tokens += sum(len(pair.ids) for pair in step.pairs)
            if tokens > self._max_queued_tokens:
                raise too_large(tokens, self._max_queued_tokens)
        self._admission.learn_tokenizing(cost.characters, spent)
        return encoded


class _Step(NamedTuple):
    """Pairs that a step of the tokenizer gave, and the seconds that it took."""

    pairs: list[TokenizedPair]
    seconds: float


def _next(steps: Iterator[list[TokenizedPair]], deadline: float) -> _Step | None:
    """The next step of a call; None after the last."""
    started = time.monotonic()
    if started > deadline:
        raise DeadlineExceeded("the deadline passed before its texts were tokenised")
    pairs = next(steps, None)
    return None if pairs is None else _Step(pairs, time.monotonic() - started)
