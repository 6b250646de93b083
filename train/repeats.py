"""Pairs that occur more than once, found in a stream: twelve bytes of memory for each pair."""

import hashlib
from array import array
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Repeats:
    """Positions, in the order of adding, of pairs that an earlier one makes superfluous.

    Attributes:
        same: with the label of the first one.
        contradicting: with another label.
    """

    same: list[int]
    contradicting: list[int]


class SeenPairs:
    """Remembers pairs by 64 bits of their BLAKE2 digest."""

    def __init__(self) -> None:
        self._digests = array("Q")
        self._labels = array("f")

    def add(self, query: str, document: str, label: float) -> None:
        """Notes a pair."""
        text = query.encode()
        digest = hashlib.blake2b(len(text).to_bytes(8) + text + document.encode(), digest_size=8).digest()
        self._digests.append(int.from_bytes(digest))
        self._labels.append(label)

    def repeats(self) -> Repeats:
        """What has been added more than once."""
        digests, labels = np.frombuffer(self._digests, np.uint64), np.frombuffer(self._labels, np.float32)
        order = np.argsort(digests, kind="stable")
        later = np.flatnonzero(np.diff(digests[order]) == 0) + 1
        # The first of a run of equal digests is the last one that differs from what is before it.
        starts = np.maximum.accumulate(np.where(np.isin(np.arange(len(order)), later), 0, np.arange(len(order))))
        contradicts = labels[order[later]] != labels[order[starts[later]]]
        return Repeats(sorted(order[later[~contradicts]].tolist()), sorted(order[later[contradicts]].tolist()))
