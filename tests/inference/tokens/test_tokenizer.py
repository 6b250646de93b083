"""Token ids of pairs: equal to Hugging Face's whatever the tokenizer, the texts and the limit."""

import itertools
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer

from crossrank.errors import InvalidRanker, InvalidRequest
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.tokens import texts as reading
from crossrank.inference.tokens.tokenizer import PairTokenizer, TokenizedPair
from tests.inference.tokens.tokenizer_kinds import KINDS, TINY, WHOLE, tokenizer_directory

ALL_KINDS = ("default", *TINY, *KINDS)
MAX_LENGTH = 512
_WORDS = [
    "a",
    "b",
    "new york",
    "word",
    "def f(x):\n    return x",
    " ",
    "  ",
    "\n",
    ";\n\n",
    ".",
    "é",
    "e\u0301",
    "中文",
]
_ODD = ["\u0301\u0301", "\u200b\u200b", "<mask>", "[SEP]", "\u00a0", "x" * 120, "ß", "\uff12", "\ufb01", "\x00", "🙂"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
PIECES = st.lists(st.sampled_from(_WORDS + _ODD) | st.text(st.characters(codec="utf-8"), max_size=12), max_size=40)
# Words beside one another, or runs of the same, so that some texts are longer than every limit.
MANY = st.tuples(PIECES, st.sampled_from(["", " "]), st.sampled_from([1, 1, 3, 20])).map(
    lambda made: (made[1].join(made[0]) + made[1]) * made[2]
)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("tokenizers")
    return cache(lambda kind: tokenizer_directory(kind, root / kind))


@pytest.fixture(params=ALL_KINDS, scope="module")
def directory(request: pytest.FixtureRequest, directories: Any) -> Path:
    found: Path = directories(request.param)
    return found


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    return PairTokenizer(DEFAULT_RANKER, 96)


@cache
def whole_tokenizer(directory: Path, cache_size: int) -> PairTokenizer:
    return PairTokenizer(directory, MAX_LENGTH, cache_size)


@cache
def library_tokenizer(directory: Path) -> Tokenizer:
    made = Tokenizer.from_file(str(directory / "tokenizer.json"))
    made.no_padding()
    return made


def hugging_face(directory: Path, limit: int, stride: int = 0, strategy: str = "longest_first") -> Tokenizer:
    made = library_tokenizer(directory)
    made.enable_truncation(limit, stride=stride, strategy=strategy)
    return made


def same(got: TokenizedPair, expected: Encoding) -> bool:
    return (got.ids.tolist(), got.type_ids.tolist()) == (expected.ids, expected.type_ids)


@pytest.mark.parametrize("first_read", [1, 16])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data(), query=MANY, document=MANY, limit=st.integers(0, 60) | st.integers(0, MAX_LENGTH))
def test_truncated_pairs_are_hugging_faces(
    directory: Path, first_read: int, data: st.DataObject, query: str, document: str, limit: int
) -> None:
    tokenizer = whole_tokenizer(directory, data.draw(st.sampled_from([0, 2000])))
    limit = min(MAX_LENGTH, tokenizer.shortest + limit)
    # The library keeps what it cuts off, each part with each: what is cut must be small beside the limit.
    query, document = (text[: 40 * limit] for text in (query, document))
    reference = hugging_face(directory, limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHARACTERS_PER_TOKEN", first_read)
        pairs = [(query, document), (document, query), (query, query)]
        for got, (first, second) in zip(tokenizer.encode(pairs, max_length=limit), pairs, strict=True):
            expected = reference.encode(first, second)
            assert same(got, expected)
            assert got.truncated == bool(expected.overflowing)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(query=MANY, document=MANY, limit=st.integers(0, 80))
def test_chunks_are_hugging_faces_windows(directory: Path, query: str, document: str, limit: int) -> None:
    tokenizer = whole_tokenizer(directory, 0)
    limit += tokenizer.shortest
    query, document = query[:40], document[: 40 * limit]
    chunks = tokenizer.encode([(query, document)], max_length=limit, strategy="chunk")
    plain = library_tokenizer(directory)
    plain.no_truncation()
    whole = plain.encode(query, document)
    room = limit - tokenizer.shortest + 2 - whole.sequence_ids.count(0)
    if len(whole.ids) <= limit or room < 1:
        expected = hugging_face(directory, limit).encode(query, document)
        assert same(chunks[0], expected) and len(chunks) == 1 and chunks[0].span is None
        return
    stride = max(2**power if 2**power <= room // 4 else 0 for power in range(9))
    windows = hugging_face(directory, limit, stride, "only_second").encode(query, document)
    expected_chunks = [windows, *windows.overflowing]
    assert same(chunks[0], windows)
    # The library's own further windows lack their template's types.
    assert all(got.ids.tolist() == window.ids for got, window in zip(chunks, expected_chunks, strict=False))
    assert len(chunks) == min(len(expected_chunks), 256)
    assert chunks[0].truncated == (len(expected_chunks) > 256)
    offsets = [offset for offset, part in zip(windows.offsets, windows.sequence_ids, strict=True) if part == 1]
    assert chunks[0].span == (offsets[0][0], offsets[-1][1])


def test_texts_are_cut_where_the_tokenizer_separates_words(directories: Any) -> None:
    for kind in ALL_KINDS:
        assert whole_tokenizer(directories(kind), 0)._reader._separates_words == (kind not in WHOLE), kind


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


def test_a_template_that_holds_a_text_twice_is_refused(tmp_path: Path) -> None:
    from tokenizers import processors

    made = KINDS["byte-level"]()
    made.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B $A", special_tokens=[])
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InvalidRanker, match="each text once"):
        PairTokenizer(tmp_path, 96)


def test_a_tokenizer_without_a_template_joins_as_hugging_face_does(tmp_path: Path) -> None:
    plain = json.loads((DEFAULT_RANKER / "tokenizer.json").read_text())
    plain["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(plain))
    assert PairTokenizer(tmp_path, 96, cache_size=500).encode([("a", "b")])[0].type_ids.tolist() == [0, 1]


def test_max_length_out_of_range(tokenizer: PairTokenizer) -> None:
    for limit in (1, tokenizer.shortest - 1, 97):
        with pytest.raises(InvalidRequest, match=f"max_length: {limit} is not between"):
            tokenizer.encode([("a", "b")], max_length=limit)


def test_a_lone_surrogate_is_no_text(tokenizer: PairTokenizer) -> None:
    for bad in ("\ud800", "word " * 5000 + "\ud800"):
        for pair in ((bad, "a"), ("a", bad)):
            with pytest.raises(InvalidRequest, match="valid Unicode"):
                tokenizer.encode([pair])


def test_what_training_left_in_the_file_does_not_count(tmp_path: Path) -> None:
    shutil.copy(DEFAULT_RANKER / "tokenizer.json", tmp_path)
    leftover = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    leftover.enable_truncation(8)
    leftover.enable_padding(length=200)
    leftover.save(str(tmp_path / "tokenizer.json"))
    (pair,) = PairTokenizer(tmp_path, 96).encode([("a b c", "word " * 50)])
    assert len(pair.ids) == 56


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InvalidRanker, match=r"tokenizer\.json"):
        PairTokenizer(tmp_path, 96)


_CHILD = """
import resource, sys
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.tokens.tokenizer import PairTokenizer
tokenizer = PairTokenizer(DEFAULT_RANKER, 512)
tokenizer.encode([("a", "b")])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tokenizer.encode([eval(sys.argv[1])], max_length=int(sys.argv[2]), strategy=sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("pair", "limit", "strategy"),
    [
        ('("." * 500, "," * 500)', 5, "truncate"),
        ('("." * 20000, "," * 20000)', 512, "truncate"),
        ('("." * 20000, "," * 20000)', 512, "chunk"),
        ('("a", ", " * 60000)', 5, "chunk"),
        ('("\\u0301" * 60000, "\\u200b" * 40000)', 512, "truncate"),
        ('("x" * 120000, "中" * 40000)', 512, "truncate"),
    ],
)
def test_a_pair_takes_little_memory(pair: str, limit: int, strategy: str) -> None:
    """What the library allocates does not show in tracemalloc: measured in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, pair, str(limit), strategy], capture_output=True, text=True, check=True
    )
    assert int(child.stdout) < 50 * 1024, "KiB"
