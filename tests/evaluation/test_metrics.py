import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.evaluation.metrics import MEASURES, evaluate, kendall_tau, mean, top_k_overlap

VECTORS = st.lists(st.integers(-5, 5), min_size=1, max_size=8)


def test_values_computed_by_hand() -> None:
    values = evaluate({"q": {"a": 2, "b": 1, "c": 0, "d": 1}}, {"q": ["c", "b", "x", "a"]})
    # Gains 1 at rank 2 and 2 at rank 4, ideally 2, 1, 1: 1.492283 of 3.130930.
    expected = {"nDCG@10": 0.476626, "MRR@10": 0.5, "MAP": (1 / 2 + 2 / 4) / 3, "Recall@50": 2 / 3}
    assert tuple(values) == MEASURES
    assert {name: value["q"] for name, value in values.items()} == pytest.approx(expected, abs=1e-6)


def test_cutoffs() -> None:
    qrels, ranking = {"q": {"a": 1, "b": 1}}, {"q": ["x", "y", "a", "b"]}
    values = evaluate(qrels, ranking, ["nDCG@2", "nDCG@3", "MRR@2", "MRR@3", "Recall@3", "Recall@7"])
    assert [value["q"] for value in values.values()] == pytest.approx([0, 0.5 / 1.63093, 0, 1 / 3, 0.5, 1], abs=1e-6)


def test_equal_scores_cannot_change_our_order() -> None:
    doc_ids = [f"d{number}" for number in (5, 1, 9, 3)]
    for best in range(4):
        assert evaluate({"q": {doc_ids[best]: 1}}, {"q": doc_ids}, ["MRR@10"]) == {"MRR@10": {"q": 1 / (best + 1)}}


def test_a_long_ranking_keeps_its_order() -> None:
    doc_ids = [str(number) for number in range(20_000)]
    value = evaluate({"q": {"19998": 1}}, {"q": doc_ids}, ["MAP"])["MAP"]["q"]
    assert value == pytest.approx(1 / 19_999, rel=1e-9)


def test_which_queries_count() -> None:
    qrels = {"missing": {"a": 1}, "empty": {"a": 1}, "none relevant": {"a": 0, "b": -2}, "good": {"a": 1}}
    ranking = {"empty": [], "none relevant": ["a"], "good": ["a"], "unjudged": ["a"]}
    assert evaluate(qrels, ranking, ["MAP"]) == {"MAP": {"missing": 0.0, "empty": 0.0, "good": 1.0}}
    assert evaluate(qrels, {}, ["MAP"]) == {"MAP": {"missing": 0.0, "empty": 0.0, "good": 0.0}}
    assert evaluate({"q": {"a": 0}}, {"q": ["a"]}, ["MAP"]) == {"MAP": {}}
    assert mean({"a": 0.0, "b": 1.0, "c": 0.5}) == 0.5
    with pytest.raises(ValueError, match="no query"):
        mean({})


def test_negative_grades_gain_nothing() -> None:
    ranking = {"q": ["a", "b", "c"]}
    assert evaluate({"q": {"a": -2, "b": 1}}, ranking) == evaluate({"q": {"a": 0, "b": 1}}, ranking)


@pytest.mark.parametrize("name", ["nDCG", "MRR@0", "Recall@x", "P@5", "map", "nDCG@10 "])
def test_unknown_measures(name: str) -> None:
    with pytest.raises(ValueError, match="known are MAP, nDCG@k, MRR@k and Recall@k"):
        evaluate({"q": {"a": 1}}, {"q": ["a"]}, [name])


def test_what_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="'q' names a document twice"):
        evaluate({"q": {"a": 1}}, {"q": ["a", "b", "a"]})
    with pytest.raises(ValueError, match="a grade is above 1000"):
        evaluate({"q": {"a": 1 << 40}}, {"q": ["a"]})


def test_kendall_tau_by_hand() -> None:
    assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    # One pair is tied in the second vector: 2 concordant of sqrt(3 * 2).
    assert kendall_tau([1, 2, 3], [1, 2, 2]) == pytest.approx(2 / math.sqrt(6))
    assert kendall_tau([1, 1], [2, 2]) == 1.0
    assert kendall_tau([1, 1], [1, 2]) == 0.0
    assert kendall_tau([3], [1]) == 1.0


@given(VECTORS)
def test_a_vector_agrees_with_itself(vector: list[int]) -> None:
    assert kendall_tau(vector, vector) == pytest.approx(1.0)
    assert all(top_k_overlap(vector, vector, k) == 1.0 for k in (1, 3, 20))


def test_top_k_overlap_by_hand() -> None:
    assert top_k_overlap([4, 3, 2, 1], [1, 3, 4, 2], 2) == 0.5
    assert top_k_overlap([1, 1, 1], [1, 1, 2], 2) == 0.5
    assert top_k_overlap([1, 2], [2, 1], 10) == 1.0


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 2], [1]), ([[1]], [[1]]), ([1, np.nan], [1, 2])])
def test_vectors_that_cannot_be_compared(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match=r"cannot be (compared|ranked)"):
        kendall_tau(a, b)
    with pytest.raises(ValueError, match=r"cannot be (compared|ranked)"):
        top_k_overlap(a, b, 1)
    with pytest.raises(ValueError, match="at least 1"):
        top_k_overlap([1], [1], 0)
