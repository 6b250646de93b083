"""Texts that are the same, or nearly (Broder 1997, On the resemblance and containment of documents)."""

import re

# The similarity from which two texts are nearly the same.
NEAR = 0.8

_SHINGLE = 3
_WORD = re.compile(r"\w+")


def similarity(a: str, b: str) -> float:
    """The Jaccard similarity of two texts' `shingles`, in [0, 1]; case and whitespace do not count.

    Where one text has fewer than three words and the other has not, both texts' sets of words are compared instead.
    Texts without any word are similar only when they are equal.
    """
    first, second = _normalised(a), _normalised(b)
    if first == second:
        return 1.0
    size = min(_SHINGLE, *(len(_WORD.findall(text)) for text in (first, second)))
    mine, theirs = (_runs(text, _SHINGLE if size == _SHINGLE else 1) for text in (first, second))
    union = mine | theirs
    return len(mine & theirs) / len(union) if union else 0.0


def shingles(text: str) -> set[tuple[str, ...]]:
    """The runs of three words of a text, or its single words where it has fewer; of what has no word, itself."""
    normalised = _normalised(text)
    words = len(_WORD.findall(normalised))
    return _runs(normalised, _SHINGLE if words >= _SHINGLE else 1) or {(normalised,)}


def is_near_duplicate(a: str, b: str, threshold: float = NEAR) -> bool:
    """Whether the `similarity` of two texts is at least `threshold`."""
    return similarity(a, b) >= threshold


def _runs(text: str, size: int) -> set[tuple[str, ...]]:
    words = _WORD.findall(text)
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
