"""Fidelity: how near the logits of a variant are to those of a reference on the same pairs, and what they cost."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crossrank.data.trec import ranking_from_scores
from crossrank.evaluation.baselines import run_of
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.metrics import evaluate, kendall_tau, mean, top_k_overlap
from crossrank.evaluation.significance import paired_bootstrap
from crossrank.inference.ranker.manifest import Agreement

NDCG, MRR = "nDCG@10", "MRR@10"

Logits = NDArray[np.float32]


def noise_to_signal(eval_set: EvalSet, reference: Logits, variant: Logits) -> float:
    """What a variant adds to the logits beside how far these lie apart, each a variance within a query.

    It says of a few queries what moves a ranking before the ranking moves, where rank correlations say little but
    chance. Infinite where a logit is not finite.

    Args:
        eval_set: at least one query.
        reference: logits of its pairs; shape [pairs].
        variant: the same of the variant.
    """
    if not np.isfinite(variant).all():
        return math.inf
    both = list(zip(eval_set.split(reference), eval_set.split(variant), strict=True))
    signal = sum(float(np.var(before)) for before, _ in both)
    return sum(float(np.var(after - before)) for before, after in both) / signal if signal else 0.0


def agreement(eval_set: EvalSet, reference: Logits, variant: Logits) -> Agreement:
    """Compares a variant's logits with a reference's.

    Args:
        eval_set: what was scored.
        reference: logits of its pairs; shape [pairs].
        variant: the variant's, finite, of the same shape.
    """
    errors = np.abs(reference - variant)
    both = [
        (before, after)
        for before, after in zip(eval_set.split(reference), eval_set.split(variant), strict=True)
        if len(before)
    ]
    figures = Agreement(
        data=eval_set.name,
        queries=len(both),
        pairs=errors.size,
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        kendall_tau=float(np.mean([kendall_tau(a, b) for a, b in both])),
        top1_agreement=float(np.mean([top_k_overlap(a, b, 1) for a, b in both])),
        top10_overlap=float(np.mean([top_k_overlap(a, b, min(10, max(1, len(a) // 2))) for a, b in both])),
    )
    if not eval_set.qrels:
        return figures
    before, after = (rank_quality(eval_set, logits) for logits in (reference, variant))
    return figures.model_copy(
        update={
            "ndcg": mean(after[NDCG]),
            "ndcg_difference": paired_bootstrap(after[NDCG], before[NDCG]),
            "mrr_difference": paired_bootstrap(after[MRR], before[MRR]),
        }
    )


def rank_quality(
    eval_set: EvalSet, logits: Logits, measures: Sequence[str] = (NDCG, MRR)
) -> Mapping[str, Mapping[str, float]]:
    """Measures of the ranking by some logits of a set's pairs, shape [pairs]: measure -> query id -> value."""
    return evaluate(eval_set.qrels, ranking_from_scores(run_of(eval_set, logits)), measures)
