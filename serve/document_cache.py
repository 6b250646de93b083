"""Tokens of documents that were read before: a search system asks many queries about the same ones."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from tokenizers import Encoding, Tokenizer


class DocumentCache:
    """The least recently used document makes room for the newest; safe to share between threads.

    Args:
        tokenizer: cuts nothing and pads nothing.
        size: the most tokens, each of about 100 bytes.

    Attributes:
        hits, misses: documents that were known, and that were not.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self._tokens = 0
        self._encodings: OrderedDict[str, Encoding] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def encode(self, documents: Sequence[str]) -> list[Encoding]:
        """The tokens of each document, without special tokens."""
        with self._lock:
            known = {text: self._encodings[text] for text in documents if text in self._encodings}
            for text in known:
                self._encodings.move_to_end(text)
        unknown = [text for text in dict.fromkeys(documents) if text not in known]
        read = dict(zip(unknown, self._tokenizer.encode_batch(unknown, add_special_tokens=False), strict=True))
        with self._lock:
            self.misses += len(unknown)
            self.hits += len(documents) - len(unknown)
            for text, encoding in read.items():
                self._put(text, encoding)
        known |= read
        return [known[text] for text in documents]

    def _put(self, text: str, encoding: Encoding) -> None:
        if text in self._encodings or len(encoding) > self._size:
            return
        self._encodings[text] = encoding
        self._tokens += len(encoding)
        while self._tokens > self._size:
            _, oldest = self._encodings.popitem(last=False)
            self._tokens -= len(oldest)
