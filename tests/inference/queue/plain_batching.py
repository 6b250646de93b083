"""Whose turn it is, in the plainest words: a reference for `CallQueue`, which keeps sums and arrays instead."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from crossrank.inference.queue.batch_policy import BatchPolicy

URGENT, ON_TIME, LATE = range(3)


@dataclass
class PlainCall:
    """A call: the lengths of its pairs, ascending, tokens served, due date and deadline."""

    lengths: list[int]
    served: float
    due: float
    deadline: float


def plain_order(calls: Sequence[PlainCall], now: float, seconds_per_token: float) -> tuple[list[int], bool]:
    """Places in `calls`, first things first, and whether the first of them is urgent."""
    tokens = [sum(call.lengths) for call in calls]

    def rank(number: int) -> tuple[int, float, int]:
        call = calls[number]
        if (call.deadline - now) / tokens[number] < seconds_per_token:
            return LATE, call.served, tokens[number]
        in_turn = (call.due - now) / tokens[number] < seconds_per_token * len(calls)
        if in_turn and call.due - now < seconds_per_token * sum(tokens):
            return URGENT, call.due, tokens[number]
        return ON_TIME, call.served, tokens[number]

    ranks = [rank(number) for number in range(len(calls))]
    order = sorted(range(len(calls)), key=ranks.__getitem__)
    return order, ranks[order[0]][0] == URGENT


def plain_next_batch(
    calls: Sequence[PlainCall], policy: BatchPolicy, now: float, seconds_per_token: float
) -> list[tuple[int, range]]:
    """Places in `calls` with the places of their pairs."""
    order, urgent = plain_order(calls, now, seconds_per_token)
    longest = calls[order[0]].lengths[-1]
    shortest = math.ceil(longest * (1 - policy.padding))
    room = max(1, policy.max_tokens // longest)
    batch = []
    for number in order[:1] if urgent and not policy.batching_pays else order:
        lengths = calls[number].lengths
        end = bisect_left(lengths, longest + 1)
        start = max(bisect_left(lengths, shortest), end - room)
        if start < end:
            batch.append((number, range(start, end)))
            room -= end - start
        if not room:
            break
    return batch
