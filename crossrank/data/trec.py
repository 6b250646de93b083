"""Runs: the scores that a system gives documents, query by query, and TREC's six-column files of them."""

import math
from pathlib import Path

from crossrank.data.formats.files import written_beside
from crossrank.data.formats.text import numbered_lines
from crossrank.errors import InvalidData

Ranking = dict[str, list[str]]
Run = dict[str, dict[str, float]]


def ranking_from_scores(run: Run) -> Ranking:
    """Order each query's documents by falling score; equal scores keep the order that they have in `run`.

    Raises:
        ValueError: A score is NaN.
    """
    ranking: Ranking = {}
    for query_id, scores in run.items():
        for doc_id, score in scores.items():
            if math.isnan(score):
                raise ValueError(f"the score of {doc_id!r} for query {query_id!r} is NaN and cannot be ranked")
        ranking[query_id] = sorted(scores, key=scores.__getitem__, reverse=True)
    return ranking


def read_run(path: Path) -> Run:
    """Read `query_id Q0 doc_id rank score tag` lines; as in trec_eval, scores count and ranks do not.

    Raises:
        InvalidData: A line is not what it should be, or names a document a second time.
        OSError: The file cannot be read.
    """
    run: Run = {}
    for where, line in numbered_lines(path):
        columns = line.split()
        if len(columns) != 6:
            raise InvalidData(where, f"{len(columns)} columns; write 'query_id Q0 doc_id rank score tag'")
        query_id, _, doc_id, _, score, _ = columns
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise InvalidData(where, f"score {score!r} is not a number; write one")
        if doc_id in run.setdefault(query_id, {}):
            raise InvalidData(where, f"query {query_id!r} ranks {doc_id!r} a second time; drop one line")
        run[query_id][doc_id] = value
    return run


def write_run(run: Run, path: Path, tag: str) -> None:
    """Write a run best document first, with ranks from 1 and scores that read back exactly; replaces a file.

    Raises:
        ValueError: A score is NaN, or an id or the tag is empty or holds whitespace.
    """
    for name in (tag, *run, *(doc_id for scores in run.values() for doc_id in scores)):
        if name.split() != [name]:
            raise ValueError(f"{name!r} is empty or holds whitespace and cannot be a column of a run")
    ranking = ranking_from_scores(run)
    with written_beside(path) as staged, staged.open("w", encoding="utf-8", newline="\n") as file:
        for query_id, doc_ids in ranking.items():
            for rank, doc_id in enumerate(doc_ids, start=1):
                file.write(f"{query_id} Q0 {doc_id} {rank} {float(run[query_id][doc_id])!r} {tag}\n")
