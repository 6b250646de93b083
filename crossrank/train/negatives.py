"""Negatives for queries whose judgements name only what is relevant."""

import random
from collections.abc import Iterator, Sequence
from itertools import chain

from crossrank.data.bm25 import BM25
from crossrank.data.eval_set import JudgedSet
from crossrank.data.near_duplicates import is_near_duplicate
from crossrank.data.trec import Ranking
from crossrank.evaluation.baselines import Predict, nearest
from crossrank.models.bi_encoder import BiEncoder
from crossrank.train.recipe import Negatives

# A scorer that need not find the hardest looks at so many for each one wanted.
_LOOKED_AT = 4


def mine_negatives(
    judged: JudgedSet,
    wanted: Negatives,
    seed: int,
    *,
    max_length: int | None = None,
    run: Ranking | None = None,
    score: Predict | None = None,
) -> dict[str, list[str]]:
    """Draws negatives for every query: from BM25's list, a bi-encoder's, a run's, and at random.

    Never a judged document of the query, and never a near-duplicate of one of its relevant documents: such a
    "negative" would teach the model that the right answer is wrong. With a scorer and a margin, what it places near
    or above the best relevant document is taken for an unjudged answer and left out too.

    Args:
        judged: queries, documents and judgements.
        wanted: how many, and from where.
        seed: of the draws.
        max_length: tokens of a text that a bi-encoder reads.
        run: the ranking behind `wanted.run`.
        score: scores of pairs by `wanted.scorer`.

    Returns:
        Document ids for each query id; fewer than wanted where the corpus has no more.
    """
    draw = random.Random(seed)
    depth = wanted.range_max + max((len(judged.qrels.get(query_id, ())) for query_id in judged.queries), default=0)
    lists: list[tuple[Ranking, int]] = []
    if wanted.bm25:
        lists.append((BM25(judged.corpus).top(judged.queries, depth), wanted.bm25))
    if wanted.bi_encoder:
        bi_encoder = BiEncoder(wanted.bi_encoder_model, max_length)
        lists.append((nearest(judged, bi_encoder, depth), wanted.bi_encoder))
    if wanted.run:
        lists.append((run or {}, wanted.run))
    everything = list(judged.corpus)
    negatives: dict[str, list[str]] = {}
    for query_id in judged.queries:
        excluded = set(judged.qrels.get(query_id, ()))
        positives = [judged.corpus[doc_id] for doc_id in sorted(judged.positives(query_id))]
        found: list[tuple[list[str], int]] = []
        for ranking, number in lists:
            near = [doc_id for doc_id in ranking.get(query_id, []) if doc_id not in excluded]
            near = near[wanted.range_min : wanted.range_max]
            draw.shuffle(near)
            found.append((near if wanted.hardest else near[: _LOOKED_AT * number] if score else near, number))
        if score:
            kept = _scored(judged, query_id, sorted(set(chain.from_iterable(near for near, _ in found))), wanted, score)
            found = [
                (sorted(kept.keys() & set(near), key=lambda doc_id: (-kept[doc_id], doc_id)), number)
                if wanted.hardest
                else ([doc_id for doc_id in near if doc_id in kept], number)
                for near, number in found
            ]
        far = draw.sample(everything, min(len(everything), 20 * (wanted.random + 1)))
        chosen: list[str] = []
        for source, number in (*found, (far, wanted.random)):
            for doc_id in _usable(source, judged, positives, excluded):
                if number == 0:
                    break
                chosen.append(doc_id)
                excluded.add(doc_id)
                number -= 1
        negatives[query_id] = chosen
    return negatives


def _scored(
    judged: JudgedSet, query_id: str, doc_ids: Sequence[str], wanted: Negatives, score: Predict
) -> dict[str, float]:
    """What may be a negative, with its score."""
    relevant = sorted(judged.positives(query_id))
    query = judged.queries[query_id]
    scores = score([(query, judged.corpus[doc_id]) for doc_id in (*relevant, *doc_ids)]).tolist()
    highest = max(scores[: len(relevant)], default=float("inf")) - (wanted.margin or 0.0)
    found = zip(doc_ids, scores[len(relevant) :], strict=True)
    return {doc_id: value for doc_id, value in found if wanted.margin is None or value < highest}


def _usable(source: Sequence[str], judged: JudgedSet, positives: Sequence[str], excluded: set[str]) -> Iterator[str]:
    for doc_id in source:
        text = judged.corpus[doc_id]
        if doc_id not in excluded and not any(is_near_duplicate(text, positive) for positive in positives):
            yield doc_id
