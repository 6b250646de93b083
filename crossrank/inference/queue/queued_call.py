"""Queued call: what the batching policy knows of a call."""

import math
from bisect import bisect_left
from dataclasses import dataclass

# The share of a call's time between its due date and its deadline: who aims at the latter misses it by the last batch.
SLACK = 0.15


@dataclass(eq=False)
class QueuedCall:
    """The pairs of one call that no batch has taken.

    Attributes:
        lengths: of each pair in tokens, ascending, at least one; `CallQueue` alone changes them.
        due: the due date, when it should be done, on the clock of `now`; infinite where it has no deadline.
        deadline: when nobody waits for it any more, not before `due`; infinite where there is none.
        caller: who makes it; turns are taken between callers first.
        slot: its place in the queue's arrays; -1 outside of a queue.
    """

    lengths: list[int]
    due: float = math.inf
    deadline: float = math.inf
    caller: str = ""
    slot: int = -1

    def fitting(self, shortest: int, longest: int, room: int) -> range:
        """Places of its longest pairs within the lengths, at most as many as there is room for."""
        end = bisect_left(self.lengths, longest + 1)
        return range(max(bisect_left(self.lengths, shortest), end - room), end)
