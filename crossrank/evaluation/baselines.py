"""Baselines: rankings of the candidates by BM25, by a bi-encoder's cosine, by both fused, and by given scorers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossrank.data.bm25 import BM25
from crossrank.data.trec import Ranking, Run, ranking_from_scores
from crossrank.evaluation import systems
from crossrank.evaluation.eval_set import EvalSet
from crossrank.models.bi_encoder import BiEncoder

_FUSION_K = 60

# The logits of (query, document) pairs; float32, shape [pairs].
Predict: TypeAlias = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Baselines:
    """Rankings of one evaluation set that a model has to beat.

    Attributes:
        rankings: system -> query id -> document ids, the best first; see `crossrank.evaluation.systems`.
        scores: system -> query id -> document id -> score, of those that have scores.
    """

    rankings: dict[str, Ranking]
    scores: dict[str, Run]

    @property
    def reference(self) -> str:
        """The system that a trained model must beat: the model before training, or the best that stands for it."""
        order = (systems.BASE, systems.BASE_CUT, systems.COSINE, systems.BM25)
        return next(system for system in order if system in self.rankings)


def rank_baselines(
    eval_set: EvalSet, bi_encoder: BiEncoder | None = None, scorers: Mapping[str, Predict] | None = None
) -> Baselines:
    """Ranks the candidates by BM25, by the cosine of a bi-encoder, both fused, and by scorers.

    Args:
        eval_set: whose candidates are ranked.
        bi_encoder: gives the cosine; without it, neither cosine nor fusion is ranked.
        scorers: system -> its scores of pairs.
    """
    rankings = {systems.BM25: rank_by_bm25(eval_set)}
    if bi_encoder:
        rankings[systems.COSINE] = rank_by_cosine(eval_set, bi_encoder)
        rankings[systems.RRF] = reciprocal_rank_fusion(*rankings.values())
    scores = {system: score_candidates(eval_set, predict) for system, predict in (scorers or {}).items()}
    return Baselines(rankings | {system: ranking_from_scores(run) for system, run in scores.items()}, scores)


def reciprocal_rank_fusion(*rankings: Ranking) -> Ranking:
    """Rankings of the same documents as one (Cormack, Clarke and Büttcher 2009; their k is 60)."""
    scores: Run = {}
    for ranking in rankings:
        for query_id, ids in ranking.items():
            of_query = scores.setdefault(query_id, {})
            for rank, doc_id in enumerate(ids, start=1):
                of_query[doc_id] = of_query.get(doc_id, 0.0) + 1 / (_FUSION_K + rank)
    return ranking_from_scores(scores)


def score_candidates(eval_set: EvalSet, predict: Predict) -> Run:
    """A cross-encoder's scores of the candidates of every query."""
    return run_of(eval_set, predict(eval_set.pairs))


def run_of(eval_set: EvalSet, logits: NDArray[np.float32]) -> Run:
    """Logits of the pairs of a set, shape [pairs], by query id and document id."""
    scores = iter(logits.tolist())
    return {query_id: {doc_id: next(scores) for doc_id in ids} for query_id, ids in eval_set.candidates.items()}


def rank_by_bm25(eval_set: EvalSet) -> Ranking:
    """The candidates in BM25's order; its statistics are those of the whole corpus."""
    bm25 = BM25(eval_set.corpus)
    return {query_id: bm25.order(eval_set.queries[query_id], ids) for query_id, ids in eval_set.candidates.items()}


def rank_by_cosine(eval_set: EvalSet, bi_encoder: BiEncoder) -> Ranking:
    """The candidates in the order of a bi-encoder's cosine."""
    needed = {doc_id: eval_set.corpus[doc_id] for ids in eval_set.candidates.values() for doc_id in ids}
    rows = {doc_id: row for row, doc_id in enumerate(needed)}
    documents = bi_encoder.vectors(list(needed.values()))
    asked = [query_id for query_id, ids in eval_set.candidates.items() if ids]
    queries = bi_encoder.vectors([eval_set.queries[query_id] for query_id in asked])
    run: Run = {}
    for query_id, vector in zip(asked, queries, strict=True):
        ids = eval_set.candidates[query_id]
        cosines = documents[[rows[doc_id] for doc_id in ids]] @ vector
        run[query_id] = dict(zip(ids, cosines.tolist(), strict=True))
    return ranking_from_scores(run)
