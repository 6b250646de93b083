"""Which pairs run next, and together: pure functions, so that their promises can be tested as properties."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Waiting:
    """The pairs of one call that no run has taken.

    Attributes:
        lengths: of each pair in tokens, ascending, at least one.
        served: tokens of this call that runs have taken, counted from the level at which it came.
        deadline: on the clock of `now`; infinite where there is none.
    """

    lengths: list[int]
    served: float
    deadline: float


@dataclass(frozen=True, slots=True)
class RunRules:
    """What may share a run.

    Attributes:
        max_tokens: of a run, padding included; a longer pair runs alone, and 0 makes every pair run alone.
        padding: the largest share of a row that may be padding; 0 lets only equal lengths share a run.
    """

    max_tokens: int
    padding: float = 0.0


def next_run(
    calls: Sequence[Waiting], rules: RunRules, *, now: float, seconds_per_token: float
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
    first = next_call(calls, now=now, seconds_per_token=seconds_per_token)
    longest = calls[first].lengths[-1]
    shortest = math.ceil(longest * (1 - rules.padding))
    room = max(1, rules.max_tokens // longest)
    run = []
    for number in (first, *(other for other in _by_turn(calls) if other != first)):
        lengths = calls[number].lengths
        end = bisect_left(lengths, longest + 1)
        start = max(bisect_left(lengths, shortest), end - room)
        if start < end:
            run.append((number, range(start, end)))
            room -= end - start
        if not room:
            break
    return run


def next_call(calls: Sequence[Waiting], *, now: float, seconds_per_token: float) -> int:
    """The call whose turn it is.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): the call that was served least goes first, the smaller one
    among equals. Before all others goes a call that would miss its deadline if it took turns, and can still keep it;
    the earliest deadline among those.

    Args:
        calls: at least one.
        now: the time.
        seconds_per_token: of all workers together, predicted.

    Returns:
        Its place in `calls`.
    """
    tokens = [sum(call.lengths) for call in calls]
    everything = sum(tokens)
    urgent = [
        number
        for number, call in enumerate(calls)
        if now + tokens[number] * seconds_per_token
        <= call.deadline
        < now + min(everything, tokens[number] * len(calls)) * seconds_per_token
    ]
    if urgent:
        return min(urgent, key=lambda number: calls[number].deadline)
    return min(range(len(calls)), key=lambda number: (calls[number].served, tokens[number]))


def _by_turn(calls: Sequence[Waiting]) -> list[int]:
    return sorted(range(len(calls)), key=lambda number: calls[number].served)
