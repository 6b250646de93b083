"""Turns between callers: the one that was served least goes first, however many calls the others have."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.batching import CallQueue
from crossrank.inference.queue.queued_call import QueuedCall

_Call = TypeVar("_Call", bound=QueuedCall)


@dataclass
class _Caller(Generic[_Call]):
    """One caller: its calls that wait, and tokens that batches took from it."""

    queue: CallQueue[_Call]
    served: float = 0.0


class CallerQueue(Generic[_Call]):
    """The calls of all callers: start-time fair queueing between these, and a `CallQueue` for the calls of each.

    A call waits for at most as many tokens of every other caller as it has itself, and a batch of each; late calls,
    which no order can save, wait for all others. One caller alone has the batches of its `CallQueue`.

    Where batching pays, room in a batch goes to other callers in their turn; elsewhere a batch is of one caller.

    Args:
        policy: what may share a batch.

    Attributes:
        tokens: of all pairs that no batch has taken.
    """

    def __init__(self, policy: BatchPolicy) -> None:
        self.tokens = 0
        self._policy = policy
        self._level = 0.0
        # As many as there are keys: a caller keeps its account, and what it was served too much.
        self._callers: dict[str, _Caller[_Call]] = {}

    def __len__(self) -> int:
        return sum(len(caller.queue) for caller in self._callers.values())

    def add(self, call: _Call) -> None:
        """Queues a call that is in no queue."""
        caller = self._callers.get(call.caller)
        if caller is None:
            caller = self._callers[call.caller] = _Caller(CallQueue(self._policy))
        if not len(caller.queue):
            caller.served = max(caller.served, self._level)
        caller.queue.add(call)
        self.tokens += sum(call.lengths)

    def expired(self, now: float) -> list[_Call]:
        """The calls whose deadline has passed."""
        return [call for caller in self._callers.values() for call in caller.queue.expired(now)]

    def tokens_before(self, caller: str, tokens: int, due: float, *, now: float, seconds_per_token: float) -> int:
        """How many tokens of the calls that wait are served before a newcomer is done; as `CallQueue.tokens_before`."""
        waiting = {name: known for name, known in self._callers.items() if len(known.queue)}
        callers = len(waiting.keys() | {caller})
        own, served = 0, self._level
        if known := self._callers.get(caller):
            own = known.queue.tokens_before(tokens, due, now=now, seconds_per_token=seconds_per_token, callers=callers)
            served = known.served if caller in waiting else max(known.served, served)
        # In turn: until each was served as much as the newcomer's caller will have been.
        others = [
            min(other.queue.tokens, max(0, int(served + own + tokens - other.served)))
            for name, other in waiting.items()
            if name != caller and not other.queue.all_late(now, seconds_per_token)
        ]
        return own + sum(others)

    def next_batch(self, *, now: float, seconds_per_token: float) -> list[tuple[_Call, range]]:
        """The batch that a free worker should run; as `CallQueue.next_batch`."""
        waiting = [caller for caller in self._callers.values() if len(caller.queue)]
        if not waiting:
            return []
        self._level = max(self._level, min(caller.served for caller in waiting))
        if len(waiting) == 1:
            return waiting[0].queue.next_batch(now=now, seconds_per_token=seconds_per_token)
        turns = sorted(waiting, key=lambda caller: (caller.queue.all_late(now, seconds_per_token), caller.served))
        callers = len(waiting)
        batch = turns[0].queue.next_batch(now=now, seconds_per_token=seconds_per_token, callers=callers)
        if self._policy.batching_pays:
            longest = batch[0][0].lengths[-1]
            room = max(1, self._policy.max_tokens // longest) - sum(len(places) for _, places in batch)
            for caller in turns[1:]:
                if room:
                    company = caller.queue.company(
                        longest, room, now=now, seconds_per_token=seconds_per_token, callers=callers
                    )
                    batch += company
                    room -= sum(len(places) for _, places in company)
        return batch

    def take(self, call: _Call, places: range) -> None:
        """Removes pairs for a batch, on the account of this call and its caller."""
        tokens = sum(call.lengths[places.start : places.stop])
        caller = self._callers[call.caller]
        caller.served += tokens
        self.tokens -= tokens
        caller.queue.take(call, places)

    def remove(self, call: _Call, places: range) -> None:
        """Removes pairs that cost nobody anything."""
        self.tokens -= sum(call.lengths[places.start : places.stop])
        self._callers[call.caller].queue.remove(call, places)
