"""The first stage of retrieval: candidates for a cross-encoder, from BM25 and from a bi-encoder."""

import numpy as np

from crossrank.data.bm25 import BM25
from crossrank.data.eval_set import Candidates, JudgedSet
from crossrank.data.trec import Ranking
from crossrank.models.bi_encoder import BiEncoder

_DEPTH = 50
_QUERIES_AT_ONCE = 512


def first_stage_candidates(
    judged: JudgedSet, bi_encoder: BiEncoder | None = None, *, depth: int = _DEPTH
) -> Candidates:
    """The candidates of every query: BM25's best and, where there is a bi-encoder, its best; no positive is added.

    A query that is a document of the corpus is not a candidate of its own.

    Args:
        judged: queries and corpus.
        bi_encoder: the second source of candidates.
        depth: how many each of them gives; both lists are interleaved.
    """
    lists = [BM25(judged.corpus).top(judged.queries, depth)]
    if bi_encoder:
        lists.append(retrieve_by_cosine(judged, bi_encoder, depth))
    candidates: Candidates = {}
    for query_id in judged.queries:
        ranked = [found.get(query_id, []) for found in lists]
        places = max(len(ids) for ids in ranked)
        interleaved = [ids[place] for place in range(places) for ids in ranked if place < len(ids)]
        candidates[query_id] = [
            doc_id for doc_id in dict.fromkeys(interleaved) if not judged.is_itself(query_id, doc_id)
        ]
    return candidates


def retrieve_by_cosine(judged: JudgedSet, bi_encoder: BiEncoder, depth: int) -> Ranking:
    """The `depth` documents of the corpus that are nearest to each query by a bi-encoder's cosine."""
    documents = bi_encoder.vectors(list(judged.corpus.values()))
    ids = list(judged.corpus)
    query_ids = list(judged.queries)
    ranking: Ranking = {}
    for start in range(0, len(query_ids), _QUERIES_AT_ONCE):
        some = query_ids[start : start + _QUERIES_AT_ONCE]
        cosines = bi_encoder.vectors([judged.queries[query_id] for query_id in some]) @ documents.T
        for query_id, scores in zip(some, cosines, strict=True):
            near = np.argpartition(-scores, depth)[:depth] if depth < len(ids) else np.arange(len(ids))
            ranking[query_id] = [ids[row] for row in near[np.argsort(-scores[near], kind="stable")]]
    return ranking
