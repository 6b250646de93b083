"""Tokens of single texts: each text is read as far as it can matter, and documents are kept for later calls."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

# Characters that are read first for each token that is needed: nearly every text has fewer.
CHARACTERS_PER_TOKEN = 16
# Characters that are tokenised in one go, in a few tens of milliseconds.
BATCH_CHARACTERS = 128 * 1024

# How much more of a text is read when it gave too few tokens.
_WIDER = 4
# The cost of a kept document besides its tokens, in tokens: else texts without any would be kept without end.
_ENTRY = 2
# A place between two words that every common tokenizer splits at: no token, no rule of a normalizer reaches over it.
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_]) (?=[^\W_])")
_LETTERS = "aZ9éßжع中か한²"
# A replacement that changes white space alone.
_WHITE_SPACE = re.compile(r"(?:\\[snrt]|[ +*?{},0-9|()\[\]])+")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The beginning of a text in tokens, without special tokens.

    Attributes:
        ids: the first token ids, int64, shape [at most what the reader keeps].
        count: tokens that were found.
        complete: whether that is the whole text.
    """

    ids: NDArray[np.int64]
    count: int
    complete: bool


class DocumentCache:
    """Tokens of the documents that were used last; safe to share between threads.

    Args:
        size: the most tokens; every document counts for two more than it has.

    Attributes:
        hits, misses: documents that were known, and that were not.
    """

    def __init__(self, size: int) -> None:
        # By digest: a long text may have few tokens.
        self._kept: LRUCache[bytes, Tokens] = LRUCache(size, getsizeof=lambda tokens: len(tokens.ids) + _ENTRY)
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def find(self, wanted: Mapping[str, int]) -> dict[str, Tokens]:
        """Returns what is known of texts, of each at least as many tokens as wanted or all that it has."""
        keys = {text: _key(text) for text in wanted}
        with self._lock:
            known = {
                text: tokens
                for text, key in keys.items()
                if (tokens := self._kept.get(key)) is not None and (tokens.complete or tokens.count >= wanted[text])
            }
            self.hits += len(known)
            self.misses += len(wanted) - len(known)
        return known

    def keep(self, read: Mapping[str, Tokens]) -> None:
        """Keeps the tokens of texts; the least recently used make room."""
        entries = [(_key(text), tokens) for text, tokens in read.items()]
        with self._lock:
            for key, tokens in entries:
                if len(tokens.ids) + _ENTRY <= self._kept.maxsize:
                    self._kept[key] = tokens


class TextReader:
    """Tokenises single texts without special tokens; safe to share between threads.

    Args:
        tokenizer: cuts nothing and pads nothing.
        keep: the most token ids of a text that anybody needs.
    """

    def __init__(self, tokenizer: Tokenizer, keep: int) -> None:
        self._tokenizer = tokenizer
        self._keep = keep
        self._separates_words = _separates_words(tokenizer)

    def read(self, wanted: Mapping[str, int]) -> Iterator[dict[str, Tokens]]:
        """Tokenises texts.

        Args:
            wanted: texts, and how many tokens of each are needed at least; where it has fewer, it is read wholly.

        Yields:
            Texts with their tokens, after each batch; none where all texts of a batch had too few tokens.
        """
        unread = [(text, CHARACTERS_PER_TOKEN * needed) for text, needed in reversed(list(wanted.items()))]
        while unread:
            batch: list[tuple[str, str]] = []
            size = 0
            while unread and size < BATCH_CHARACTERS:
                text, characters = unread.pop()
                batch.append((text, self._beginning(text, characters)))
                size += len(batch[-1][1])
            read = self._tokenizer.encode_batch_fast([part for _, part in batch], add_special_tokens=False)
            done: dict[str, Tokens] = {}
            for (text, part), encoding in zip(batch, read, strict=True):
                ids, complete = encoding.ids, len(part) == len(text)
                if complete or len(ids) >= wanted[text]:
                    done[text] = Tokens(np.array(ids[: self._keep], dtype=np.int64), len(ids), complete)
                else:
                    unread.append((text, _WIDER * len(part)))
            yield done

    def read_with_offsets(self, text: str, needed: int) -> tuple[Encoding, bool]:
        """Tokenises one text as `read` does.

        Returns:
            Its tokens with their offsets in characters, and whether that is the whole text.
        """
        characters = CHARACTERS_PER_TOKEN * needed
        while True:
            part = self._beginning(text, characters)
            (encoding,) = self._tokenizer.encode_batch([part], add_special_tokens=False)
            if len(part) == len(text) or len(encoding) >= needed:
                return encoding, len(part) == len(text)
            characters = _WIDER * len(part)

    def _beginning(self, text: str, characters: int) -> str:
        """The text up to the first place between two words from there on; the whole text where there is none."""
        if not self._separates_words or len(text) <= characters:
            return text
        text.encode()  # a character that is not valid Unicode is found in the rest too
        place = _BETWEEN_WORDS.search(text, characters)
        return text[: place.start()] if place else text


def _key(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _separates_words(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of a text that ends at a place between two words are the first tokens of a longer one."""
    spec = json.loads(tokenizer.to_str())
    if tokenizer.pre_tokenizer is None or any(_spans_words(token["content"]) for token in spec["added_tokens"]):
        return False
    if not all(_is_local(pattern) for pattern in _replaced(spec["normalizer"])):
        return False
    for begin, end in product(_LETTERS, repeat=2):
        for word in (begin, f"x{begin}", f"two words, 10x {begin}"):
            pieces = _pieces(tokenizer, word)
            if not pieces or _pieces(tokenizer, f"{word} {end}x")[: len(pieces)] != pieces:
                return False
    return True


def _pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    normalized = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]


def _spans_words(text: str) -> bool:
    return bool(text.strip()) and any(map(str.isspace, text))


def _replaced(normalizer: Any) -> Iterator[dict[str, str]]:
    """The patterns that a normalizer replaces."""
    if isinstance(normalizer, dict):
        if normalizer["type"] == "Replace":
            yield normalizer["pattern"]
        for part in normalizer.get("normalizers", []):
            yield from _replaced(part)


def _is_local(pattern: Mapping[str, str]) -> bool:
    """Whether what it replaces lies within a word or within white space."""
    if (plain := pattern.get("String")) is not None:
        return not _spans_words(plain)
    return _WHITE_SPACE.fullmatch(pattern["Regex"]) is not None
