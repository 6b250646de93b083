import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossrank.errors import InvalidRanker, InvalidRequest
from crossrank.inference.hub import DEFAULT_RANKER
from crossrank.inference.tokenizer import PairTokenizer

TEXT = st.text(st.characters(codec="utf-8"), max_size=300)


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    return PairTokenizer(DEFAULT_RANKER, 96)


@pytest.fixture(scope="module")
def reference() -> Any:
    from sentence_transformers import CrossEncoder

    file = {"file_name": "model_qint8_per_token.onnx"}
    return CrossEncoder(str(DEFAULT_RANKER), backend="onnx", model_kwargs=file, max_length=96)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=TEXT, document=TEXT)
def test_ids_are_those_of_sentence_transformers(
    tokenizer: PairTokenizer, reference: Any, query: str, document: str
) -> None:
    pairs = [(query, document), (query * 9, document * 9)]
    expected = reference.preprocess([list(pair) for pair in pairs])
    for row, pair in enumerate(tokenizer.encode(pairs)):
        length = int(expected["attention_mask"][row].sum())
        assert pair.ids.tolist() == expected["input_ids"][row][:length].tolist()
        assert pair.type_ids.tolist() == expected["token_type_ids"][row][:length].tolist()


@pytest.fixture(scope="module")
def caching() -> PairTokenizer:
    return PairTokenizer(DEFAULT_RANKER, 96, cache_size=500)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXT, min_size=1, max_size=4), query=TEXT, limit=st.integers(8, 96))
def test_pairs_of_kept_documents_are_the_tokenizers_own(
    tokenizer: PairTokenizer, caching: PairTokenizer, texts: list[str], query: str, limit: int
) -> None:
    pairs = [(query * repeat, text * repeat) for text in texts for repeat in (1, 5, 1)]
    whole, assembled = (each.encode(pairs, max_length=limit) for each in (tokenizer, caching))
    for expected, got in zip(whole, assembled, strict=True):
        assert got.ids.tolist() == expected.ids.tolist()
        assert got.type_ids.tolist() == expected.type_ids.tolist()
        assert (got.truncated, got.document) == (expected.truncated, expected.document)


def test_kept_documents_are_read_once_and_make_room() -> None:
    documents = PairTokenizer(DEFAULT_RANKER, 96, cache_size=16).documents
    assert documents is not None
    documents.encode(["one two three", "four five six", "one two three"])
    assert (documents.hits, documents.misses) == (1, 2)
    documents.encode(["seven eight nine ten eleven"])
    documents.encode(["four five six", "one two three"])
    assert (documents.hits, documents.misses) == (2, 4), "the least recently used did not make room"
    documents.encode(["word " * 50])
    documents.encode(["four five six"])
    assert documents.hits == 3, "what is larger than the cache drove out what fits"
    documents.encode([" " * length for length in range(100)])
    assert len(documents._encodings) <= 8, "texts without tokens are kept without end"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.integers(0, 900), query_words=st.integers(1, 120), limit=st.integers(8, 96))
def test_chunks_cover_the_document_and_fit(tokenizer: PairTokenizer, words: int, query_words: int, limit: int) -> None:
    query = "why " * query_words
    document = " ".join(f"w{number}" for number in range(words))
    chunks = tokenizer.encode([(query, document)], max_length=limit, strategy="chunk")
    assert all(len(chunk.ids) <= limit for chunk in chunks)
    if chunks[0].span and not chunks[0].truncated:
        spans = [chunk.span for chunk in chunks if chunk.span]
        assert spans[0][0] == 0
        assert spans[-1][1] == len(document)
        assert all(before[1] >= after[0] - 1 for before, after in itertools.pairwise(spans))


def test_nothing_is_kept_where_only_the_whole_pair_tells_its_texts_apart(tmp_path: Path) -> None:
    plain = json.loads((DEFAULT_RANKER / "tokenizer.json").read_text())
    plain["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(plain))
    kept = PairTokenizer(tmp_path, 96, cache_size=500)
    assert kept.documents is None
    assert kept.encode([("a", "b")])[0].type_ids.tolist() == [0, 1]


def test_max_length_out_of_range(tokenizer: PairTokenizer) -> None:
    for limit in (1, tokenizer.shortest - 1, 97):
        with pytest.raises(InvalidRequest, match=f"max_length: {limit} is not between"):
            tokenizer.encode([("a", "b")], max_length=limit)


def test_a_lone_surrogate_is_no_text(tokenizer: PairTokenizer) -> None:
    with pytest.raises(InvalidRequest, match="valid Unicode"):
        tokenizer.encode([("a", "\ud800")])


def test_what_training_left_in_the_file_does_not_count(tmp_path: Path) -> None:
    shutil.copy(DEFAULT_RANKER / "tokenizer.json", tmp_path)
    from tokenizers import Tokenizer

    leftover = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    leftover.enable_truncation(8)
    leftover.enable_padding(length=200)
    leftover.save(str(tmp_path / "tokenizer.json"))
    (pair,) = PairTokenizer(tmp_path, 96).encode([("a b c", "word " * 50)])
    assert len(pair.ids) == 56


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InvalidRanker, match=r"tokenizer\.json"):
        PairTokenizer(tmp_path, 96)
