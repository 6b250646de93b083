from dataclasses import replace

import numpy as np
import pytest

from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.fidelity import agreement, noise_to_signal

EVAL_SET = EvalSet(
    {"q1": "one", "q2": "two"},
    {name: name.upper() for name in "abcde"},
    {"q1": {"a": 1}, "q2": {"d": 1}},
    {"q1": ["a", "b", "c"], "q2": ["d", "e"]},
    "set",
)
REFERENCE = np.array([3, 2, 1, 0.5, 0.1], dtype=np.float32)


def test_logits_are_split_query_by_query() -> None:
    assert [part.tolist() for part in EVAL_SET.split(REFERENCE)] == [[3, 2, 1], [0.5, pytest.approx(0.1)]]


def test_the_figures_of_a_swapped_first_document() -> None:
    variant = np.array([2, 3, 1, 0.5, 0.1], dtype=np.float32)
    measured = agreement(EVAL_SET, REFERENCE, variant)
    assert (measured.queries, measured.pairs, measured.top1_agreement) == (2, 5, 0.5)
    assert measured.max_error == 1
    assert measured.kendall_tau == pytest.approx((1 / 3 + 1) / 2)
    assert measured.ndcg_difference is not None
    assert measured.ndcg_difference.mean == pytest.approx((1 / np.log2(3) - 1) / 2)
    assert measured.mrr_difference is not None
    assert measured.mrr_difference.mean == pytest.approx(-0.25)


def test_noise_is_what_moves_documents_against_each_other() -> None:
    swapped = np.array([2, 3, 1, 0.5, 0.1], dtype=np.float32)
    assert noise_to_signal(EVAL_SET, REFERENCE, swapped) == pytest.approx((2 / 3) / (2 / 3 + 0.04))
    lifted = REFERENCE + np.array([5, 5, 5, -2, -2], dtype=np.float32)
    assert noise_to_signal(EVAL_SET, REFERENCE, lifted) == pytest.approx(0.0, abs=1e-9)


def test_without_judgements_there_is_agreement_alone() -> None:
    measured = agreement(replace(EVAL_SET, qrels={}), REFERENCE, REFERENCE)
    assert (measured.ndcg, measured.ndcg_difference, measured.top1_agreement) == (None, None, 1.0)
    assert measured.max_error == 0


def test_nan_agrees_with_nothing() -> None:
    assert noise_to_signal(EVAL_SET, REFERENCE, np.full(5, np.nan, dtype=np.float32)) == np.inf


def test_a_query_without_candidates_changes_nothing_but_the_mean() -> None:
    one_more = replace(
        EVAL_SET,
        queries={**EVAL_SET.queries, "q3": "three"},
        qrels={**EVAL_SET.qrels, "q3": {"a": 1}},
        candidates={"q3": [], **EVAL_SET.candidates},
    )
    measured = agreement(one_more, REFERENCE, REFERENCE)
    assert (measured.queries, measured.top1_agreement) == (2, 1.0)
    assert measured.ndcg == pytest.approx(2 / 3)
