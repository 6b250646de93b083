"""Pairs that occur more than once, found in a stream that keeps eight bytes of each, and sorts them in the end."""

import hashlib
from array import array

import numpy as np


class SeenPairs:
    """Remembers pairs by 64 bits of their BLAKE2 digest."""

    def __init__(self) -> None:
        self._digests = array("Q")

    def add(self, query: str, document: str) -> None:
        """Notes a pair."""
        text = query.encode()
        digest = hashlib.blake2b(len(text).to_bytes(8) + text + document.encode(), digest_size=8).digest()
        self._digests.append(int.from_bytes(digest))

    def repeated(self) -> list[int]:
        """The places, in the order of adding, of pairs that were there before."""
        digests = np.frombuffer(self._digests, np.uint64)
        _, first = np.unique(digests, return_index=True)
        return np.setdiff1d(np.arange(len(digests)), first, assume_unique=True).tolist()  # type: ignore[no-any-return]
