"""Reading of single texts: no further than needed, once a call, and kept for later calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.tokens import texts as reading
from crossrank.inference.tokens.texts import DocumentCache, Tokens
from crossrank.inference.tokens.tokenizer import PairTokenizer


class Counting:
    """A tokenizer that notes the length of every text that it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.given: list[int] = []

    def encode_batch_fast(self, texts: Sequence[str], **options: Any) -> Any:
        self.given += map(len, texts)
        return self._tokenizer.encode_batch_fast(texts, **options)

    def encode_batch(self, texts: Sequence[str], **options: Any) -> Any:
        self.given += map(len, texts)
        return self._tokenizer.encode_batch(texts, **options)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[PairTokenizer, list[int]]:
    tokenizer = PairTokenizer(DEFAULT_RANKER, 96)
    counting = Counting(tokenizer._reader._tokenizer)
    monkeypatch.setattr(tokenizer._reader, "_tokenizer", counting)
    return tokenizer, counting.given


def test_a_long_document_is_read_as_far_as_it_can_matter(counted: tuple[PairTokenizer, list[int]]) -> None:
    tokenizer, given = counted
    tokenizer.encode([("query", "word and word " * 10_000)])
    assert sum(given) < 16 * 96 + 50
    given.clear()
    tokenizer.encode([("query", "word and word " * 10_000)], max_length=8, strategy="chunk")
    assert sum(given) < 16 * 256 * 8


@pytest.mark.parametrize("nothing", ["\u200b", "\u0301", " ", "\x00"])
def test_a_text_with_few_tokens_is_read_on_at_bounded_cost(
    counted: tuple[PairTokenizer, list[int]], nothing: str
) -> None:
    tokenizer, given = counted
    text = f"one two {nothing * 3000}" * 30 + "three " * 200
    (pair,) = tokenizer.encode([("query", text)])
    assert pair.truncated
    assert sum(given) < 2 * len(text)


def test_each_text_of_a_call_is_read_once(counted: tuple[PairTokenizer, list[int]]) -> None:
    tokenizer, given = counted
    query, document = "what " * 60_000, "a document " * 8
    tokenizer.encode([(query, document), (query, document), (query, "another")] * 5)
    first, *others = sorted(given, reverse=True)
    assert (first, len(others)) == (len(query), 3), "the whole query, its beginning and two documents"
    given.clear()
    tokenizer.encode([("query", "word and word " * 10_000)] * 5, strategy="chunk")
    assert len(given) == 2


@pytest.mark.parametrize("strategy", ["truncate", "chunk"])
def test_a_step_is_bounded_in_what_it_reads_and_makes(strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_CHARACTERS", 4000)
    monkeypatch.setattr("crossrank.inference.tokens.tokenizer.BATCH_CHARACTERS", 4000)
    tokenizer = PairTokenizer(DEFAULT_RANKER, 96)
    counting = Counting(tokenizer._reader._tokenizer)
    monkeypatch.setattr(tokenizer._reader, "_tokenizer", counting)
    pairs = [("why " * 90, f"{number} " + "word and " * 60) for number in range(60)]
    before = 0
    steps = list(tokenizer.encode_in_steps(pairs, strategy=strategy))
    assert len(steps) >= 60 * 500 / 8000
    tokens = [sum(len(pair.ids) for pair in step) for step in steps]
    assert strategy == "truncate" or max(tokens) < 4000 + 256 * 96
    for _ in tokenizer.encode_in_steps(pairs, strategy=strategy):
        read, before = sum(counting.given) - before, sum(counting.given)
        assert read < 4000 + 2 * 600 or before == read


def test_kept_documents_are_read_once_and_make_room(counted: tuple[PairTokenizer, list[int]]) -> None:
    tokenizer, given = counted
    tokenizer.documents = documents = DocumentCache(16)

    def encode(*texts: str) -> None:
        tokenizer.encode([("query", text) for text in texts])

    encode("one two three", "four five six", "one two three")
    assert (documents.hits, documents.misses) == (0, 2)
    encode("one two three")
    assert (documents.hits, documents.misses) == (1, 2)
    encode("seven eight nine ten eleven")
    encode("four five six", "one two three")
    assert (documents.hits, documents.misses) == (2, 4), "the least recently used did not make room"
    encode("word " * 50)
    encode("four five six")
    assert documents.hits == 3, "what is larger than the cache drove out what fits"
    encode(*(" " * length for length in range(100)))
    assert len(documents._kept) <= 8, "texts without tokens are kept without end"
    assert given


def test_the_beginning_of_a_long_document_is_kept_and_read_on_where_more_is_needed(
    counted: tuple[PairTokenizer, list[int]],
) -> None:
    tokenizer, given = counted
    tokenizer.documents = DocumentCache(1000)
    document = "word and word " * 1000
    expected = PairTokenizer(DEFAULT_RANKER, 96)
    for limit, reads in ((20, 2), (20, 1), (16, 1), (96, 2), (96, 1), (50, 1)):
        given.clear()
        (got,) = tokenizer.encode([("query", document)], max_length=limit)
        assert got.ids.tolist() == expected.encode([("query", document)], max_length=limit)[0].ids.tolist()
        assert len(given) == reads, limit


def test_kept_tokens_count_as_they_are() -> None:
    documents = DocumentCache(10)
    documents.keep({"text": Tokens(np.arange(8), 8, True), "longer": Tokens(np.arange(9), 9, True)})
    assert set(documents.find({"text": 1, "longer": 1})) == {"text"}
