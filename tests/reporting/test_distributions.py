import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.data.eval_set import JudgedSet
from crossrank.reporting.distributions import length_histogram, score_histogram
from tests.support.judged_by_hand import JUDGED


def test_truncation_shares_by_hand() -> None:
    found = length_histogram(np.array([10, 20, 30, 40]), 30)
    assert found is not None
    assert (found.pairs, found.longest, found.truncated_pairs, found.truncated_tokens) == (4, 40, 0.25, 0.1)
    assert length_histogram(np.array([0]), 1) is not None  # an empty pair has no token to lose


@given(st.lists(st.integers(0, 200_000), max_size=50), st.integers(1, 8192))
def test_every_pair_has_a_place_in_the_histogram_of_lengths(lengths: list[int], max_length: int) -> None:
    found = length_histogram(np.array(lengths, dtype=np.int64), max_length)
    if found is None:
        assert not lengths
        return
    assert sum(found.counts) == len(lengths)
    assert len(found.counts) == len(found.edges) - 1 <= 40
    assert found.truncated_pairs == sum(length > max_length for length in lengths) / len(lengths)
    assert 0 <= found.truncated_tokens < 1


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20), st.booleans())
def test_every_score_has_a_place_in_its_histogram(scores: list[float], shifted: bool) -> None:
    run = {"q": {str(number): score for number, score in enumerate(scores)}}
    judged = JudgedSet({"q": "query"}, dict.fromkeys(run["q"], ""), {"q": {"1" if shifted else "none": 1}})
    found = score_histogram(run, judged)
    if found is None:
        assert not scores
        return
    relevant = int(shifted and len(scores) > 1)
    assert (sum(found.relevant), sum(found.other)) == (relevant, len(scores) - relevant)
    assert all(low < high for low, high in zip(found.edges, found.edges[1:], strict=False))


def test_scores_of_queries_without_a_relevant_document_say_nothing() -> None:
    assert score_histogram({"unjudged": {"a": 1.0}}, JUDGED) is None
    with pytest.raises(ValueError, match="a score is not finite"):
        score_histogram({"up": {"a": float("inf")}}, JUDGED)
