from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judgements.judged_set import JudgedSet, write_judged_set
from judgements.near_duplicates import is_near_duplicate
from serve.errors import UsageError
from train.data import training_rows
from train.negatives import mine_negatives
from train.recipe import Negatives, Recipe

WORDS = ("read", "write", "file", "path", "sort", "list", "tree", "node", "date", "parse")
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=25)


@settings(max_examples=50)
@given(TEXTS, st.integers(0, 4), st.integers(0, 4), st.integers(0, 3))
def test_a_negative_is_never_judged_nor_near_a_positive(texts: list[str], bm25: int, random: int, seed: int) -> None:
    corpus = {f"d{number}": text for number, text in enumerate(texts)}
    judged = JudgedSet({"q": texts[0]}, corpus, {"q": {"d0": 1, **({"d1": 0} if len(texts) > 1 else {})}})
    wanted = Negatives(bm25=bm25, random=random, depth=5)
    negatives = mine_negatives(judged, wanted, seed)["q"]
    assert negatives == mine_negatives(judged, wanted, seed)["q"]
    assert len(negatives) == len(set(negatives)) <= bm25 + random
    assert not {"d0", "d1"} & set(negatives)
    assert not any(is_near_duplicate(corpus[doc_id], texts[0]) for doc_id in negatives)


def recipe(path: Path, **data: object) -> Recipe:
    return Recipe.model_validate({"name": "r", "base": "b", "max_length": 64, "data": {"train": path, **data}})


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    corpus = {f"d{number}": f"{word} something {number}" for number, word in enumerate(WORDS)}
    queries = {f"q{number}": f"how to {word}" for number, word in enumerate(WORDS)}
    qrels = {f"q{number}": {f"d{number}": 2, f"d{(number + 1) % 10}": 0} for number in range(10)}
    write_judged_set(JudgedSet(queries, corpus, qrels), tmp_path / "judged")
    return tmp_path / "judged"


def test_a_judged_set_becomes_labelled_rows(judged: Path) -> None:
    rows = training_rows(recipe(judged, negatives={"bm25": 0, "random": 2}))
    assert len(rows) == 10 * (1 + 1 + 2)
    assert sum(row.label for row in rows) == 10
    assert rows == training_rows(recipe(judged, negatives={"bm25": 0, "random": 2}))


def test_max_queries_takes_some(judged: Path) -> None:
    rows = training_rows(recipe(judged, max_queries=3))
    assert len({row.query for row in rows}) == 3


def test_ratings_become_labels(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "q", "document": "a", "stars": 4}\n{"query": "q", "document": "b", "thumbs": "down"}\n')
    assert sorted(row.label for row in training_rows(recipe(path))) == [0.0, 0.75]


def test_rows_of_one_label_teach_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,a,1\nq,b,1\n")
    with pytest.raises(UsageError, match="same label"):
        training_rows(recipe(path))


def test_no_such_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        training_rows(recipe(tmp_path / "none"))
