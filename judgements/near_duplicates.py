"""Texts that are the same, or nearly (Broder 1997, On the resemblance and containment of documents)."""

import re

_SHINGLE = 3
_WORD = re.compile(r"\w+")


def similarity(a: str, b: str) -> float:
    """The Jaccard similarity of two texts' sets of word 3-shingles, in [0, 1]; case and whitespace do not count.

    Where a text has fewer than three words, both texts' sets of words are compared instead. Texts without any word
    are similar only when they are equal.
    """
    first, second = _normalised(a), _normalised(b)
    if first == second:
        return 1.0
    words = _WORD.findall(first), _WORD.findall(second)
    size = _SHINGLE if min(map(len, words)) >= _SHINGLE else 1
    shingles, others = ({tuple(text[start : start + size]) for start in range(len(text) - size + 1)} for text in words)
    union = shingles | others
    return len(shingles & others) / len(union) if union else 0.0


def is_near_duplicate(a: str, b: str, threshold: float = 0.8) -> bool:
    """Whether the `similarity` of two texts is at least `threshold`."""
    return similarity(a, b) >= threshold


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
