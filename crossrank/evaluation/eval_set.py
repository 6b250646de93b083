"""Evaluation sets: queries, the documents to rank for each, and their judgements; here is the only sampler of them."""

import hashlib
import json
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crossrank.data.eval_set import Candidates, JudgedSet, is_judged_set, read_judged_set
from crossrank.data.examples import Example, grouped, read_examples
from crossrank.data.formats.files import write_json
from crossrank.data.formats.readers import name_of
from crossrank.data.qrels import MEASURED
from crossrank.errors import UsageError
from crossrank.evaluation.first_stage import first_stage_candidates
from crossrank.models.bi_encoder import BiEncoder

# A label from 0 to 1 becomes a grade from 0 to 4, so that one to five stars keep their steps.
_GRADES = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EvalSet(JudgedSet):
    """Queries to evaluate on, each with the documents that every system ranks.

    Attributes:
        queries: query id -> text.
        corpus: document id -> text; more than the candidates, where they come out of a corpus.
        qrels: query id -> document id -> grade; empty where nothing is judged.
        candidates: query id -> document ids, in the order of the first stage.
        name: for people, and for the names of files.
    """

    candidates: Candidates
    name: str

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Query and text of all candidates, query by query."""
        return [
            (self.queries[query_id], self.corpus[doc_id]) for query_id, ids in self.candidates.items() for doc_id in ids
        ]

    def split(self, logits: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The logits of `pairs`, shape [pairs], query by query."""
        return np.split(logits, np.cumsum([len(ids) for ids in self.candidates.values()])[:-1])

    def only(self, query_ids: Collection[str]) -> "EvalSet":
        """The set with some of its queries, in the order that they are given in."""
        return replace(
            self,
            queries={query_id: self.queries[query_id] for query_id in query_ids},
            qrels={query_id: self.qrels[query_id] for query_id in query_ids if query_id in self.qrels},
            candidates={query_id: self.candidates[query_id] for query_id in query_ids},
        )

    def head(self, documents: int) -> "EvalSet":
        """The set with so many first candidates of each query."""
        return replace(self, candidates={query_id: ids[:documents] for query_id, ids in self.candidates.items()})


def read_eval_set(
    path: Path,
    *,
    max_queries: int | None = None,
    seed: int = 0,
    bi_encoder: BiEncoder | None = None,
    kept: Path | None = None,
    split: str | None = None,
    otherwise: Sequence[str] = MEASURED,
) -> EvalSet:
    """Reads an evaluation set: a directory in BEIR layout, or a file of rows or lists, whose documents are candidates.

    A directory's candidates are its own; without candidates.jsonl they are BM25's best 50 and, where a bi-encoder is
    given, its best 50.

    Args:
        path: directory or file.
        max_queries: the most queries to take, the first of a shuffle by `seed`, so that a larger sample holds the
            smaller one; queries without a relevant document are left out before.
        seed: of the shuffle.
        bi_encoder: the second source of candidates.
        kept: a JSON file that keeps candidates that were found, so that they are not searched again.
        split: of the judgements of a directory; see `find_qrels`.
        otherwise: the same.

    Raises:
        UsageError: no such set, or nothing in it is judged relevant.
        InvalidData: a line is invalid.
    """
    if path.is_file():
        if split is not None:
            raise UsageError(f"{path} is a file of rows, which has no splits; leave the split {split!r} out")
        return eval_set_of(name_of(path), grouped(read_examples(path)), max_queries=max_queries, seed=seed)
    if not is_judged_set(path):
        raise UsageError(
            f"{path}: not an evaluation set; give it queries.jsonl, corpus.jsonl and qrels.tsv (BEIR layout)"
        )
    whole = read_judged_set(path, split=split, otherwise=otherwise)
    chosen = [query_id for query_id in whole.queries if whole.positives(query_id)]
    if not chosen:
        raise UsageError(f"{path}: no query has a relevant document; there is nothing to measure a ranking on")
    chosen = _sample(chosen, max_queries, seed)
    judged = JudgedSet(
        {query_id: whole.queries[query_id] for query_id in chosen},
        whole.corpus,
        {query_id: whole.qrels[query_id] for query_id in chosen},
    )
    if whole.candidates is not None:
        candidates = {query_id: whole.candidates.get(query_id, []) for query_id in chosen}
    elif kept and kept.is_file():
        candidates = json.loads(kept.read_text(encoding="utf-8"))
    else:
        candidates = first_stage_candidates(judged, bi_encoder)
        if not any(judged.positives(query_id) & set(ids) for query_id, ids in candidates.items()):
            raise UsageError(
                f"{path}: no relevant document is among the candidates that were found, so all orders would be "
                "equal; give candidates.jsonl"
            )
        if kept:
            write_json(kept, candidates)
    return EvalSet(judged.queries, judged.corpus, judged.qrels, candidates, path.resolve().name)


def eval_set_of(name: str, examples: Iterable[Example], *, max_queries: int | None = None, seed: int = 0) -> EvalSet:
    """Makes an evaluation set of examples, one for each query; the documents of a query are its candidates.

    Queries whose documents all have one label are left out: no order of them is better than another. See
    `read_eval_set` for the draw.

    Raises:
        UsageError: nothing is left.
    """
    graded = [(example, [round(_GRADES * label) for label in example.labels]) for example in examples]
    told = _sample([(example, grades) for example, grades in graded if len(set(grades)) > 1], max_queries, seed)
    if not told:
        raise UsageError(
            f"{name}: no query has documents of different labels; there is nothing to measure a ranking on"
        )
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for number, (example, grades) in enumerate(told):
        query_id = f"q{number}"
        queries[query_id] = example.query
        ids = [f"d{hashlib.sha256(document.encode()).hexdigest()[:16]}" for document in example.documents]
        corpus.update(zip(ids, example.documents, strict=True))
        qrels[query_id] = dict(zip(ids, grades, strict=True))
    # The judged order would give the answer away where scores are equal.
    return EvalSet(queries, corpus, qrels, {query_id: sorted(grades) for query_id, grades in qrels.items()}, name)


def _sample(chosen: list[T], most: int | None, seed: int) -> list[T]:
    if not most:
        return chosen
    shuffled = list(chosen)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:most]
