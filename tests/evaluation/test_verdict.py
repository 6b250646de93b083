import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossrank.data.near_duplicates import is_near_duplicate
from crossrank.evaluation.baselines import Baselines
from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.eval_result import evaluate_run
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.significance import paired_randomisation
from crossrank.evaluation.verdict import judge
from crossrank.train.split import folds_of


def evaluation(tuned: list[float], **others: list[float]) -> SystemComparison:
    systems = {"tuned": tuned, **others}
    return SystemComparison(
        len(tuned),
        1.0,
        {
            name: {"nDCG@10": {f"q{number}": value for number, value in enumerate(values)}}
            for name, values in systems.items()
        },
    )


def noisy(mean: float, queries: int = 40) -> list[float]:
    values: list[float] = np.random.default_rng(0).normal(mean, 0.05, queries).tolist()
    return values


def test_better() -> None:
    verdict = judge(evaluation(noisy(0.5), untuned=[0.4] * 40, bm25=[0.45] * 40), "untuned", folds=5)
    assert (verdict.outcome, verdict.ships) == ("better", True)
    assert re.fullmatch(
        r"better than untuned by 0\.[01]\d\d ± 0\.01\d nDCG@10 over 5 folds \(40 queries, p = 0\.0002\)",
        verdict.sentence,
    )


def test_no_evidence() -> None:
    verdict = judge(evaluation(noisy(0.4), untuned=[0.4] * 40, bm25=[0.3] * 40), "untuned")
    assert (verdict.outcome, verdict.ships) == ("no evidence", False)
    assert verdict.sentence.startswith("no evidence that this training helped: do not ship (")


def test_worse() -> None:
    verdict = judge(evaluation(noisy(0.3), untuned=[0.4] * 40, bm25=[0.1] * 40), "untuned")
    assert (verdict.outcome, verdict.ships) == ("worse", False)
    assert verdict.sentence.endswith("do not ship")


def test_better_is_not_enough_where_bm25_is_better_still_or_a_guard_fell() -> None:
    better = evaluation(noisy(0.5), untuned=[0.4] * 40, bm25=[0.45] * 40)
    verdict = judge(evaluation(noisy(0.5), untuned=[0.4] * 40, bm25=[0.7] * 40), "untuned")
    assert (verdict.outcome, verdict.ships, verdict.regressions) == ("better", False, ["BM25 ranks better still"])
    guard = evaluation(noisy(0.5), untuned=[0.6] * 40, bm25=[0.1] * 40)
    verdict = judge(better, "untuned", regression_sets={"legal": (guard, "untuned")})
    assert not verdict.ships
    assert "but worse on legal by 0.10" in verdict.sentence
    assert judge(better, "untuned", regression_sets={"legal": (better, "untuned")}).ships


def test_five_queries_cannot_show_anything() -> None:
    """Exchanging the values of five queries gives 32 outcomes: no two-sided p is below 2/32."""
    verdict = judge(evaluation([0.9] * 5, untuned=[0.1] * 5, bm25=[0.1] * 5), "untuned")
    assert verdict.outcome == "no evidence"
    assert verdict.p_value == pytest.approx(2 / 32)


@example([-0.1, 0.3, -1.0, 0.7, 0.1], 0)  # a mean of 0 but for rounding errors
@given(st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=1, max_size=10), st.integers(0, 3))
def test_the_randomisation_test_is_that_of_all_exchanges(differences: list[float], seed: int) -> None:
    values = {str(number): value for number, value in enumerate(differences)}
    zeros = dict.fromkeys(values, 0.0)
    count = len(differences)
    signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    means = (signs * np.array(differences)).mean(axis=1)
    extreme = min((means >= means[0] - 1e-12).mean(), (means <= means[0] + 1e-12).mean())
    p_value = paired_randomisation(values, zeros, seed=seed)
    assert p_value == pytest.approx(min(1.0, 2 * extreme))
    assert p_value == pytest.approx(paired_randomisation(zeros, values, seed=seed))


WORDS = st.lists(st.sampled_from(["read", "file", "date", "tree"]), min_size=1, max_size=5).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=20, unique=True), st.integers(2, 6), st.integers(0, 3))
def test_folds_hold_every_query_once_and_keep_near_ones_together(queries: list[str], folds: int, seed: int) -> None:
    dealt = folds_of(queries, folds, seed)
    assert sorted(query for fold in dealt for query in fold) == sorted(queries)
    assert all(dealt) and len(dealt) <= folds
    assert dealt == folds_of(queries, folds, seed)
    place = {query: number for number, fold in enumerate(dealt) for query in fold}
    for a in queries:
        for b in queries:
            assert place[a] == place[b] or not is_near_duplicate(a, b)


def test_probabilities_are_fitted_on_what_is_judged() -> None:
    corpus = dict.fromkeys("abc", "text")
    tuned = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    for grades, expected in (
        ({"a": 2, "b": 0}, ([3.0, 2.0], [1.0, 0.0])),
        (
            {"a": 2, "b": 1},
            ([3.0, 2.0, 1.0], [1.0, 0.5, 0.0]),
        ),  # nothing is judged irrelevant: the rest is taken for it
    ):
        eval_set = EvalSet({"q": "?"}, corpus, {"q": grades}, {"q": ["a", "b", "c"]}, "set")
        result = evaluate_run(eval_set, Baselines({}, {}), tuned)
        assert result.labelled_scores() == (*expected, ["q"] * len(expected[0]))
