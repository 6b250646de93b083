"""Limits of a caller: requests in flight, and tokens a second over time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crossrank.errors import Overloaded
from crossrank.serve.access.keys import Keys
from crossrank.serve.engine.budget import pushback

# Seconds of its rate that a caller may take at once.
_BURST = 10.0


@dataclass(slots=True)
class _Caller:
    in_flight: int = 0
    # Tokens that are left; below zero where the last request took more.
    left: float = 0.0
    since: float = field(default_factory=time.monotonic)


class CallerLimits:
    """What each key of the file may take; for one event loop.

    Args:
        keys: with their limits.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._callers: dict[str, _Caller] = {}

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Counts a request of a caller within the block.

        Raises:
            Overloaded: the caller has as much as its key allows.
        """
        key = self._keys.limits(name)
        if key is None or (key.max_requests_in_flight is None and key.tokens_per_second is None):
            yield
            return
        caller = self._callers.setdefault(name, _Caller(left=(key.tokens_per_second or 0) * _BURST))
        if key.max_requests_in_flight is not None and caller.in_flight >= key.max_requests_in_flight:
            raise Overloaded(
                f"key: {name} has {caller.in_flight} requests in flight, as many as it may", retry_after=pushback(1.0)
            )
        if key.tokens_per_second is not None:
            now = time.monotonic()
            caller.left += (now - caller.since) * key.tokens_per_second
            caller.left = min(caller.left, key.tokens_per_second * _BURST)
            caller.since = now
            if caller.left <= 0:
                raise Overloaded(
                    f"key: {name} has had its {key.tokens_per_second:g} tokens a second",
                    retry_after=max(-caller.left / key.tokens_per_second, 0.1),
                )
        caller.in_flight += 1
        try:
            yield
        finally:
            caller.in_flight -= 1

    def spent(self, name: str, tokens: int) -> None:
        """Takes the tokens of an answer from what its caller may have."""
        if (caller := self._callers.get(name)) is not None:
            caller.left -= tokens
