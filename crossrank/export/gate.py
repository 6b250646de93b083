"""The gate: why a variant may not ship, from its agreement with PyTorch and its budget; and what proves too little."""

from collections.abc import Sequence

from crossrank.errors import UsageError
from crossrank.evaluation.baselines import rank_by_bm25
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.fidelity import NDCG
from crossrank.evaluation.metrics import evaluate, mean
from crossrank.inference.ranker.manifest import Agreement, Budget
from crossrank.intervals import Interval

# Where BM25 alone ranks so well, any graph that matches words keeps the ranking.
_EASY = 0.9


def reasons(measured: Sequence[Agreement], budget: Budget) -> list[str]:
    """Why a variant may not ship, a clause each; empty where it may."""
    found = []
    for figures in measured:
        for what, value, bound, most in (
            ("the largest error of a logit", figures.max_error, budget.max_error, True),
            ("the fall of nDCG@10", _fall(figures.ndcg_difference), budget.max_ndcg_drop, True),
            ("the fall of MRR@10", _fall(figures.mrr_difference), budget.max_mrr_drop, True),
            ("Kendall's tau", figures.kendall_tau, budget.min_kendall_tau, False),
            ("top-1 agreement", figures.top1_agreement, budget.min_top1_agreement, False),
            ("top-10 overlap", figures.top10_overlap, budget.min_top10_overlap, False),
        ):
            if value is None or bound is None:
                continue
            # So written that NaN fails.
            if not (value <= bound if most else value >= bound):
                found.append(f"{what} on {figures.data} is {value:.4g}, {'more' if most else 'less'} than {bound:g}")
    return found


def refuse_easy(eval_sets: Sequence[EvalSet]) -> None:
    """Refuses evaluation sets on whose candidates BM25 alone ranks nearly perfectly; they would hide what is lost.

    Raises:
        UsageError: BM25's own nDCG@10 on a set is above 0.9.
    """
    for eval_set in eval_sets:
        if eval_set.qrels and (quality := bm25_quality(eval_set)) > _EASY:
            raise UsageError(
                f"{eval_set.name}: BM25 alone reaches nDCG@10 {quality:.3f} on its candidates, so they prove little; "
                "give harder candidates, or take them with --allow-easy-eval-sets"
            )


def bm25_quality(eval_set: EvalSet) -> float:
    """BM25's own nDCG@10 on the candidates of a set, mean over queries."""
    return mean(evaluate(eval_set.qrels, rank_by_bm25(eval_set), [NDCG])[NDCG])


def _fall(difference: Interval | None) -> float | None:
    return None if difference is None else -difference.mean
