"""Admission control: rejects calls that would miss their deadline, before tokenising them."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crossrank.errors import Overloaded
from crossrank.inference.queue.queued_call import SLACK
from crossrank.inference.tokens.texts import CHARACTERS_PER_TOKEN
from crossrank.inference.tokens.tokenizer import MAX_CHUNKS
from crossrank.serve.access.gate import CALLER
from crossrank.serve.engine.budget import pushback
from crossrank.serve.engine.requests import ScoringRequest

# Before anything has been measured: English text on a slow machine.
_TOKENS_PER_BYTE = 0.3
_SECONDS_PER_CHARACTER = 1e-6
# Bytes and characters of recent text that the rates are means over: a few odd texts do not change them.
_REMEMBERED = 1_000_000
# Seconds without an admitted call after which one is let in however long it takes: where only refused calls come, no
# other measures the rates anew.
_OLD = 10.0
# The part of a window that the next one does not repeat, about.
_STRIDE = 0.8


class Queue(Protocol):
    """What the prediction needs to know of a scheduler."""

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait."""

    @property
    def seconds_per_token(self) -> float:
        """Of all workers together."""

    def tokens_before(self, tokens: int, deadline: float, caller: str = "") -> int:
        """Tokens that wait and are served before a call of so many is done; deadline as of `time.monotonic`."""


@dataclass(frozen=True, slots=True, eq=False)
class Cost:
    """What a call is predicted to cost.

    Attributes:
        tokens: of its pairs, as the model will read them.
        characters: of its texts, as far as they will be tokenised.
    """

    tokens: int
    characters: int


class Admission:
    """Predicts when a call would be answered, from the size of its texts and from the calls before it.

    Args:
        queue: where admitted calls go once they are tokenised.
        max_queued_tokens: the most tokens that may wait.
        max_length: longest pair in tokens, where the call does not say.
    """

    def __init__(self, queue: Queue, max_queued_tokens: int, max_length: int) -> None:
        self._queue = queue
        self._max_queued_tokens = max_queued_tokens
        self._max_length = max_length
        self._tokens_per_byte = _Rate(_TOKENS_PER_BYTE)
        self._seconds_per_character = _Rate(_SECONDS_PER_CHARACTER)
        # Admitted calls that are not yet tokenised.
        self._arriving: set[Cost] = set()
        self._admitted = -math.inf
        self._lock = threading.Lock()

    @contextmanager
    def admit(self, request: ScoringRequest, seconds_left: float) -> Iterator[Cost]:
        """Lets a call in; within the block it is on its way to the queue.

        Args:
            request: the call.
            seconds_left: until its deadline.

        Raises:
            Overloaded: the call is too large for its deadline or for the queue even alone, and trying again cannot
                help; or others wait, and the queue would be full or the predicted answer too near the deadline.
        """
        cost = self.cost(request)
        with self._lock:
            self._check(cost, seconds_left)
            self._arriving.add(cost)
            self._admitted = time.monotonic()
        try:
            yield cost
        finally:
            with self._lock:
                self._arriving.discard(cost)

    def cost(self, request: ScoringRequest) -> Cost:
        """Predicts what a call costs."""
        limit = request.max_length or self._max_length
        sizes = np.array(request.sizes)
        queries = np.array([len(query) for query, _ in request.pairs])
        documents = np.array([len(document) for _, document in request.pairs])
        whole = sizes * self._tokens_per_byte.value + 1
        query_tokens = whole * queries / np.maximum(queries + documents, 1)
        if request.strategy == "truncate":
            tokens = np.minimum(whole, limit)
            # A document is compared with a long query to its end.
            needed = np.maximum(query_tokens, limit)
        else:
            room = np.maximum(limit - query_tokens, 1)
            windows = np.clip(np.ceil((whole - limit) / (_STRIDE * room)) + 1, 1, MAX_CHUNKS)
            tokens = np.where(whole <= limit, whole, np.where(query_tokens < limit, windows * limit, limit))
            needed = np.full(len(sizes), MAX_CHUNKS * limit)
        read = np.minimum(documents, CHARACTERS_PER_TOKEN * needed).sum()
        # The query of a ranking is one string for all its documents.
        read += sum({id(query): len(query) for query, _ in request.pairs}.values())
        return Cost(int(np.ceil(tokens.sum())), int(read))

    def learn(self, text_bytes: int, tokens: int) -> None:
        """Takes the measurement of pairs that lost no text.

        Args:
            text_bytes: UTF-8 bytes of them.
            tokens: what these became.
        """
        with self._lock:
            self._tokens_per_byte.learn(text_bytes, tokens)

    def learn_tokenizing(self, characters: int, seconds: float) -> None:
        """Takes the time that the tokenizer needed for the characters of a call, as they were predicted."""
        with self._lock:
            self._seconds_per_character.learn(characters, seconds)

    def _check(self, cost: Cost, seconds_left: float) -> None:
        rate = self._queue.seconds_per_token
        own = cost.tokens * rate + cost.characters * self._seconds_per_character.value
        if cost.tokens > self._max_queued_tokens:
            raise too_large(cost.tokens, self._max_queued_tokens)
        now = time.monotonic()
        if own > seconds_left and now - self._admitted < _OLD:
            raise Overloaded(
                f"this call alone takes about {own:.1f} s, more than the {seconds_left:.1f} s until its deadline; "
                "split it, or give it more time"
            )
        waiting = sum(other.tokens for other in self._arriving) + self._queue.queued_tokens
        if waiting and waiting + cost.tokens > self._max_queued_tokens:
            raise Overloaded("the queue is full; try again in a few seconds", retry_after=pushback(waiting * rate))
        # Calls take turns: until this one is done, each other is served about as much.
        before = sum(min(other.tokens, cost.tokens) for other in self._arriving)
        before += self._queue.tokens_before(cost.tokens, now + seconds_left, CALLER.get())
        read_before = sum(min(other.characters, cost.characters) for other in self._arriving)
        wait = before * rate + read_before * self._seconds_per_character.value
        late = wait + own - seconds_left * (1 - SLACK)
        if wait and late > 0:
            raise Overloaded(
                f"{wait:.1f} s of work come before this call, which takes {own:.1f} s itself: "
                f"too much for the {seconds_left:.1f} s until its deadline",
                retry_after=pushback(min(late, wait)),
            )


def too_large(tokens: int, limit: int) -> Overloaded:
    """The refusal of a call that would not fit into an empty queue."""
    return Overloaded(f"this call has about {tokens} tokens, more than the {limit} that may wait; split it")


class _Rate:
    """A ratio over recent measurements, the larger of which count for more."""

    def __init__(self, value: float) -> None:
        self.value = value

    def learn(self, amount: float, result: float) -> None:
        if amount > 0:
            share = amount / (amount + _REMEMBERED)
            self.value += share * (result / amount - self.value)
