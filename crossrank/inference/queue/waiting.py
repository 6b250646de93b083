"""Calls that wait for workers: equal pairs are shared, known logits are kept, dead calls are dropped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from cachetools import LRUCache

from crossrank.errors import CrossrankError, DeadlineExceeded
from crossrank.inference.queue.batch_policy import BatchPolicy
from crossrank.inference.queue.callers import CallerQueue
from crossrank.inference.queue.calls import Call, PendingPairs, SharedPair
from crossrank.inference.tokens.tokenizer import TokenizedPair


@dataclass(slots=True)
class Counts:
    """Counts of what the workers have done since they began.

    Attributes:
        computed: pairs that were run.
        tokens: of these.
        wasted: pairs that were run for calls that had died meanwhile: what was in flight at that moment.
        dropped: pairs of dead calls that were never run.
        cached: pairs whose logit was known, or was being computed for another call.
        busy_seconds: of all batches together.
        terminated: runs that were ended, because nobody waited for them any more or because they took too long.
        worker_faults: workers that failed outside of the model and began anew.
    """

    computed: int = 0
    tokens: int = 0
    wasted: int = 0
    dropped: int = 0
    cached: int = 0
    busy_seconds: float = 0.0
    terminated: int = 0
    worker_faults: int = 0


class WaitingCalls:
    """The calls that no worker has finished; for one thread at a time.

    Args:
        policy: what may share a batch.
        cache_size: logits that are kept; 0 keeps none, and shares no pairs.
    """

    def __init__(self, policy: BatchPolicy, cache_size: int) -> None:
        self.counts = Counts()
        self._policy, self._cache_size = policy, cache_size
        self._unfinished: set[Call] = set()
        self._queue: CallerQueue[PendingPairs] = CallerQueue(policy)
        self._pending: dict[Call, PendingPairs] = {}
        # A logit depends on its pair's tokens alone, bit for bit on the CPU.
        self._cache: LRUCache[bytes, float] | None = LRUCache(cache_size) if cache_size else None
        # Pairs that are waiting or being run, by their key.
        self._wanted: dict[bytes, SharedPair] = {}

    @property
    def shares(self) -> bool:
        """Whether pairs need keys."""
        return self._cache is not None

    @property
    def tokens(self) -> int:
        """Tokens that no batch has taken."""
        return self._queue.tokens

    def tokens_before(self, caller: str, tokens: int, due: float, *, now: float, seconds_per_token: float) -> int:
        """As `CallerQueue.tokens_before`."""
        return self._queue.tokens_before(caller, tokens, due, now=now, seconds_per_token=seconds_per_token)

    def add(self, call: Call, pairs: Sequence[TokenizedPair], keys: Sequence[bytes | None]) -> int:
        """Queues a call: fills in what is known, and joins what is wanted already.

        Args:
            call: the call.
            pairs: its pairs.
            keys: of its pairs; None where nothing is shared.

        Returns:
            How many pairs wait for a batch.
        """
        self._unfinished.add(call)
        waiting: dict[int, SharedPair] = {}
        for index, (tokens, key) in enumerate(zip(pairs, keys, strict=True)):
            logit = self._cache.get(key) if self._cache is not None and key is not None else None
            if logit is not None:
                self.counts.cached += 1
                call.cache_hits += 1
                self._set(call, index, logit)
                continue
            pair = self._wanted.get(key) if key is not None else None
            if pair is None:
                pair = SharedPair(tokens, key)
                if key is not None:
                    self._wanted[key] = pair
            else:
                self.counts.cached += 1
                call.cache_hits += 1
            pair.waiters.append((call, index))
            if not pair.running:
                # It is queued for every call that wants it, until a batch takes it.
                waiting[id(pair)] = pair
        if waiting:
            self._pending[call] = pending = PendingPairs(call, list(waiting.values()))
            self._queue.add(pending)
        return len(waiting)

    def drop(self, call: Call, error: CrossrankError) -> None:
        """Fails a call; its pairs stay for others that wait for them, and cost nothing where nobody does."""
        call.fail(error)
        self._unfinished.discard(call)
        if (pending := self._pending.pop(call, None)) is None:
            return
        self._queue.remove(pending, range(len(pending.lengths)))
        for pair in pending.pairs:
            pair.waiters = [waiter for waiter in pair.waiters if waiter[0] is not call]
            if not pair.waiters:
                self.counts.dropped += 1
                self.forget(pair)

    def drop_all(self, error: CrossrankError) -> None:
        """Fails every call that has a pair no batch has taken."""
        for call in list(self._pending):
            self.drop(call, error)

    def drop_expired(self, now: float) -> bool:
        """Fails the calls whose deadline has passed; whether there are any."""
        expired = self._queue.expired(now)
        for pending in expired:
            self.drop(pending.call, DeadlineExceeded("the deadline passed before all pairs were scored"))
        return bool(expired)

    def take(self, *, now: float, seconds_per_token: float) -> list[SharedPair]:
        """Takes the next batch out of every queue; empty where nothing waits."""
        batch = self._queue.next_batch(now=now, seconds_per_token=seconds_per_token)
        taken = [pair for pending, places in batch for pair in self._remove(pending, places, self._queue.take)]
        pairs = list(dict.fromkeys(taken))  # two calls of this batch may want one pair
        for pair in pairs:
            pair.running = True
            for call, _ in pair.waiters:
                if (pending := self._pending.get(call)) and (place := pending.find(pair)):
                    self._remove(pending, place, self._queue.remove)
        return pairs

    def finish(self, pair: SharedPair, outcome: float | CrossrankError) -> None:
        """Hands the outcome of a pair that was run to every call that waits for it."""
        self.forget(pair)
        if pair.key is not None and self._cache is not None and not isinstance(outcome, CrossrankError):
            self._cache[pair.key] = outcome
        if all(call.done for call, _ in pair.waiters):
            self.counts.wasted += 1
        for call, index in pair.waiters:
            if isinstance(outcome, CrossrankError):
                self.drop(call, outcome)
            elif not call.done:
                self._set(call, index, outcome)

    def forget(self, pair: SharedPair) -> None:
        """Lets no further call join a pair."""
        if pair.key is not None and self._wanted.get(pair.key) is pair:
            del self._wanted[pair.key]

    def renewed(self, error: CrossrankError) -> Self:
        """Fails every call, also of pairs that are being run; gives an empty queue that counts on."""
        for call in list(self._unfinished):
            call.fail(error)
        renewed = type(self)(self._policy, self._cache_size)
        renewed.counts = self.counts
        renewed.counts.worker_faults += 1
        return renewed

    def _set(self, call: Call, index: int, logit: float) -> None:
        call.set_logit(index, logit)
        if call.done:
            self._unfinished.discard(call)

    def _remove(self, pending: PendingPairs, places: range, act: Callable[..., None]) -> list[SharedPair]:
        """Removes pairs that a batch takes from a call, and by `act` of the queue from there."""
        pending.call.start()
        pairs = pending.pop(places)
        act(pending, places)
        if not pending.lengths:
            del self._pending[pending.call]
        return pairs
