"""Admission control: rejects calls that would miss their deadline, before tokenising them."""

import math
import threading
from collections.abc import Sequence
from typing import Protocol

from crossrank.errors import Overloaded
from crossrank.inference.batching import SLACK

# Before anything has been measured: English text.
_TOKENS_PER_BYTE = 0.3
# How much of the last measurement goes into the running mean.
_NEWEST = 0.1


class Queue(Protocol):
    """What the prediction needs to know of a scheduler."""

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait."""

    @property
    def seconds_per_token(self) -> float:
        """Of all workers together."""


class Admission:
    """Predicts when a call would be answered, from the size of its texts and from the calls before it.

    Args:
        queue: where admitted calls go once they are tokenised.
        max_queued_tokens: the most tokens that may wait.
    """

    def __init__(self, queue: Queue, max_queued_tokens: int) -> None:
        self._queue = queue
        self._max_queued_tokens = max_queued_tokens
        self._tokens_per_byte = _TOKENS_PER_BYTE
        # Of admitted calls that are not yet tokenised.
        self._arriving = 0
        self._lock = threading.Lock()

    def admit(self, sizes: Sequence[int], max_length: float, seconds_left: float) -> int:
        """Lets a call in.

        Args:
            sizes: UTF-8 bytes of each of its pairs.
            max_length: tokens that one pair can have; infinite where it can become several.
            seconds_left: until its deadline.

        Returns:
            The tokens that it is predicted to have; `arrived` takes them.

        Raises:
            Overloaded: others wait, and the queue would be full or the predicted answer too near the deadline.
        """
        with self._lock:
            tokens = math.ceil(sum(min(size * self._tokens_per_byte + 1, max_length) for size in sizes))
            before = self._arriving + self._queue.queued_tokens
            rate = self._queue.seconds_per_token
            if before and before + tokens > self._max_queued_tokens:
                raise Overloaded(f"the queue is full; try again in {before * rate:.1f} s", retry_after=before * rate)
            late = (before + tokens) * rate - seconds_left * (1 - SLACK)
            if before and late > 0:
                raise Overloaded(
                    f"{before * rate:.1f} s of work are waiting and this call has {tokens * rate:.1f} s of its own, "
                    f"too much for the {seconds_left:.1f} s until its deadline",
                    retry_after=min(late, before * rate),
                )
            self._arriving += tokens
            return tokens

    def arrived(self, predicted_tokens: int) -> None:
        """A call is in the queue, or never will be."""
        with self._lock:
            self._arriving -= predicted_tokens

    def learn(self, text_bytes: int, tokens: int) -> None:
        """Takes the measurement of pairs that lost no text.

        Args:
            text_bytes: UTF-8 bytes of them.
            tokens: what these became.
        """
        if text_bytes:
            with self._lock:
                self._tokens_per_byte += _NEWEST * (tokens / text_bytes - self._tokens_per_byte)
