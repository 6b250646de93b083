"""Tokenizer of pairs, exactly as the model's own Hugging Face tokenizer, in bounded time and memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from crossrank.errors import InvalidRanker, InvalidRequest
from crossrank.inference.tokens.texts import BATCH_CHARACTERS, DocumentCache, TextReader, Tokens
from crossrank.reranker import LongDocumentStrategy

# More chunks than this are not made of one document: the rest of it is not read, and it counts as truncated.
MAX_CHUNKS = 256
# Documents of a call whose offsets are kept while its pairs are cut into chunks.
_DOCUMENTS_AT_ONCE = 8
_PROBES = ("a", "A", "the", "0", ".", "中", "я")


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


class PairTokenizer:
    """Tokenises (query, document) pairs; safe to share between threads.

    The tokenizers library tokenises single texts only. Its own truncation of pairs keeps what it cuts off, every part
    of the query with every part of the document.

    Args:
        directory: a ranker's directory, with `tokenizer.json`.
        max_length: longest pair in tokens, special tokens included; what the tokenizer's own file says about
            truncation and padding is not used, since training leaves its leftovers there.
        cache_size: tokens of documents that are kept; 0 keeps none.

    Attributes:
        documents: the documents that are kept; None where none are.

    Raises:
        InvalidRanker: no `tokenizer.json`, not a tokenizer, or one that makes a pair in an unknown way.
    """

    def __init__(self, directory: Path, max_length: int, cache_size: int = 0) -> None:
        try:
            tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise InvalidRanker(f"{directory.name}: tokenizer.json cannot be used: {error}") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.max_length = max_length
        self._template = _Template(tokenizer, directory.name)
        self._reader = TextReader(tokenizer, max_length)
        self.documents = DocumentCache(cache_size) if cache_size else None

    @property
    def shortest(self) -> int:
        """The smallest max_length that leaves room for a token of each text."""
        return self._template.special_tokens + 2

    def encode(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        max_length: int | None = None,
        strategy: LongDocumentStrategy = "truncate",
    ) -> list[TokenizedPair]:
        """Tokenises pairs, as `encode_in_steps` does."""
        return list(chain.from_iterable(self.encode_in_steps(pairs, max_length=max_length, strategy=strategy)))

    def encode_in_steps(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        max_length: int | None = None,
        strategy: LongDocumentStrategy = "truncate",
    ) -> Iterator[list[TokenizedPair]]:
        """Tokenises pairs; each text of the call once, and no further than it can matter.

        Args:
            pairs: (query, document) texts.
            max_length: longest pair in tokens; by default, and at most, the ranker's.
            strategy: `truncate` gives one tokenised pair for each pair, cut from the longer text first; `chunk` gives
                as many as the document needs, at most 256, in windows that overlap by an eighth to a quarter.

        Yields:
            The next pairs in their order, which may be none. A step takes a few tens of milliseconds.

        Raises:
            InvalidRequest: max_length out of range, or a text that is not valid Unicode.
        """
        limit = max_length or self.max_length
        if not self.shortest <= limit <= self.max_length:
            raise InvalidRequest(f"max_length: {limit} is not between {self.shortest} and {self.max_length}")
        room = limit - self._template.special_tokens
        try:
            queries: dict[str, Tokens] = {}
            for read in self._read_queries(dict.fromkeys(query for query, _ in pairs), room):
                queries |= read
                yield []
            make = self._truncate if strategy == "truncate" else self._chunk
            yield from make(pairs, queries, room)
        except (TypeError, UnicodeEncodeError):
            raise InvalidRequest("text: a query or document is not a string of valid Unicode") from None

    def _read_queries(self, queries: Iterable[str], room: int) -> Iterator[dict[str, Tokens]]:
        long: list[str] = []
        for read in self._reader.read(dict.fromkeys(queries, room + 1)):
            long += [query for query, tokens in read.items() if not tokens.complete]
            yield read
        if room % 2:  # where both texts are cut, the longer one gets the odd token: how long it is must be known
            yield from self._reader.read({query: len(query) for query in long})

    def _truncate(
        self, pairs: Sequence[tuple[str, str]], queries: dict[str, Tokens], room: int
    ) -> Iterator[list[TokenizedPair]]:
        wanted: dict[str, int] = {}
        for query, document in pairs:
            needed = _needed(queries[query], room)
            if needed > wanted.get(document, 0):
                wanted[document] = needed
        documents: dict[str, Tokens] = {} if self.documents is None else self.documents.find(wanted)
        for read in self._reader.read({text: needed for text, needed in wanted.items() if text not in documents}):
            documents |= read
            if self.documents is not None:
                self.documents.keep(read)
            yield []
        yield [
            self._truncated(index, queries[query], documents[document], room)
            for index, (query, document) in enumerate(pairs)
        ]

    def _truncated(self, index: int, query: Tokens, document: Tokens, room: int) -> TokenizedPair:
        query_length, document_length = _longest_first(query.count, document.count, room)
        arrays = self._template.join(query.ids[:query_length], document.ids[:document_length])
        return TokenizedPair(*arrays, index, None, query.count + document.count > room)

    def _chunk(
        self, pairs: Sequence[tuple[str, str]], queries: dict[str, Tokens], room: int
    ) -> Iterator[list[TokenizedPair]]:
        read = lru_cache(maxsize=_DOCUMENTS_AT_ONCE)(self._reader.read_with_offsets)
        chunked: list[TokenizedPair] = []
        size = 0
        for index, (text, document) in enumerate(pairs):
            query = queries[text]
            window = room - query.count
            stride = window - _overlap(window) if window > 0 else 0
            needed = window + (MAX_CHUNKS - 1) * stride + 1 if window > 0 else _needed(query, room)
            encoding, complete = read(document, needed)
            ids = np.array(encoding.ids, dtype=np.int64)
            if window < 1 or len(ids) <= window:  # the query alone may fill the window: only cutting both is left
                chunked.append(self._truncated(index, query, Tokens(ids, len(ids), complete), room))
            else:
                windows = 1 - (window - len(ids)) // stride
                lost = windows > MAX_CHUNKS
                windows = min(windows, MAX_CHUNKS)
                for start in range(0, stride * windows, stride):
                    part = ids[start : start + window]
                    span = encoding.token_to_chars(start)[0], encoding.token_to_chars(start + len(part) - 1)[1]
                    chunked.append(TokenizedPair(*self._template.join(query.ids, part), index, span, lost))
                size += windows * room
            size += len(document)
            if size >= BATCH_CHARACTERS:
                yield chunked
                chunked, size = [], 0
        yield chunked


class _Template:
    """Puts the special tokens around two texts; learnt from pairs that the tokenizer itself makes.

    Attributes:
        special_tokens: how many it adds.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self.special_tokens: int = tokenizer.num_special_tokens_to_add(is_pair=True)
        # A vocabulary need not know every letter.
        probes = (tokenizer.encode(text, text) for text in _PROBES)
        probe = next((pair for pair in probes if {0, 1} <= set(pair.sequence_ids)), tokenizer.encode("", ""))
        # Runs of the probe: a special token (None), the query (0) or the document (1); with the type of its tokens.
        runs: list[tuple[int | None, int, int]] = []
        for token, kind, text in zip(probe.ids, probe.type_ids, probe.sequence_ids, strict=True):
            if text is None or text not in [run[0] for run in runs]:
                runs.append((text, token, kind))
        self._parts = [np.array([token], dtype=np.int64) if text is None else text for text, token, _ in runs]
        self._types = np.array([kind for *_, kind in runs], dtype=np.int64)
        for query, document in (("a", "b"), ("", ""), ("a b c", ""), ("", "a b"), ("a b", "c d e f")):
            whole = tokenizer.encode(query, document)
            single = (tokenizer.encode(text, add_special_tokens=False) for text in (query, document))
            ids, types = self.join(*(np.array(encoding.ids, dtype=np.int64) for encoding in single))
            if whole.ids != ids.tolist() or whole.type_ids != types.tolist():
                raise InvalidRanker(
                    f"{name}: tokenizer.json makes a pair in a way that is not supported; its template must hold "
                    "each text once"
                )

    def join(
        self, query: NDArray[np.int64], document: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns token ids and type ids of the pair, each int64 of shape [length]."""
        texts = (query, document)
        parts = [texts[part] if isinstance(part, int) else part for part in self._parts]
        return np.concatenate(parts), np.repeat(self._types, [len(part) for part in parts])


def _needed(query: Tokens, room: int) -> int:
    """Tokens of a document that tell how the pair is cut."""
    both_cut = room % 2 and query.count > room // 2
    return max(room, query.count) + 1 if both_cut else room + 1


def _longest_first(query: int, document: int, room: int) -> tuple[int, int]:
    """The lengths that both texts are cut to, as Hugging Face's `longest_first` cuts them."""
    if query + document <= room:
        return query, document
    shorter = min(query, document)
    if 2 * shorter <= room:
        return (query, room - query) if query <= document else (room - document, document)
    return (room - room // 2, room // 2) if query > document else (room // 2, room - room // 2)


def _overlap(room: int) -> int:
    """The largest power of two within a quarter of the room."""
    return (1 << (room // 4).bit_length()) // 2
