"""The gate: what a variant must keep of PyTorch's ranking before it ships, in figures and with intervals."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crossrank.data.trec import ranking_from_scores
from crossrank.evaluation.metrics import evaluate, kendall_tau, mean, top_k_overlap
from crossrank.evaluation.significance import paired_bootstrap
from crossrank.export.reference import ReferenceList, ReferenceSet
from crossrank.inference.manifest import Agreement, Budget, Difference

Logits = NDArray[np.float32]


def split(lists: Sequence[ReferenceList], logits: Logits) -> list[Logits]:
    """The logits of each list; `logits` are those of `crossrank.export.reference.pairs_of`, shape [pairs]."""
    return np.split(logits, np.cumsum([len(entry.documents) for entry in lists])[:-1])


def noise_to_signal(lists: Sequence[ReferenceList], reference: Logits, variant: Logits) -> float:
    """What a graph adds to the logits beside how far these lie apart, each a variance within a list; infinite for NaN.

    It says of a few lists what moves an order before the order moves, where rank correlations say little but chance.

    Args:
        lists: at least one.
        reference: PyTorch's logits of their pairs; shape [pairs].
        variant: the graph's.
    """
    if not np.isfinite(variant).all():
        return math.inf
    both = list(zip(split(lists, reference), split(lists, variant), strict=True))
    signal = sum(float(np.var(before)) for before, _ in both)
    return sum(float(np.var(after - before)) for before, after in both) / signal if signal else 0.0


def agreement(entry: ReferenceSet, reference: Logits, variant: Logits) -> Agreement:
    """Compares a variant's logits with PyTorch's.

    Args:
        entry: what was scored.
        reference: PyTorch's logits of its pairs; shape [pairs].
        variant: the variant's, finite, of the same shape.
    """
    errors = np.abs(reference - variant)
    both = list(zip(split(entry.lists, reference), split(entry.lists, variant), strict=True))
    figures = Agreement(
        data=entry.name,
        queries=len(both),
        pairs=errors.size,
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        kendall_tau=float(np.mean([kendall_tau(a, b) for a, b in both])),
        top1_agreement=float(np.mean([top_k_overlap(a, b, 1) for a, b in both])),
        top10_overlap=float(np.mean([top_k_overlap(a, b, min(10, max(1, len(a) // 2))) for a, b in both])),
    )
    if entry.qrels is None:
        return figures
    measures = ("nDCG@10", "MRR@10")
    before, after = (_measured(entry, logits, measures) for logits in (reference, variant))
    return figures.model_copy(
        update={
            "ndcg": mean(after["nDCG@10"]),
            "ndcg_difference": _difference(after["nDCG@10"], before["nDCG@10"]),
            "mrr_difference": _difference(after["MRR@10"], before["MRR@10"]),
        }
    )


def failure(measured: Sequence[Agreement], budget: Budget) -> str | None:
    """Why a variant may not ship, in one clause; None where it may."""
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
            if most and not value <= bound:
                return f"{what} on {figures.data} is {value:.4g}, more than {bound:g}"
            if not most and not value >= bound:
                return f"{what} on {figures.data} is {value:.4g}, less than {bound:g}"
    return None


def _measured(entry: ReferenceSet, logits: Logits, measures: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    assert entry.qrels is not None
    run = {
        listed.query_id: dict(zip(listed.documents, scores.tolist(), strict=True))
        for listed, scores in zip(entry.lists, split(entry.lists, logits), strict=True)
    }
    return evaluate(entry.qrels, ranking_from_scores(run), measures)


def _difference(after: Mapping[str, float], before: Mapping[str, float]) -> Difference:
    gap = paired_bootstrap(after, before)
    return Difference(mean=gap.mean, low=gap.low, high=gap.high, level=gap.level)


def _fall(difference: Difference | None) -> float | None:
    return None if difference is None else -difference.mean
