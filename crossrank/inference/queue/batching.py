"""Batching policy: which waiting pairs run next, and together.

`CallQueue` is a pure data structure, so that its promises can be tested as properties. Sums are kept as calls come and
go, and what orders the calls lies in arrays: a batch costs some twenty operations of numpy, one element for each call.
"""

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.queued_call import QueuedCall

_SORT_ABOVE = 8  # To sort all calls is faster than to look for more of them, one after the other.
_Keys = NDArray[np.float64]
_Marks = NDArray[np.bool_]

_Call = TypeVar("_Call", bound=QueuedCall)


class CallQueue(Generic[_Call]):
    """The calls that wait, and whose turn it is.

    Start-time fair queueing (Goyal, Vin and Cheng 1996): the call that was served least goes first, the smaller one
    among equals, then the older one. Before all others go urgent calls, by earliest due date (Jackson 1955): they would
    miss it if they took turns, and can still keep their deadline. Behind all others go late calls, which cannot keep
    their deadline even alone: under overload their batches would be lost, and make the next calls late as well.

    A newcomer starts at the level of the least served call: it gets no credit for the time before it came.

    Args:
        policy: what may share a batch.

    Attributes:
        tokens: of all pairs that no batch has taken.
    """

    def __init__(self, policy: BatchPolicy) -> None:
        self.tokens = 0
        self._policy = policy
        self._level = 0.0
        self._arrivals = itertools.count()
        # A call keeps its slot; the lowest free one goes to the next, so that the arrays stay short.
        self._calls: dict[int, _Call] = {}
        self._free: list[int] = []
        # By slot: tokens that wait; tokens that batches took, from the level on; due date and deadline; arrival.
        # A free slot has no deadline and has been served without end: it comes last.
        self._waiting = np.empty(0)
        self._served = np.empty(0)
        self._dates = np.empty((2, 0))
        self._arrival = np.empty(0)
        self._slots = np.empty(0, dtype=np.intp)
        # Whether a call has a pair of a length, shape [lengths, slots].
        self._has = np.empty((0, 0), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: _Call) -> None:
        """Queues a call that is in no queue."""
        if not self._free:
            self._grow()
        if call.lengths[-1] >= len(self._has):
            self._has = np.pad(self._has, ((0, 2 * call.lengths[-1] - len(self._has)), (0, 0)))
        slot = heappop(self._free)
        tokens = sum(call.lengths)
        self._calls[slot] = call
        self._waiting[slot] = tokens
        self._served[slot] = self._level
        self._dates[:, slot] = call.due, call.deadline
        self._arrival[slot] = next(self._arrivals)
        self._has[call.lengths, slot] = True
        self.tokens += tokens
        call.slot = slot

    def expired(self, now: float) -> list[_Call]:
        """The calls whose deadline has passed."""
        deadlines = self._dates[1]
        if not self._calls or deadlines[deadlines.argmin()] >= now:
            return []
        return [self._calls[slot] for slot in np.flatnonzero(deadlines < now).tolist()]

    def tokens_before(self, tokens: int, due: float, *, now: float, seconds_per_token: float, callers: int = 1) -> int:
        """How many tokens of the calls that wait are served before a newcomer is done.

        Args:
            tokens: of all pairs of the newcomer.
            due: its due date.
            now: the time.
            seconds_per_token: of all workers together, predicted.
            callers: how many queues share the workers.
        """
        if not self._calls:
            return 0
        urgent, late = self._urgent_and_late(now, seconds_per_token, callers)
        # In turn: until each was served as much as the newcomer will have been.
        before = np.clip(max(self._level, self._served.min()) + tokens - self._served, 0, self._waiting)
        before = np.where(urgent & (self._dates[0] <= due), self._waiting, before)
        return int(before[~late].sum())

    def next_batch(self, *, now: float, seconds_per_token: float, callers: int = 1) -> list[tuple[_Call, range]]:
        """The batch that a free worker should run; `take` takes it.

        It begins with the longest pair of the call whose turn it is (the longest first, so that several workers finish
        at about the same time), and takes what may share the batch from this call, then from the others in their turn.

        Args:
            now: the time.
            seconds_per_token: of all workers together, predicted.
            callers: how many queues share the workers.

        Returns:
            Calls, each at most once, with the places of the pairs in its `lengths`; the call whose turn it is comes
            first. Empty where nothing waits.
        """
        if not self._calls:
            return []
        self._level = max(self._level, float(self._served[self._served.argmin()]))
        groups = self._groups(now, seconds_per_token, callers)
        urgent, keys = next(groups)
        first = self._first_of_equals(keys, keys.argmin(), self._slots)
        call = self._calls[first]
        longest = call.lengths[-1]
        shortest = math.ceil(longest * (1 - self._policy.padding))
        room = max(1, self._policy.max_tokens // longest)
        places = call.fitting(shortest, longest, room)
        batch = [(call, places)]
        room -= len(places)
        if not room or (urgent and not self._policy.batching_pays):
            return batch
        return batch + self._company(itertools.chain([(urgent, keys)], groups), longest, room, first)

    def company(
        self, longest: int, room: int, *, now: float, seconds_per_token: float, callers: int
    ) -> list[tuple[_Call, range]]:
        """At most `room` pairs for a batch that another queue began with a pair of `longest` tokens."""
        return self._company(self._groups(now, seconds_per_token, callers), longest, room, -1)

    def all_late(self, now: float, seconds_per_token: float) -> bool:
        """Whether no call can keep its deadline even alone."""
        return int(np.count_nonzero(self._urgent_and_late(now, seconds_per_token, 1)[1])) == len(self)

    def take(self, call: _Call, places: range) -> None:
        """Removes pairs for a batch, on this call's account; a call without pairs leaves the queue."""
        self._served[call.slot] += sum(call.lengths[places.start : places.stop])
        self.remove(call, places)

    def remove(self, call: _Call, places: range) -> None:
        """Removes pairs that cost this call nothing; a call without pairs leaves the queue."""
        lengths = call.lengths[places.start : places.stop]
        del call.lengths[places.start : places.stop]
        self.tokens -= sum(lengths)
        for length in set(lengths):
            place = bisect_left(call.lengths, length)
            self._has[length, call.slot] = place < len(call.lengths) and call.lengths[place] == length
        if call.lengths:
            self._waiting[call.slot] -= sum(lengths)
        else:
            del self._calls[call.slot]
            self._served[call.slot] = self._dates[0, call.slot] = self._dates[1, call.slot] = np.inf
            heappush(self._free, call.slot)
            call.slot = -1

    def _company(
        self, groups: Iterable[tuple[bool, _Keys]], longest: int, room: int, first: int
    ) -> list[tuple[_Call, range]]:
        """At most `room` pairs that may share a batch, of all calls but the one in the slot `first`, in their turn."""
        batch = []
        shortest = math.ceil(longest * (1 - self._policy.padding))
        others = np.flatnonzero(self._has[shortest : longest + 1].any(axis=0) & (self._slots != first))
        for _, ordered_by in groups:
            for slot in self._in_order(others, ordered_by, room):
                call = self._calls[slot]
                places = call.fitting(shortest, longest, room)
                batch.append((call, places))
                room -= len(places)
                if not room:
                    return batch
        return batch

    def _groups(self, now: float, seconds_per_token: float, callers: int) -> Iterator[tuple[bool, _Keys]]:
        """The groups of calls that hold any, in their order, each as the keys that order it.

        Yields:
            Whether it is the urgent group; one key for each slot, infinite where the slot is of another group.
        """
        urgent, late = self._urgent_and_late(now, seconds_per_token, callers)
        on_time = self._served
        if urgent[urgent.argmax()]:
            yield True, np.where(urgent, self._dates[0], np.inf)
            on_time = np.where(urgent, np.inf, on_time)
        if late[late.argmax()]:
            on_time = np.where(late, np.inf, on_time)
        if on_time[on_time.argmin()] < np.inf:
            yield False, on_time
        if late[late.argmax()]:
            yield False, np.where(late, self._served, np.inf)

    def _urgent_and_late(self, now: float, seconds_per_token: float, callers: int) -> tuple[_Marks, _Marks]:
        time_left = self._dates - now
        pace = time_left / self._waiting  # seconds for each token: until the due date, and until the deadline
        late = pace[1] < seconds_per_token
        # In turn, each of its tokens takes as long as one of every call of each caller, until the queue is done.
        urgent = pace[0] < seconds_per_token * callers * len(self._calls)
        urgent &= time_left[0] < seconds_per_token * callers * self.tokens
        urgent &= ~late
        return urgent, late

    def _in_order(self, slots: NDArray[np.intp], keys: _Keys, wanted: int) -> Iterator[int]:
        """The slots with finite keys, in their order; no more than `wanted` of them are needed."""
        keys = keys[slots]
        if wanted > _SORT_ABOVE:
            finite = keys < np.inf
            slots = slots[finite]
            yield from slots[np.lexsort((self._arrival[slots], self._waiting[slots], keys[finite]))].tolist()
            return
        while len(keys) and keys[least := keys.argmin()] < np.inf:
            place = self._first_of_equals(keys, least, slots)
            yield int(slots[place])
            keys[place] = np.inf

    def _first_of_equals(self, keys: _Keys, least: np.intp, slots: NDArray[np.intp]) -> int:
        """Of the places with the least key: the one of the smallest call, and of these the one that came first."""
        equal = keys == keys[least]
        if np.count_nonzero(equal) == 1:
            return int(least)
        places = np.flatnonzero(equal)
        for other in (self._waiting, self._arrival):
            values = other[slots[places]]
            places = places[values == values[values.argmin()]]
        return int(places[0])

    def _grow(self) -> None:
        """Makes room for twice as many calls."""
        slots = len(self._slots)
        more = max(16, slots)
        self._free.extend(range(slots, slots + more))
        self._waiting = np.pad(self._waiting, (0, more), constant_values=1)
        self._served = np.pad(self._served, (0, more), constant_values=np.inf)
        self._dates = np.pad(self._dates, ((0, 0), (0, more)), constant_values=np.inf)
        self._arrival = np.pad(self._arrival, (0, more))
        self._slots = np.arange(slots + more)
        self._has = np.pad(self._has, ((0, 0), (0, more)))
