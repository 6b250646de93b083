"""Tokenizer of pairs, exactly as the model's own Hugging Face tokenizer, with a cache of documents' tokens."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from crossrank.errors import InvalidRanker, InvalidRequest
from crossrank.reranker import LongDocumentStrategy

# More chunks than this are not made of one document: the rest of it is not read, and it counts as truncated.
_MAX_CHUNKS = 256
# The cost of a cached document besides its tokens, in tokens: else texts without any would be kept without end.
_ENTRY = 2


@dataclass(frozen=True, slots=True)
class TokenizedPair:
    """One pair as the model reads it.

    Attributes:
        ids: token ids, int64, shape [length].
        type_ids: 0 for the query's tokens and 1 for the document's where the model tells them apart, else 0; int64.
        document: which of the caller's documents it belongs to.
        span: the part of the document's text that it holds, in characters; None where nothing is left out.
        truncated: whether text was lost.
    """

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]
    document: int
    span: tuple[int, int] | None
    truncated: bool

    def digest(self) -> bytes:
        """Returns the key of all pairs that the model reads alike, 16 bytes."""
        return blake2b(self.ids.tobytes() + self.type_ids.tobytes(), digest_size=16).digest()


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


class PairTokenizer:
    """Tokenises (query, document) pairs; safe to share between threads.

    Args:
        directory: a ranker's directory, with `tokenizer.json`.
        max_length: longest pair in tokens, special tokens included; what the tokenizer's own file says about
            truncation and padding is not used, since training leaves its leftovers there.
        cache_size: tokens of documents that are kept; 0 keeps none.

    Attributes:
        documents: the documents that are kept; None where none are.

    Raises:
        InvalidRanker: no `tokenizer.json`, or not a tokenizer.
    """

    def __init__(self, directory: Path, max_length: int, cache_size: int = 0) -> None:
        try:
            self._json = (directory / "tokenizer.json").read_text(encoding="utf-8")
            tokenizer = Tokenizer.from_str(self._json)
        except Exception as error:  # tokenizers raises bare Exception
            raise InvalidRanker(f"{directory.name}: tokenizer.json cannot be used: {error}") from None
        self.max_length = max_length
        self._special_tokens: int = tokenizer.num_special_tokens_to_add(is_pair=True)
        # A Tokenizer holds its truncation, so each limit has its own.
        self._at = lru_cache(maxsize=16)(self._configured)
        self.documents = DocumentCache(self._at(0, 0), cache_size) if cache_size and self._separable() else None

    @property
    def shortest(self) -> int:
        """The smallest max_length that leaves room for a token of each text."""
        return self._special_tokens + 2

    def encode(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        max_length: int | None = None,
        strategy: LongDocumentStrategy = "truncate",
    ) -> list[TokenizedPair]:
        """Tokenises pairs in one batch.

        Args:
            pairs: (query, document) texts.
            max_length: longest pair in tokens; by default, and at most, the ranker's.
            strategy: `truncate` gives one tokenised pair for each pair, cut from the longer text first; `chunk` gives
                as many as the document needs, in windows that overlap by an eighth to a quarter.

        Raises:
            InvalidRequest: max_length out of range, or a text that is not valid Unicode.
        """
        limit = max_length or self.max_length
        if not self.shortest <= limit <= self.max_length:
            raise InvalidRequest(f"max_length: {limit} is not between {self.shortest} and {self.max_length}")
        try:
            if strategy == "truncate":
                encodings = self._whole(pairs, limit) if self.documents is None else self._assembled(pairs, limit)
                return [_tokenized(index, encoding) for index, encoding in enumerate(encodings)]
            return self._encode_chunks(pairs, limit)
        except (TypeError, UnicodeEncodeError):
            raise InvalidRequest("text: a query or document is not a string of valid Unicode") from None

    def _whole(self, pairs: Sequence[tuple[str, str]], limit: int) -> list[Encoding]:
        encodings: list[Encoding] = self._at(limit, 0).encode_batch(list(pairs))
        return encodings

    def _assembled(self, pairs: Sequence[tuple[str, str]], limit: int) -> list[Encoding]:
        """As `_whole`, each text tokenised once: the tokenizer itself cuts and joins them."""
        queries = list(dict.fromkeys(query for query, _ in pairs))
        read = dict(zip(queries, self._at(0, 0).encode_batch(queries, add_special_tokens=False), strict=True))
        assert self.documents is not None
        documents = self.documents.encode([document for _, document in pairs])
        join = self._at(limit, 0).post_process
        return [join(read[query], document) for (query, _), document in zip(pairs, documents, strict=True)]

    def _separable(self) -> bool:
        """Whether two texts tokenised apart and joined are the pair: not where nothing sets their type ids."""
        whole = self._at(0, 0).encode("a b", "c d")
        apart = (self._at(0, 0).encode(text, add_special_tokens=False) for text in ("a b", "c d"))
        joined = self._at(0, 0).post_process(*apart)
        return bool(whole.ids == joined.ids and whole.type_ids == joined.type_ids)

    def _encode_chunks(self, pairs: Sequence[tuple[str, str]], limit: int) -> list[TokenizedPair]:
        whole = self._at(0, 0).encode_batch(list(pairs))
        chunked: list[TokenizedPair] = []
        for index, ((query, document), encoding) in enumerate(zip(pairs, whole, strict=True)):
            query_tokens = sum(1 for sequence in encoding.sequence_ids if sequence == 0)
            room = limit - self._special_tokens - query_tokens
            if len(encoding.ids) <= limit:
                chunked.append(_tokenized(index, encoding))
            elif room < 1:  # the query alone fills the window: only cutting both texts is left
                chunked.append(_tokenized(index, self._at(limit, 0).encode(query, document)))
            else:
                windows = self._at(limit, _overlap(room), "only_second").encode(query, document)
                chunks = [windows, *windows.overflowing]
                lost = len(chunks) > _MAX_CHUNKS
                chunked.extend(
                    TokenizedPair(*_arrays(chunk), index, _document_span(chunk), lost) for chunk in chunks[:_MAX_CHUNKS]
                )
        return chunked

    def _configured(self, limit: int, stride: int, strategy: str = "longest_first") -> Tokenizer:
        tokenizer = Tokenizer.from_str(self._json)
        tokenizer.no_padding()
        if limit:
            tokenizer.enable_truncation(limit, stride=stride, strategy=strategy)
        else:
            tokenizer.no_truncation()
        return tokenizer


def _overlap(room: int) -> int:
    """The largest power of two within a quarter of the room; few different values, so few tokenizers are kept."""
    return (1 << (room // 4).bit_length()) // 2


def _tokenized(index: int, encoding: Encoding) -> TokenizedPair:
    return TokenizedPair(*_arrays(encoding), index, None, bool(encoding.overflowing))


def _arrays(encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.array(encoding.ids, dtype=np.int64), np.array(encoding.type_ids, dtype=np.int64)


def _document_span(encoding: Encoding) -> tuple[int, int]:
    offsets = [
        offset for offset, sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True) if sequence == 1
    ]
    return (offsets[0][0], offsets[-1][1]) if offsets else (0, 0)
