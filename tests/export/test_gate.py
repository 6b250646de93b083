import numpy as np
import pytest

from crossrank.export.gate import agreement, failure, noise_to_signal, split
from crossrank.export.reference import ReferenceList, ReferenceSet, reference_sets
from crossrank.inference.manifest import Agreement, Budget, Difference
from tests.conftest import HELDOUT

LISTS = [
    ReferenceList("q1", "one", {"a": "A", "b": "B", "c": "C"}),
    ReferenceList("q2", "two", {"d": "D", "e": "E"}),
]
REFERENCE = np.array([3, 2, 1, 0.5, 0.1], dtype=np.float32)


def figures(**changed: object) -> Agreement:
    difference = Difference(mean=-0.004, low=-0.01, high=0.002, level=0.95)
    made = Agreement(
        data="set",
        queries=100,
        pairs=1000,
        max_error=0.3,
        mean_error=0.03,
        kendall_tau=0.98,
        top1_agreement=0.98,
        top10_overlap=0.97,
        ndcg=0.6,
        ndcg_difference=difference,
        mrr_difference=difference,
    )
    return made.model_copy(update=changed)


def test_logits_are_split_list_by_list() -> None:
    assert [part.tolist() for part in split(LISTS, REFERENCE)] == [[3, 2, 1], [0.5, pytest.approx(0.1)]]


def test_the_figures_of_a_swapped_first_document() -> None:
    variant = np.array([2, 3, 1, 0.5, 0.1], dtype=np.float32)
    measured = agreement(ReferenceSet("set", LISTS, {"q1": {"a": 1}, "q2": {"d": 1}}, []), REFERENCE, variant)
    assert (measured.queries, measured.pairs, measured.top1_agreement) == (2, 5, 0.5)
    assert measured.max_error == 1
    assert measured.kendall_tau == pytest.approx((1 / 3 + 1) / 2)
    assert measured.ndcg_difference is not None
    assert measured.ndcg_difference.mean == pytest.approx((1 / np.log2(3) - 1) / 2)
    assert measured.mrr_difference is not None
    assert measured.mrr_difference.mean == pytest.approx(-0.25)


def test_noise_is_what_moves_documents_against_each_other() -> None:
    swapped = np.array([2, 3, 1, 0.5, 0.1], dtype=np.float32)
    assert noise_to_signal(LISTS, REFERENCE, swapped) == pytest.approx((2 / 3) / (2 / 3 + 0.04))
    lifted = REFERENCE + np.array([5, 5, 5, -2, -2], dtype=np.float32)
    assert noise_to_signal(LISTS, REFERENCE, lifted) == pytest.approx(0.0, abs=1e-9)


def test_without_judgements_there_is_agreement_alone() -> None:
    measured = agreement(ReferenceSet("set", LISTS, None, []), REFERENCE, REFERENCE)
    assert (measured.ndcg, measured.ndcg_difference, measured.top1_agreement) == (None, None, 1.0)
    assert failure([measured], Budget(max_ndcg_drop=0.0, max_mrr_drop=0.0, max_error=0.0)) is None


def test_nan_agrees_with_nothing() -> None:
    assert noise_to_signal(LISTS, REFERENCE, np.full(5, np.nan, dtype=np.float32)) == np.inf


@pytest.mark.parametrize(
    ("budget", "changed", "why"),
    [
        (Budget(), {}, None),
        (Budget(), {"top1_agreement": 0.96}, "top-1 agreement on set is 0.96, less than 0.97"),
        (Budget(max_ndcg_drop=0.003), {}, "the fall of nDCG@10 on set is 0.004, more than 0.003"),
        (Budget(max_mrr_drop=0.003), {}, "the fall of MRR@10"),
        (Budget(max_error=0.2), {}, "the largest error of a logit on set is 0.3, more than 0.2"),
        (Budget(min_kendall_tau=0.99), {}, "Kendall's tau"),
        (Budget(min_top10_overlap=0.98), {}, "top-10 overlap"),
        (Budget(max_error=0.4), {"max_error": float("nan")}, "the largest error of a logit on set is nan"),
        (Budget(min_top1_agreement=None, max_ndcg_drop=None), {"top1_agreement": 0.0}, None),
    ],
)
def test_a_budget_names_what_was_lost(budget: Budget, changed: dict[str, object], why: str | None) -> None:
    reason = failure([figures(), figures(**changed)], budget)
    assert (reason or "").startswith(why or "")
    assert (reason is None) == (why is None)


def test_what_calibrates_never_judges() -> None:
    (judged,) = reference_sets([HELDOUT], max_queries=8)
    assert (len(judged.lists), len(judged.held_back)) == (8, 4)
    assert not {entry.query_id for entry in judged.lists} & {entry.query_id for entry in judged.held_back}
    (library,) = reference_sets([], max_queries=5)
    assert len(library.lists) == 5
    assert library.held_back
    assert not {entry.query for entry in library.lists} & {entry.query for entry in library.held_back}
    assert reference_sets([], max_queries=5) == [library]
