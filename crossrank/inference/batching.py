"""Which pairs run next, and together: pure functions, so that their promises can be tested as properties."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

# The share of a call's time between its due date and its deadline: who aims at the deadline misses it by the last run.
SLACK = 0.15

_URGENT, _ON_TIME, _LATE = range(3)


@dataclass(slots=True)
class QueuedCall:
    """The pairs of one call that no run has taken.

    Attributes:
        lengths: of each pair in tokens, ascending, at least one.
        served: tokens of this call that runs have taken, counted from the level at which it came.
        due: the due date, when it should be done, on the clock of `now`; infinite where it has no deadline.
        deadline: when nobody waits for it any more; infinite where there is none.
    """

    lengths: list[int]
    served: float
    due: float
    deadline: float


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """What may share a run.

    Attributes:
        max_tokens: of a run, padding included; a longer pair runs alone, and 0 makes every pair run alone.
        padding: the largest share of a row that may be padding; 0 lets only equal lengths share a run.
        batching_pays: whether a run with more pairs hardly takes longer, as on a GPU. Elsewhere the run of an urgent
            call takes no other call along.
    """

    max_tokens: int
    padding: float = 0.0
    batching_pays: bool = False


def next_batch(
    calls: Sequence[QueuedCall], rules: BatchPolicy, *, now: float, seconds_per_token: float
) -> list[tuple[int, range]]:
    """The run that a free worker takes.

    It begins with the longest pair of the call whose turn it is (the longest first, so that several workers finish at
    about the same time), and takes what may share the run from this call, then from the others in their turn.

    Args:
        calls: at least one.
        rules: what may share a run.
        now: the time.
        seconds_per_token: of all workers together, predicted.

    Returns:
        Places in `calls`, each at most once, with the places of the taken pairs in its `lengths`; the call whose turn
        it is comes first.
    """
    order, urgent = priority_order(calls, now=now, seconds_per_token=seconds_per_token)
    longest = calls[order[0]].lengths[-1]
    shortest = math.ceil(longest * (1 - rules.padding))
    room = max(1, rules.max_tokens // longest)
    run = []
    for number in order[:1] if urgent and not rules.batching_pays else order:
        lengths = calls[number].lengths
        end = bisect_left(lengths, longest + 1)
        start = max(bisect_left(lengths, shortest), end - room)
        if start < end:
            run.append((number, range(start, end)))
            room -= end - start
        if not room:
            break
    return run


def priority_order(calls: Sequence[QueuedCall], *, now: float, seconds_per_token: float) -> tuple[list[int], bool]:
    """Whose turn it is, and who comes next.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): the call that was served least goes first, the smaller one
    among equals. Before all others go urgent calls, by earliest due date (Jackson 1955): they would miss it if they
    took turns, and can still keep their deadline. Behind all others go late calls, which cannot keep their deadline
    even alone: under overload their runs would be lost, and make the next calls late as well.

    Args:
        calls: at least one.
        now: the time.
        seconds_per_token: of all workers together, predicted.

    Returns:
        Places in `calls`, and whether the first of them is urgent.
    """
    tokens = [sum(call.lengths) for call in calls]
    everything = sum(tokens)

    def rank(number: int) -> tuple[int, float, int]:
        call = calls[number]
        if now + tokens[number] * seconds_per_token > call.deadline:
            return _LATE, call.served, tokens[number]
        if now + min(everything, tokens[number] * len(calls)) * seconds_per_token > call.due:
            return _URGENT, call.due, tokens[number]
        return _ON_TIME, call.served, tokens[number]

    ranks = [rank(number) for number in range(len(calls))]
    order = sorted(range(len(calls)), key=ranks.__getitem__)
    return order, ranks[order[0]][0] == _URGENT
