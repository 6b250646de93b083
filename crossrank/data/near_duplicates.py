"""Texts that are the same, or nearly (Broder 1997, On the resemblance and containment of documents)."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

_NEAR = 0.8
_SHINGLE = 3
_WORD = re.compile(r"\w+")

# One word, or three in a row.
_Run = tuple[str, ...]


def similarity(a: str, b: str) -> float:
    """The Jaccard similarity of two texts' sets of word 3-shingles, in [0, 1]; case and whitespace do not count.

    Where a text has fewer than three words, both texts' sets of words are compared instead. Texts without any word
    are similar only when they are equal.
    """
    first, second = _Text.of(a), _Text.of(b)
    if first.words and second.words:
        mine, theirs = (first.words, second.words) if first.short or second.short else (first.shingles, second.shingles)
        return len(mine & theirs) / len(mine | theirs)
    return float(first.normalised == second.normalised)


def is_near_duplicate(a: str, b: str, threshold: float = _NEAR) -> bool:
    """Whether the `similarity` of two texts is at least `threshold`."""
    return similarity(a, b) >= threshold


class NearDuplicates:
    """An index of texts that finds those that `is_near_duplicate` of another one, without comparing all."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = list(texts)
        self._of = [_Text.of(text) for text in self.texts]
        self._by_shingle: dict[_Run, list[int]] = defaultdict(list)
        self._by_word: dict[_Run, list[int]] = defaultdict(list)
        self._wordless: dict[str, list[int]] = defaultdict(list)
        for position, text in enumerate(self._of):
            for word in text.words:
                self._by_word[word].append(position)
            for shingle in text.shingles:
                self._by_shingle[shingle].append(position)
            if not text.words:
                self._wordless[text.normalised].append(position)

    def find(self, text: str) -> Iterator[int]:
        """The positions of the texts that are near to `text`, or equal."""
        given = _Text.of(text)
        if not given.words:
            yield from self._wordless.get(given.normalised, ())
            return
        yield from self._near(given.shingles, self._by_shingle, lambda other: other.shingles)
        for position in self._near(given.words, self._by_word, lambda other: other.words):
            if given.short or self._of[position].short:
                yield position

    def _near(
        self, given: frozenset[_Run], index: Mapping[_Run, list[int]], of: "Callable[[_Text], frozenset[_Run]]"
    ) -> Iterator[int]:
        common = Counter(chain.from_iterable(index.get(run, ()) for run in given))
        for position, count in common.items():
            if count / (len(given) + len(of(self._of[position])) - count) >= _NEAR:
                yield position


class _Text(NamedTuple):
    """A text without case and white space, its words, and its 3-shingles, none where it is short."""

    normalised: str
    words: frozenset[_Run]
    shingles: frozenset[_Run]

    @property
    def short(self) -> bool:
        return not self.shingles

    @classmethod
    def of(cls, text: str) -> "_Text":
        normalised = " ".join(text.casefold().split())
        words = _WORD.findall(normalised)
        shingles = zip(*(words[start:] for start in range(_SHINGLE)), strict=False)
        return cls(normalised, frozenset((word,) for word in words), frozenset(shingles))
