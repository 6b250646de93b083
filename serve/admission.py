"""Who gets in: a call whose answer would come too late is refused before it costs anything."""

import math
import threading

from serve.errors import Overloaded

# Before anything has been measured: English text, and a slow machine.
_TOKENS_PER_BYTE = 0.3
_TOKENS_PER_SECOND = 5_000.0
# How much of the last measurement goes into the running mean.
_NEWEST = 0.1


class Admission:
    """Predicts the wait of a call from text sizes and from the rates of the calls before it.

    Args:
        max_queued_tokens: the most tokens that may wait.
    """

    def __init__(self, max_queued_tokens: int) -> None:
        self._max_queued_tokens = max_queued_tokens
        self._tokens_per_byte = _TOKENS_PER_BYTE
        self._tokens_per_second = _TOKENS_PER_SECOND
        self._queued = 0
        self._lock = threading.Lock()

    def admit(self, text_bytes: int, pairs: int, max_tokens: float, seconds_left: float) -> int:
        """Lets a call in.

        Args:
            text_bytes: UTF-8 bytes of its pairs.
            pairs: how many these are.
            max_tokens: the most that they can have together.
            seconds_left: until its deadline.

        Returns:
            The tokens that it is predicted to have; `leave` gives them back.

        Raises:
            Overloaded: the queue is full, or the predicted wait exceeds the deadline.
        """
        with self._lock:
            tokens = math.ceil(min(text_bytes * self._tokens_per_byte + pairs, max_tokens))
            wait = self._queued / self._tokens_per_second
            if self._queued and self._queued + tokens > self._max_queued_tokens:
                raise Overloaded(f"the queue is full; try again in {wait:.1f} s", retry_after=wait)
            if self._queued and wait > seconds_left:
                raise Overloaded(
                    f"{wait:.1f} s of work are waiting, more than the {seconds_left:.1f} s of this call's deadline",
                    retry_after=wait,
                )
            self._queued += tokens
            return tokens

    def leave(self, predicted_tokens: int) -> None:
        """A call is over, whichever way."""
        with self._lock:
            self._queued -= predicted_tokens

    def learn(self, text_bytes: int, tokens: int, seconds: float, *, truncated: bool = False) -> None:
        """Takes the measurements of a finished call.

        Args:
            text_bytes: UTF-8 bytes of its pairs.
            tokens: what these became.
            seconds: that all workers together would have needed for it alone.
            truncated: whether text was lost, which then says nothing about tokens for each byte.
        """
        if not text_bytes or seconds <= 0:
            return
        with self._lock:
            if not truncated:
                self._tokens_per_byte += _NEWEST * (tokens / text_bytes - self._tokens_per_byte)
            self._tokens_per_second += _NEWEST * (tokens / seconds - self._tokens_per_second)
