"""What a training changed: queries won and lost, and the documents that moved in them."""

import math
from dataclasses import dataclass

from crossrank.data.eval_set import JudgedSet
from crossrank.data.trec import Run, ranking_from_scores
from crossrank.evaluation.compare import MEASURE, SystemComparison

_QUERIES = 5
_DOCUMENTS = 5
_RELEVANT = 3
_SNIPPET = 200


@dataclass(frozen=True, slots=True)
class Move:
    """One document of one query, before and after training.

    Attributes:
        doc_id: of the document.
        grade: its judgement; None where nobody judged it.
        before, after: ranks from 1; None where that run lacks it.
        snippet: the beginning of its text on one line, 200 characters at most.
    """

    doc_id: str
    grade: int | None
    before: int | None
    after: int | None
    snippet: str


@dataclass(frozen=True, slots=True)
class Change:
    """One query: its text, nDCG@10 in [0, 1] before and after, and the documents that moved most, best rank first."""

    query_id: str
    query: str
    before: float
    after: float
    documents: list[Move]


@dataclass(frozen=True, slots=True)
class Changes:
    """Wins and losses of the tuned system against another, by nDCG@10.

    Attributes:
        reference: the other one.
        wins, losses, ties: how many queries each.
        differences: query id -> nDCG@10 after less before, the biggest win first.
        biggest_wins, biggest_losses: at most five each, the biggest first.
    """

    reference: str
    wins: int
    losses: int
    ties: int
    differences: dict[str, float]
    biggest_wins: list[Change]
    biggest_losses: list[Change]


def query_changes(
    comparison: SystemComparison,
    reference: str,
    judged: JudgedSet | None = None,
    tuned: Run | None = None,
    untuned: Run | None = None,
) -> Changes:
    """Counts wins and losses, and shows where the biggest ones come from.

    A document's move counts by the change of its discount 1 / log2(1 + rank), as nDCG weighs ranks (Järvelin and
    Kekäläinen 2002): from 3 to 1 is more than from 40 to 20.

    Args:
        comparison: its first system is the tuned one.
        reference: the system of `comparison` to compare with.
        judged: texts and grades; without them queries have ids alone.
        tuned: scores of the first system; without them no documents are shown.
        untuned: scores of `reference`; without them no rank before is known.

    Raises:
        ValueError: `comparison` has no such system, or a score is NaN.
    """
    if reference not in comparison.per_query:
        raise ValueError(f"{reference!r} was not evaluated; compare with one of {', '.join(comparison.per_query)}")
    after = next(iter(comparison.per_query.values()))[MEASURE]
    before = comparison.per_query[reference][MEASURE]
    gains = {query_id: after[query_id] - before[query_id] for query_id in after}
    order = sorted(gains, key=lambda query_id: (-gains[query_id], query_id))
    wins = [query_id for query_id in order if gains[query_id] > 0]
    losses = [query_id for query_id in reversed(order) if gains[query_id] < 0]

    def change(query_id: str) -> Change:
        documents = _moves(query_id, judged, tuned, untuned or {}) if judged and tuned else []
        query = judged.queries[query_id] if judged else ""
        return Change(query_id, query, before[query_id], after[query_id], documents)

    return Changes(
        reference,
        len(wins),
        len(losses),
        len(order) - len(wins) - len(losses),
        {query_id: gains[query_id] for query_id in order},
        [change(query_id) for query_id in wins[:_QUERIES]],
        [change(query_id) for query_id in losses[:_QUERIES]],
    )


def _moves(query_id: str, judged: JudgedSet, tuned: Run, untuned: Run) -> list[Move]:
    before, after = _ranks(untuned, query_id), _ranks(tuned, query_id)
    grades = judged.qrels.get(query_id, {})
    moved = sorted(
        (doc_id for doc_id in {**after, **before} if before.get(doc_id) != after.get(doc_id)),
        key=lambda doc_id: -abs(_discount(after.get(doc_id)) - _discount(before.get(doc_id))),
    )
    # Relevant documents are what the measure changed by, so some are shown even where others jumped further.
    shown = [doc_id for doc_id in moved if grades.get(doc_id, 0) > 0][:_RELEVANT]
    shown += [doc_id for doc_id in moved if doc_id not in shown][: _DOCUMENTS - len(shown)]
    return [
        Move(doc_id, grades.get(doc_id), before.get(doc_id), after.get(doc_id), _snippet(judged.corpus[doc_id]))
        for doc_id in sorted(shown, key=lambda doc_id: after.get(doc_id, math.inf))
    ]


def _ranks(run: Run, query_id: str) -> dict[str, int]:
    ranking = ranking_from_scores({query_id: run.get(query_id, {})})[query_id]
    return {doc_id: rank for rank, doc_id in enumerate(ranking, start=1)}


def _discount(rank: int | None) -> float:
    return 1 / math.log2(1 + rank) if rank else 0.0


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SNIPPET else line[: _SNIPPET - 1] + "…"
