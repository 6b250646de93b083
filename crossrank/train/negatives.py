"""Negatives for queries whose judgements name only what is relevant."""

import logging
import random
from collections.abc import Sequence
from itertools import chain, islice

from crossrank.data.bm25 import BM25
from crossrank.data.eval_set import JudgedSet
from crossrank.data.near_duplicates import NearDuplicates
from crossrank.data.trec import Ranking
from crossrank.evaluation.baselines import Predict
from crossrank.evaluation.first_stage import retrieve_by_cosine
from crossrank.models.bi_encoder import BiEncoder
from crossrank.progress import Progress
from crossrank.train.recipe_data import Negatives

# A scorer that need not find the hardest looks at so many for each one wanted.
_LOOKED_AT = 4

_LOG = logging.getLogger("crossrank.train")


def mine_negatives(
    judged: JudgedSet,
    wanted: Negatives,
    seed: int,
    *,
    bi_encoder: BiEncoder | None = None,
    run: Ranking | None = None,
    score: Predict | None = None,
) -> dict[str, list[str]]:
    """Draws negatives for every query: from BM25's list, a bi-encoder's, a run's, and at random.

    Never a judged document of the query, never the query itself where the corpus holds it, and never a near-duplicate
    of one of its relevant documents: such a "negative" would teach the model that the right answer is wrong. With a
    scorer and a margin, what it places near or above the best relevant document is taken for an unjudged answer and
    left out too.

    Args:
        judged: queries, documents and judgements.
        wanted: how many, and from where.
        seed: of the draws.
        bi_encoder: the model behind `wanted.bi_encoder`.
        run: the ranking behind `wanted.run`.
        score: scores of pairs by `wanted.scorer`.

    Returns:
        Document ids for each query id; fewer than wanted where there are no more, which a warning says.
    """
    draw = random.Random(seed)
    depth = wanted.range_max + max((len(judged.qrels.get(query_id, ())) for query_id in judged.queries), default=0)
    lists: list[tuple[Ranking, int]] = []
    if wanted.bm25:
        lists.append((BM25(judged.corpus).top(judged.queries, depth), wanted.bm25))
    if bi_encoder:
        lists.append((retrieve_by_cosine(judged, bi_encoder, depth), wanted.bi_encoder))
    if wanted.run:
        lists.append((run or {}, wanted.run))
    everything = list(judged.corpus)
    negatives: dict[str, list[str]] = {}
    with Progress(_LOG, "choose negatives", total=len(judged.queries)) as progress:
        for query_id in judged.queries:
            judged_ids = set(judged.qrels.get(query_id, ()))
            found: list[tuple[list[str], int]] = []
            for ranking, number in lists:
                near = [doc_id for doc_id in ranking.get(query_id, []) if doc_id not in judged_ids]
                near = near[wanted.range_min : wanted.range_max]
                draw.shuffle(near)
                found.append((near if wanted.hardest or not score else near[: _LOOKED_AT * number], number))
            if score:
                found = _scored(judged, query_id, found, wanted, score)
            far = draw.sample(everything, min(len(everything), 20 * (wanted.random + 1)))
            negatives[query_id] = _chosen(judged, query_id, [*found, (far, wanted.random)])
            progress.advance()
    asked = sum(number for _, number in lists) + wanted.random
    short = sum(len(chosen) < asked for chosen in negatives.values())
    if short:
        mined = sum(map(len, negatives.values()))
        _LOG.warning(
            "negatives: %s of %s queries have fewer than the %d asked for; %s of %s were found",
            *(f"{short:,}", f"{len(negatives):,}", asked, f"{mined:,}", f"{asked * len(negatives):,}"),
        )
    return negatives


def _scored(
    judged: JudgedSet, query_id: str, found: Sequence[tuple[list[str], int]], wanted: Negatives, score: Predict
) -> list[tuple[list[str], int]]:
    """What a scorer leaves of each list: without probable answers, and the hardest first where those are wanted."""
    relevant = sorted(judged.positives(query_id))
    doc_ids = sorted(set(chain.from_iterable(near for near, _ in found)))
    query = judged.queries[query_id]
    scores = score([(query, judged.corpus[doc_id]) for doc_id in (*relevant, *doc_ids)]).tolist()
    highest = max(scores[: len(relevant)], default=float("inf")) - (wanted.margin or 0.0)
    kept = {
        doc_id: value
        for doc_id, value in zip(doc_ids, scores[len(relevant) :], strict=True)
        if wanted.margin is None or value < highest
    }
    left = [([doc_id for doc_id in near if doc_id in kept], number) for near, number in found]
    if wanted.hardest:
        left = [(sorted(near, key=lambda doc_id: (-kept[doc_id], doc_id)), number) for near, number in left]
    return left


def _chosen(judged: JudgedSet, query_id: str, sources: Sequence[tuple[Sequence[str], int]]) -> list[str]:
    """The first usable documents of each source, as many as are wanted of it, none twice."""
    answers = NearDuplicates(judged.corpus[doc_id] for doc_id in judged.positives(query_id))
    judged_ids = judged.qrels.get(query_id, {})
    chosen: list[str] = []
    for doc_ids, number in sources:
        usable = (
            doc_id
            for doc_id in doc_ids
            if doc_id not in judged_ids
            and doc_id not in chosen
            and not judged.is_itself(query_id, doc_id)
            and next(answers.find(judged.corpus[doc_id]), None) is None
        )
        chosen += list(islice(usable, number))
    return chosen
