"""Orders of the candidates of a judged set: those that need no training, and a cross-encoder's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import nn

from judgements.bm25 import BM25
from judgements.judged_set import Candidates, JudgedSet
from judgements.trec_run import Ranking, Run, ranking_from_scores
from train.base import locate_base

_DEPTH = 50
_EMBED_BATCH = 32
_PREDICT_BATCH = 16

Predict = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]


def first_stage(judged: JudgedSet, base: str | None, *, depth: int = _DEPTH) -> Candidates:
    """The candidates of every query: BM25's best and, where there is a bi-encoder, its best; no positive is added.

    Args:
        judged: queries and corpus.
        base: a bi-encoder.
        depth: how many each of them gives; both lists are interleaved.
    """
    lists = [BM25(judged.corpus).top(judged.queries, depth)]
    if base:
        lists.append(nearest(judged, base, depth))
    candidates: Candidates = {}
    for query_id in judged.queries:
        ranked = [found.get(query_id, []) for found in lists]
        places = max(len(ids) for ids in ranked)
        interleaved = [ids[place] for place in range(places) for ids in ranked if place < len(ids)]
        candidates[query_id] = list(dict.fromkeys(interleaved))
    return candidates


def nearest(judged: JudgedSet, bi_encoder: str, depth: int) -> Ranking:
    """The `depth` documents of the corpus that are nearest to each query by a bi-encoder's cosine."""
    queries, documents = _embed(judged.queries, judged.corpus, bi_encoder)
    ids = list(judged.corpus)
    return {
        query_id: [ids[row] for row in np.argsort(-(documents @ vector), kind="stable")[:depth]]
        for query_id, vector in queries.items()
    }


def untrained_orders(judged: JudgedSet, candidates: Candidates, bi_encoder: str | None) -> dict[str, Ranking]:
    """The orders that need no training: BM25's, and a bi-encoder's cosine where there is one."""
    orders = {"BM25": bm25_order(judged, candidates)}
    if bi_encoder:
        orders["base, cosine"] = cosine_order(judged, candidates, bi_encoder)
    return orders


def predict(model: Any, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """The logits of pairs in PyTorch; float32, shape [len(pairs)]."""
    scores: NDArray[np.float32] = model.predict(
        list(pairs), batch_size=_PREDICT_BATCH, show_progress_bar=False, activation_fn=nn.Identity()
    )
    return scores


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


def cosine_order(judged: JudgedSet, candidates: Candidates, base: str) -> Ranking:
    """The candidates in the order of a bi-encoder's cosine."""
    needed = {doc_id: judged.corpus[doc_id] for ids in candidates.values() for doc_id in ids}
    queries, documents = _embed(judged.queries, needed, base)
    rows = {doc_id: row for row, doc_id in enumerate(needed)}
    return ranking_from_scores(
        {
            query_id: dict(
                zip(ids, (documents[[rows[doc_id] for doc_id in ids]] @ queries[query_id]).tolist(), strict=True)
            )
            for query_id, ids in candidates.items()
            if ids
        }
    )


def _embed(
    queries: Mapping[str, str], documents: Mapping[str, str], base: str
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    encoder = SentenceTransformer(locate_base(base), trust_remote_code=False, model_kwargs={"use_safetensors": True})
    settings = {"batch_size": _EMBED_BATCH, "normalize_embeddings": True, "show_progress_bar": False}
    vectors = encoder.encode(list(queries.values()), **settings)
    return dict(zip(queries, vectors, strict=True)), encoder.encode(list(documents.values()), **settings)
