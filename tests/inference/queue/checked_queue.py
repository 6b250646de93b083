import math
from collections.abc import Sequence

from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.batching import CallQueue
from crossrank.inference.queue.queued_call import QueuedCall
from tests.inference.queue.plain_batching import PlainCall, plain_next_batch

Batch = list[tuple[int, list[int]]]


class Queue:
    """A queue whose calls are known by their number; every batch is held against the plain specification."""

    def __init__(self, policy: BatchPolicy, now: float = 0.0, seconds_per_token: float = 1e-3) -> None:
        self.policy, self.now, self.rate = policy, now, seconds_per_token
        self.queue: CallQueue[QueuedCall] = CallQueue(policy)
        self.calls: list[QueuedCall] = []
        self.plain: list[PlainCall] = []
        self.level = 0.0

    def add(
        self, lengths: Sequence[int], served: float | None = None, deadline: float = math.inf, slack: float = 0.0
    ) -> None:
        call = QueuedCall(sorted(lengths), deadline - slack, deadline)
        self.calls.append(call)
        self.queue.add(call)
        if served is not None:
            self.queue._served[call.slot] = served
        credit = self.level if served is None else served
        self.plain.append(PlainCall(sorted(lengths), credit, deadline - slack, deadline))

    @property
    def live(self) -> list[int]:
        return [number for number, call in enumerate(self.plain) if call.lengths]

    @property
    def tokens(self) -> int:
        return sum(sum(call.lengths) for call in self.plain)

    def next_batch(self) -> list[tuple[int, range]]:
        live = self.live
        chosen = self.queue.next_batch(now=self.now, seconds_per_token=self.rate)
        batch = [(self.calls.index(call), places) for call, places in chosen]
        expected = plain_next_batch([self.plain[n] for n in live], self.policy, self.now, self.rate) if live else []
        assert batch == [(live[place], places) for place, places in expected]
        assert (self.queue.tokens, len(self.queue)) == (self.tokens, len(live))
        expired = [number for number in live if self.plain[number].deadline < self.now]
        assert sorted(map(self.calls.index, self.queue.expired(self.now))) == expired
        if live:
            self.level = max(self.level, min(self.plain[number].served for number in live))
        return batch

    def take(self) -> Batch:
        taken = []
        for number, places in self.next_batch():
            lengths = self.plain[number].lengths[places.start : places.stop]
            self.plain[number].served += sum(lengths)
            self.queue.take(self.calls[number], places)
            del self.plain[number].lengths[places.start : places.stop]
            assert self.calls[number].lengths == self.plain[number].lengths
            taken.append((number, lengths))
        return taken

    def remove(self, number: int, places: range) -> None:
        self.queue.remove(self.calls[number], places)
        del self.plain[number].lengths[places.start : places.stop]

    def drain(self) -> list[list[tuple[int, int]]]:
        """All batches until nothing waits, each as (call, length)."""
        batches = []
        while taken := self.take():
            batches.append([(number, length) for number, lengths in taken for length in lengths])
        return batches


def queue_of(calls: list[list[int]], policy: BatchPolicy) -> Queue:
    queue = Queue(policy)
    for lengths in calls:
        queue.add(lengths)
    return queue
