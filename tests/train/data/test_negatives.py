from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossrank.data.eval_set import JudgedSet
from crossrank.data.near_duplicates import is_near_duplicate
from crossrank.train.negatives import mine_negatives
from crossrank.train.recipe_data import Negatives

WORDS = ("read", "write", "file", "path", "sort", "list", "tree", "node", "date", "parse")
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=25)


@settings(max_examples=50)
@given(TEXTS, st.integers(0, 4), st.integers(0, 4), st.integers(0, 3))
def test_a_negative_is_never_judged_nor_near_a_positive(texts: list[str], bm25: int, random: int, seed: int) -> None:
    corpus = {f"d{number}": text for number, text in enumerate(texts)}
    judged = JudgedSet({"q": texts[0]}, corpus, {"q": {"d0": 1, **({"d1": 0} if len(texts) > 1 else {})}})
    wanted = Negatives(bm25=bm25, random=random, range_max=5)
    negatives = mine_negatives(judged, wanted, seed)["q"]
    assert negatives == mine_negatives(judged, wanted, seed)["q"]
    assert len(negatives) == len(set(negatives)) <= bm25 + random
    assert not {"d0", "d1"} & set(negatives)
    assert not any(is_near_duplicate(corpus[doc_id], texts[0]) for doc_id in negatives)


CORPUS = {f"d{number}": f"parse a date from {word}" for number, word in enumerate(WORDS)}
JUDGED = JudgedSet({"q": "parse a date"}, CORPUS, {"q": {"d0": 1}})
RUN = {"q": [f"d{number}" for number in range(10)]}


def by_number(pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """A scorer that likes later documents better, and the relevant one as much as d6."""
    numbers = {text: number or 6 for number, text in enumerate(CORPUS.values())}
    return np.array([numbers[document] for _, document in pairs], dtype=np.float32)


def test_a_rank_range_is_kept() -> None:
    wanted = Negatives(bm25=0, random=0, run=3, range_min=2, range_max=5)
    assert set(mine_negatives(JUDGED, wanted, 0, run=RUN)["q"]) == {"d3", "d4", "d5"}


def test_a_scorer_takes_out_false_negatives_and_finds_the_hardest() -> None:
    wanted = Negatives(bm25=0, random=0, run=2, scorer="unused", hardest=True, margin=1.0)
    assert mine_negatives(JUDGED, wanted, 0, run=RUN, score=by_number)["q"] == ["d4", "d3"]
    wanted = Negatives(bm25=0, random=0, run=2, scorer="unused", hardest=True)
    assert mine_negatives(JUDGED, wanted, 0, run=RUN, score=by_number)["q"] == ["d9", "d8"]
    wanted = Negatives(bm25=0, random=0, run=9, scorer="unused", margin=1.0)
    assert set(mine_negatives(JUDGED, wanted, 0, run=RUN, score=by_number)["q"]) == {"d1", "d2", "d3", "d4"}


def test_a_query_of_the_corpus_is_no_negative_of_its_own() -> None:
    corpus = {"1": "learn the piano", "2": "lessons for the piano", "3": "learn the piano fast", "4": "cook"}
    judged = JudgedSet({"1": corpus["1"]}, corpus, {"1": {"2": 1}})
    assert sorted(mine_negatives(judged, Negatives(bm25=3, random=3), 0)["1"]) == ["3", "4"]


def test_fewer_negatives_than_asked_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "crossrank.train")
    mine_negatives(JUDGED, Negatives(bm25=0, random=0, run=3), 0, run=RUN)
    assert not caplog.messages
    mine_negatives(JUDGED, Negatives(bm25=0, random=0, run=12), 0, run=RUN)
    (said,) = caplog.messages
    assert said.startswith("negatives: 1 of 1 queries have fewer than the 12 asked for; 9 of 12 were found")
