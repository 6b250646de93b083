"""Logits of pairs that were scored before, by the token ids that the model reads."""

from collections import OrderedDict
from hashlib import blake2b

from serve.tokenizer import TokenizedPair


class ScoreCache:
    """The least recently used entry makes room for the newest; not safe to share between threads.

    A logit depends on its pair's tokens alone, bit for bit, on the CPU; each graph has a cache of its own.

    Args:
        size: the most entries, each of about 150 bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._logits: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._logits)

    def get(self, key: bytes) -> float | None:
        """The logit, where it is known."""
        if key in self._logits:
            self._logits.move_to_end(key)
        return self._logits.get(key)

    def put(self, key: bytes, logit: float) -> None:
        """Keeps a logit."""
        self._logits[key] = logit
        if len(self._logits) > self._size:
            self._logits.popitem(last=False)


def key_of(pair: TokenizedPair) -> bytes:
    """What a pair is known by: a digest of its token ids and type ids."""
    return blake2b(pair.ids.tobytes() + pair.type_ids.tobytes(), digest_size=16).digest()
