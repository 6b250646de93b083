"""What a model is judged on and never trained on: its queries, their candidates, and the orders before training."""

import hashlib
import heapq
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from crossrank.data.eval_set import Candidates, JudgedSet, is_judged_set, read_judged_set
from crossrank.data.examples import Example, grouped, read_examples
from crossrank.data.files import write_json
from crossrank.data.trec import Ranking, Run, ranking_from_scores
from crossrank.errors import UsageError
from crossrank.evaluation.baselines import COSINE, first_stage, score_candidates, untrained_orders
from crossrank.evaluation.compare import Evaluation, compare_systems
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import predict
from crossrank.models.location import is_bi_encoder
from crossrank.train.recipe import Recipe
from crossrank.train.teacher import Teacher

TUNED = "tuned"
UNTUNED = "base, untuned"
CUT = "base at that depth, untuned"
TEACHER = "teacher"

# A label from 0 to 1 becomes a grade from 0 to 4, so that one to five stars keep their steps.
_GRADES = 4
# A recipe without dev set holds out one query of so many.
_HELD_OUT_SHARE = 5
_MOST_HELD_OUT = 500


@dataclass(slots=True)
class HeldOut:
    """A set that is held out.

    Attributes:
        name: of the set, for people.
        judged: its queries, documents and judgements.
        candidates: what is ordered; empty until it is known.
        orders: the orders before training, by system.
        untuned: the scores of the base, where it has any.
    """

    name: str
    judged: JudgedSet
    candidates: Candidates = field(default_factory=dict)
    orders: dict[str, Ranking] = field(default_factory=dict)
    untuned: Run | None = None

    @property
    def reference(self) -> str:
        """The system that a trained model must beat."""
        return next(name for name in (UNTUNED, CUT, COSINE, "BM25") if name in self.orders)

    def order_before(self, model: Any, recipe: Recipe, kept: Path, teacher: Teacher | None = None) -> None:
        """Finds the candidates and orders them without training; what a file keeps of it is not done again.

        Args:
            model: the `CrossEncoder` that training starts from.
            recipe: names its base, and the layers that it has of it.
            kept: a JSON file.
            teacher: whose order is shown too.
        """
        if kept.is_file():
            told = json.loads(kept.read_text(encoding="utf-8"))
            self.candidates, self.orders, self.untuned = told["candidates"], told["orders"], told["untuned"]
            return
        bi_encoder = BiEncoder(recipe.base) if is_bi_encoder(recipe.base) else None
        self.candidates = self.candidates or self.judged.candidates or first_stage(self.judged, bi_encoder)
        self.orders = untrained_orders(self.judged, self.candidates, bi_encoder)
        if not bi_encoder:
            self.untuned = score_candidates(self.judged, self.candidates, partial(predict, model))
            self.orders[CUT if recipe.num_hidden_layers else UNTUNED] = ranking_from_scores(self.untuned)
        if teacher:
            self.orders[TEACHER] = ranking_from_scores(score_candidates(self.judged, self.candidates, teacher.scores))
        write_json(kept, {"candidates": self.candidates, "orders": self.orders, "untuned": self.untuned})


def open_held_out(path: Path, max_queries: int | None = None, seed: int = 0) -> HeldOut:
    """Reads a set that is held out: a judged set, or a file of rows or lists, whose documents are the candidates.

    Args:
        path: directory or file.
        max_queries: at most so many queries, drawn by `seed`; queries without a relevant document are left out first.
        seed: of the draw.

    Raises:
        UsageError: no such set, or nothing in it is judged relevant.
        InvalidData: a line is at fault.
    """
    if path.is_file():
        return from_examples(path.stem, grouped(read_examples(path)), max_queries, seed)
    if not is_judged_set(path):
        raise UsageError(f"{path} is no judged set: it needs queries.jsonl, corpus.jsonl and qrels.tsv")
    judged = read_judged_set(path)
    chosen = [query_id for query_id in judged.queries if judged.positives(query_id)]
    if not chosen:
        raise UsageError(f"{path}: no query has a relevant document; there is nothing to measure an order on")
    if max_queries and max_queries < len(chosen):
        chosen = random.Random(seed).sample(chosen, max_queries)
    candidates = judged.candidates and {query_id: judged.candidates.get(query_id, []) for query_id in chosen}
    return HeldOut(
        path.name,
        JudgedSet(
            {query_id: judged.queries[query_id] for query_id in chosen},
            judged.corpus,
            {query_id: judged.qrels[query_id] for query_id in chosen},
            candidates,
        ),
    )


def from_examples(name: str, examples: Iterable[Example], max_queries: int | None = None, seed: int = 0) -> HeldOut:
    """Makes a held-out set of examples, one for each query; the documents of a query are its candidates.

    Queries whose documents all have one label are left out: no order of them is better than another. Of more than
    `max_queries`, so many are drawn by `seed`.

    Raises:
        UsageError: nothing is left.
    """
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    graded = [(example, [round(_GRADES * label) for label in example.labels]) for example in examples]
    told = [(example, grades) for example, grades in graded if len(set(grades)) > 1]
    if max_queries and max_queries < len(told):
        told = random.Random(seed).sample(told, max_queries)
    for number, (example, grades) in enumerate(told):
        query_id = f"q{number}"
        queries[query_id] = example.query
        ids = [f"d{hashlib.sha256(document.encode()).hexdigest()[:16]}" for document in example.documents]
        corpus.update(zip(ids, example.documents, strict=True))
        qrels[query_id] = dict(zip(ids, grades, strict=True))
    if not queries:
        raise UsageError(f"{name}: no query has documents of different labels; there is nothing to measure an order on")
    # The judged order would give the answer away where scores are equal.
    candidates = {query_id: sorted(grades) for query_id, grades in qrels.items()}
    return HeldOut(name, JudgedSet(queries, corpus, qrels, candidates), candidates)


def hold_out(examples: Iterable[Example], max_queries: int | None, seed: int) -> HeldOut:
    """Holds out a fifth of the queries, at most `max_queries`, or 500; which ones is a function of all and the seed.

    Memory holds no more than what is held out.

    Raises:
        UsageError: no query of the fifth has documents of different labels.
    """
    most = max_queries or _MOST_HELD_OUT
    chosen: dict[str, list[Example]] = {}
    # The queries with the smallest digests, the largest of them first.
    smallest: list[tuple[int, str]] = []
    for example in examples:
        digest = int.from_bytes(hashlib.sha256(f"{seed}/{example.query}".encode()).digest()[:8])
        if example.query not in chosen and digest < 2**64 // _HELD_OUT_SHARE:
            heapq.heappush(smallest, (-digest, example.query))
            chosen[example.query] = []
            if len(smallest) > most:
                del chosen[heapq.heappop(smallest)[1]]
        if example.query in chosen:
            chosen[example.query].append(example)
    examples = grouped(chain.from_iterable(chosen.values()), on_bad=lambda error: None)
    return from_examples("held-out queries", examples)


@dataclass(frozen=True, slots=True)
class Measured:
    """A held-out set and how a trained model orders it.

    Attributes:
        held_out: the set.
        tuned: the trained model's scores of the candidates.
        evaluation: of all orders, the trained model's first.
        folds: of the cross-validation that gave the scores, if it was one.
    """

    held_out: HeldOut
    tuned: Run
    evaluation: Evaluation
    folds: int | None = None

    def labelled_scores(self) -> tuple[list[float], list[float], list[str]]:
        """Score, label and query id of the judged candidates, labels being grades over the set's highest.

        Of a set that judges nothing irrelevant, all candidates: what is not judged is then labelled 0.
        """
        qrels = self.held_out.judged.qrels
        given = [grade for grades in qrels.values() for grade in grades.values()]
        highest, judges_all = max(given), min(given) <= 0
        found = [
            (score, max(qrels.get(query_id, {}).get(doc_id, 0), 0) / highest, query_id)
            for query_id, scores in self.tuned.items()
            for doc_id, score in scores.items()
            if not judges_all or doc_id in qrels.get(query_id, {})
        ]
        scores, labels, query_ids = (list(column) for column in zip(*found, strict=True))
        return scores, labels, query_ids


def measure(held_out: HeldOut, tuned: Run, *, folds: int | None = None) -> Measured:
    """Evaluates a trained model's scores beside the orders before training."""
    orders = {TUNED: ranking_from_scores(tuned), **held_out.orders}
    return Measured(held_out, tuned, compare_systems(held_out.judged, orders, held_out.candidates), folds)
