"""Orders of the candidates of a judged set: those that need no training, and a cross-encoder's."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from crossrank.data.bm25 import BM25
from crossrank.data.eval_set import Candidates, JudgedSet
from crossrank.data.trec import Ranking, Run, ranking_from_scores
from crossrank.models.bi_encoder import BiEncoder

_DEPTH = 50
_QUERIES_AT_ONCE = 512
_FUSION_K = 60

COSINE = "base, cosine"


Predict = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]


def first_stage(judged: JudgedSet, bi_encoder: BiEncoder | None, *, depth: int = _DEPTH) -> Candidates:
    """The candidates of every query: BM25's best and, where there is a bi-encoder, its best; no positive is added.

    Args:
        judged: queries and corpus.
        bi_encoder: the second source of candidates, if there is one.
        depth: how many each of them gives; both lists are interleaved.
    """
    lists = [BM25(judged.corpus).top(judged.queries, depth)]
    if bi_encoder:
        lists.append(nearest(judged, bi_encoder, depth))
    candidates: Candidates = {}
    for query_id in judged.queries:
        ranked = [found.get(query_id, []) for found in lists]
        places = max(len(ids) for ids in ranked)
        interleaved = [ids[place] for place in range(places) for ids in ranked if place < len(ids)]
        candidates[query_id] = list(dict.fromkeys(interleaved))
    return candidates


def nearest(judged: JudgedSet, bi_encoder: BiEncoder, depth: int) -> Ranking:
    """The `depth` documents of the corpus that are nearest to each query by a bi-encoder's cosine.

    Args:
        judged: queries and corpus.
        bi_encoder: embeds queries and documents.
        depth: how many for each query.
    """
    documents = bi_encoder.vectors(list(judged.corpus.values()))
    ids = list(judged.corpus)
    query_ids = list(judged.queries)
    ranking: Ranking = {}
    for start in range(0, len(query_ids), _QUERIES_AT_ONCE):
        some = query_ids[start : start + _QUERIES_AT_ONCE]
        for query_id, scores in zip(
            some, bi_encoder.vectors([judged.queries[i] for i in some]) @ documents.T, strict=True
        ):
            near = np.argpartition(-scores, depth)[:depth] if depth < len(ids) else np.arange(len(ids))
            ranking[query_id] = [ids[row] for row in near[np.argsort(-scores[near], kind="stable")]]
    return ranking


def untrained_orders(judged: JudgedSet, candidates: Candidates, bi_encoder: BiEncoder | None) -> dict[str, Ranking]:
    """The orders that need no training: BM25's, and where there is a bi-encoder its cosine's and both fused."""
    orders = {"BM25": bm25_order(judged, candidates)}
    if bi_encoder:
        orders[COSINE] = cosine_order(judged, candidates, bi_encoder)
        orders["BM25 and cosine, fused"] = fused(*orders.values())
    return orders


def fused(*orders: Ranking) -> Ranking:
    """Orders of the same candidates as one, by reciprocal rank (Cormack, Clarke and Büttcher 2009; their k is 60)."""
    scores: Run = {}
    for ranking in orders:
        for query_id, ids in ranking.items():
            of_query = scores.setdefault(query_id, {})
            for rank, doc_id in enumerate(ids, start=1):
                of_query[doc_id] = of_query.get(doc_id, 0.0) + 1 / (_FUSION_K + rank)
    return ranking_from_scores(scores)


def score_candidates(judged: JudgedSet, candidates: Candidates, predict: Predict) -> Run:
    """A cross-encoder's scores of the candidates of every query."""
    pairs = [
        (judged.queries[query_id], judged.corpus[doc_id]) for query_id, ids in candidates.items() for doc_id in ids
    ]
    scores = iter(predict(pairs).tolist())
    return {query_id: {doc_id: next(scores) for doc_id in ids} for query_id, ids in candidates.items()}


def bm25_order(judged: JudgedSet, candidates: Candidates) -> Ranking:
    """The candidates in BM25's order."""
    bm25 = BM25(judged.corpus)
    return {query_id: bm25.order(judged.queries[query_id], ids) for query_id, ids in candidates.items()}


def cosine_order(judged: JudgedSet, candidates: Candidates, bi_encoder: BiEncoder) -> Ranking:
    """The candidates in the order of a bi-encoder's cosine."""
    needed = {doc_id: judged.corpus[doc_id] for ids in candidates.values() for doc_id in ids}
    rows = {doc_id: row for row, doc_id in enumerate(needed)}
    documents = bi_encoder.vectors(list(needed.values()))
    asked = [query_id for query_id, ids in candidates.items() if ids]
    queries = bi_encoder.vectors([judged.queries[query_id] for query_id in asked])
    return ranking_from_scores(
        {
            query_id: dict(
                zip(
                    candidates[query_id],
                    (documents[[rows[doc_id] for doc_id in candidates[query_id]]] @ vector).tolist(),
                    strict=True,
                )
            )
            for query_id, vector in zip(asked, queries, strict=True)
        }
    )
