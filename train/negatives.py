"""Negatives for queries whose judgements name only what is relevant."""

import random
from collections.abc import Iterator

from judgements.bm25 import BM25
from judgements.judged_set import JudgedSet
from judgements.near_duplicates import is_near_duplicate
from train.recipe import Negatives


def mine_negatives(judged: JudgedSet, wanted: Negatives, seed: int) -> dict[str, list[str]]:
    """Draws BM25 hard negatives and random ones for every query.

    Never a judged document of the query, and never a near-duplicate of one of its relevant documents: such a
    "negative" would teach the model that the right answer is wrong.

    Returns:
        Document ids for each query id; fewer than wanted where the corpus has no more.
    """
    draw = random.Random(seed)
    hard: dict[str, list[str]] = {}
    if wanted.bm25:
        depth = wanted.depth + max(len(judged.qrels.get(query_id, ())) for query_id in judged.queries)
        hard = BM25(judged.corpus).top(judged.queries, depth)
    everything = list(judged.corpus)
    negatives: dict[str, list[str]] = {}
    for query_id in judged.queries:
        excluded = set(judged.qrels.get(query_id, ()))
        positives = [judged.corpus[doc_id] for doc_id in judged.positives(query_id)]
        near = [doc_id for doc_id in hard.get(query_id, []) if doc_id not in excluded][: wanted.depth]
        draw.shuffle(near)
        far = iter(draw.sample(everything, min(len(everything), 20 * (wanted.random + 1))))
        chosen: list[str] = []
        for source, number in ((iter(near), wanted.bm25), (far, wanted.random)):
            for doc_id in _usable(source, judged, positives, excluded):
                if number == 0:
                    break
                chosen.append(doc_id)
                excluded.add(doc_id)
                number -= 1
        negatives[query_id] = chosen
    return negatives


def _usable(source: Iterator[str], judged: JudgedSet, positives: list[str], excluded: set[str]) -> Iterator[str]:
    for doc_id in source:
        text = judged.corpus[doc_id]
        if doc_id not in excluded and not any(is_near_duplicate(text, positive) for positive in positives):
            yield doc_id
