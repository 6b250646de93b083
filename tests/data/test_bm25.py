import math
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.data.bm25 import BM25, tokenize

DOCUMENTS = {
    "sort": "sort numbers sort words",
    "header": "def parseHTTPHeader(raw_bytes): return raw_bytes",
    "long": "numbers numbers and many other words about files files files",
    "empty": "",
}


def plain_score(query: str, doc_id: str) -> float:
    """The formula, term by term."""
    tokens = {key: tokenize(text) for key, text in DOCUMENTS.items()}
    average = sum(map(len, tokens.values())) / len(tokens)
    score = 0.0
    for term in tokenize(query):
        frequency = tokens[doc_id].count(term)
        documents = sum(term in words for words in tokens.values())
        idf = math.log(1 + (len(tokens) - documents + 0.5) / (documents + 0.5))
        score += idf * frequency / (frequency + 1.2 * (1 - 0.75 + 0.75 * len(tokens[doc_id]) / average))
    return score


@pytest.mark.parametrize("query", ["sorting numbers", "numbers numbers words", "http raw headers", "files and words"])
def test_scores_are_those_of_the_formula(query: str) -> None:
    expected = [plain_score(query, doc_id) for doc_id in DOCUMENTS]
    assert BM25(DOCUMENTS)._scores(query).tolist() == pytest.approx(expected, rel=1e-5)
    assert max(expected) > 0


def test_a_score_computed_by_hand() -> None:
    # idf = ln(1 + 1.5 / 1.5), one of two documents of length 1 holds the term once.
    assert BM25({"a": "cat", "b": "dog"})._scores("cats")[0] == pytest.approx(math.log(2) / 2.2, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("snake_case __init__", ["snake", "case", "init"]),
        ("camelCase HTTPServer getURL", ["camel", "case", "http", "server", "get", "url"]),
        ("sha256 utf8Bytes 3D", ["sha", "256", "utf", "8", "byte", "3", "d"]),
        ("The cats are running to it", ["cat", "run"]),
        ("Größe ДОМ 日本語", ["größe", "дом", "日本", "本語"]),
        ("भारत की राजधानी", ["भारत", "की", "राजधानी"]),
        ("cafe\u0301 \uff21\uff22\uff23 ｶﾅ", ["café", "abc", "カナ"]),
        ("使用JSON解析 文 カー", ["使用", "json", "解析", "文", "カー"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        (" \t!?_", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_identifiers_match_questions() -> None:
    assert BM25(DOCUMENTS).top({"q": "how to parse an http header"}, 3) == {"q": ["header"]}


def test_top_is_cut_and_leaves_out_zeros() -> None:
    index = BM25(DOCUMENTS)
    assert index.top({"a": "numbers", "b": "unheard", "c": "", "d": "the"}, 5) == {
        "a": ["long", "sort"],
        "b": [],
        "c": [],
        "d": [],
    }
    assert index.top({"a": "numbers"}, 1) == {"a": ["long"]}
    with pytest.raises(ValueError, match="at least 1"):
        index.top({"a": "numbers"}, 0)


def test_ties_keep_the_order_they_came_in() -> None:
    index = BM25(dict.fromkeys("zayb", "same text"))
    assert index.top({"q": "text"}, 3) == {"q": ["z", "a", "y"]}
    assert index.order("text", ["b", "z", "a"]) == ["b", "z", "a"]


def test_candidates_are_reordered() -> None:
    index = BM25(DOCUMENTS)
    assert index.order("sort words", ["empty", "long", "sort", "header"]) == ["sort", "long", "empty", "header"]
    assert index.order("unheard", ["long", "empty"]) == ["long", "empty"]
    assert index.order("sort", []) == []
    with pytest.raises(KeyError):
        index.order("sort", ["absent"])


@pytest.mark.parametrize("documents", [{}, {"a": "", "b": "the"}])
def test_an_index_of_no_words(documents: dict[str, str]) -> None:
    index = BM25(documents)
    assert index.top({"q": "word"}, 3) == {"q": []}
    assert index.order("word", list(documents)) == list(documents)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=20), max_size=5), st.text(max_size=10))
@settings(max_examples=40)
def test_order_agrees_with_top(documents: dict[str, str], query: str) -> None:
    index = BM25(documents)
    top = index.top({"q": query}, 5)["q"]
    assert index.order(query, list(documents))[: len(top)] == top
    assert sorted(index.order(query, list(documents))) == sorted(documents)


@given(st.lists(st.sampled_from(["a b", "a", "b b", "c", "a b c", "b"]), min_size=1, max_size=12), st.integers(1, 12))
def test_a_shorter_list_is_the_head_of_a_longer_one(texts: list[str], k: int) -> None:
    index = BM25({str(number): text for number, text in enumerate(texts)})
    queries = {"both": "xa b", "one": "b"}
    everything = index.top(queries, len(texts))
    assert index.top(queries, k) == {query_id: ids[:k] for query_id, ids in everything.items()}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_text_and_its_composed_form_are_the_same_words(text: str) -> None:
    assert tokenize(unicodedata.normalize("NFD", text)) == tokenize(unicodedata.normalize("NFC", text))


@given(st.text(alphabet="日本語東京都大学生活", min_size=2, max_size=12), st.integers(0, 10))
def test_what_is_written_without_spaces_is_found_by_a_part_of_it(text: str, place: int) -> None:
    start = place % (len(text) - 1)
    assert BM25({"d": f"これは{text}です", "x": "других слов"}).top({"q": text[start : start + 2]}, 2) == {"q": ["d"]}
