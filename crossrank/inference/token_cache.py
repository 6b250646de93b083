"""Tokens of documents that were read before: a search system asks many queries about the same ones."""

import threading
from collections.abc import Sequence
from hashlib import blake2b

from cachetools import LRUCache
from tokenizers import Encoding, Tokenizer

# What an entry takes besides its tokens, in tokens: else texts without any would be kept without end.
_ENTRY = 2


class DocumentCache:
    """The least recently used document makes room for the newest; safe to share between threads.

    Args:
        tokenizer: cuts nothing and pads nothing.
        size: the most tokens, each of about 100 bytes; every document counts for two more than it has.

    Attributes:
        hits, misses: documents that were known, and that were not.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        # By digest: a long text may have few tokens.
        self._encodings: LRUCache[bytes, Encoding] = LRUCache(size, getsizeof=lambda encoding: len(encoding) + _ENTRY)
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def encode(self, documents: Sequence[str]) -> list[Encoding]:
        """The tokens of each document, without special tokens."""
        keys = {text: blake2b(text.encode(), digest_size=16).digest() for text in documents}
        with self._lock:
            read = {text: known for text, key in keys.items() if (known := self._encodings.get(key)) is not None}
        unknown = [text for text in keys if text not in read]
        read.update(zip(unknown, self._tokenizer.encode_batch(unknown, add_special_tokens=False), strict=True))
        with self._lock:
            self.misses += len(unknown)
            self.hits += len(documents) - len(unknown)
            for text in unknown:
                if len(read[text]) + _ENTRY <= self._encodings.maxsize:
                    self._encodings[keys[text]] = read[text]
        return [read[text] for text in documents]
