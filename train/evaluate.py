"""How well a ranker orders candidates, beside the orders that need no training."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from judgements.judged_set import Candidates, JudgedSet
from judgements.metrics import MEASURES, evaluate, mean
from judgements.significance import Interval, paired_bootstrap
from judgements.trec_run import Ranking
from serve.errors import UsageError
from serve.manifest import MANIFEST_PATH
from serve.scorer import Scorer
from train.base import is_bi_encoder, open_cross_encoder
from train.data import dev_set
from train.orders import first_stage, predict, rerank, untrained_orders

METRICS_FILE = "metrics.json"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Systems side by side on the same candidates.

    Attributes:
        queries: queries with a relevant document.
        recall: share of the relevant documents that are among the candidates, mean over queries.
        per_query: system -> measure -> query id -> value.
    """

    queries: int
    recall: float
    per_query: dict[str, dict[str, dict[str, float]]]

    def means(self, system: str) -> dict[str, float]:
        """Measure -> mean over queries."""
        return {measure: mean(values) for measure, values in self.per_query[system].items()}

    def difference(self, system: str, other: str, measure: str = "nDCG@10") -> Interval:
        """The paired difference of two systems, with a bootstrap interval over queries."""
        return paired_bootstrap(self.per_query[system][measure], self.per_query[other][measure])

    def verdict(self, other: str) -> str:
        """One sentence on whether the first system beats another one by nDCG@10."""
        first = next(iter(self.per_query))
        gap = self.difference(first, other)
        if not gap.excludes_zero:
            return f"No evidence that {first} and {other} differ: nDCG@10 {gap}."
        return f"{first} is {'better' if gap.mean > 0 else 'worse'} than {other}: nDCG@10 {gap}."

    def to_json(self) -> dict[str, Any]:
        """Means of every system, and the first one's differences to the others."""
        first, *others = self.per_query
        return {
            "queries": self.queries,
            "candidate_recall": self.recall,
            "verdicts": [self.verdict(other) for other in others],
            "systems": {system: self.means(system) for system in self.per_query},
            "differences": {
                other: {
                    measure: {"mean": gap.mean, "low": gap.low, "high": gap.high, "level": gap.level}
                    for measure in MEASURES
                    for gap in (self.difference(first, other, measure),)
                }
                for other in others
            },
        }


def candidate_recall(judged: JudgedSet, candidates: Candidates) -> float:
    """Share of the relevant documents that are among the candidates, mean over queries that have any."""
    shares = [
        len(relevant & set(candidates.get(query_id, ()))) / len(relevant)
        for query_id in judged.queries
        if (relevant := judged.positives(query_id))
    ]
    return float(np.mean(shares))


def compare_systems(judged: JudgedSet, rankings: Mapping[str, Ranking], candidates: Candidates) -> Evaluation:
    """Evaluates rankings of the same candidates; the first one is what the others are compared with."""
    per_query = {system: evaluate(judged.qrels, ranking) for system, ranking in rankings.items()}
    queries = len(next(iter(per_query.values()))["nDCG@10"])
    return Evaluation(queries, candidate_recall(judged, candidates), per_query)


def evaluate_model(
    model: str,
    data: Path,
    *,
    variant: str | None = None,
    base: str | None = None,
    step: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Evaluates a cross-encoder, in PyTorch, or a ranker, as it is served.

    Args:
        model: a directory, a Hugging Face id, or a ranker's directory.
        data: a judged set; without candidates of its own it gets BM25's and the base's best 50.
        variant: of a ranker; by default the one that is served.
        base: a bi-encoder whose cosine order is shown too; by default the one that `metrics.json` of the model names.
        step: called with the name of each step as it begins.

    Raises:
        UsageError, InvalidRanker: the model or the data cannot be used.
        judgements.errors.JudgementsError: a line of the data is at fault.
    """
    judged = dev_set(data)
    is_ranker = (Path(model) / MANIFEST_PATH).is_file()
    if variant is not None and not is_ranker:
        raise UsageError(f"--variant {variant}: {model} is no ranker, so it has no variants; export it first")
    if not is_ranker and is_bi_encoder(model):
        raise UsageError(f"{model} is no cross-encoder: it has no head for a score; train one from it first")
    bi_encoder = _recorded_bi_encoder(Path(model)) if base is None else base if is_bi_encoder(base) else None
    step("find and order the candidates without the model")
    candidates = judged.candidates or first_stage(judged, bi_encoder)
    before = untrained_orders(judged, candidates, bi_encoder)
    step(f"order them with {model}")
    if is_ranker:
        with Scorer.open(model, variant=variant) as scorer:
            tuned = rerank(judged, candidates, lambda pairs: scorer.predict(pairs, kind="logit"))
    else:
        opened = open_cross_encoder(model)
        tuned = rerank(judged, candidates, lambda pairs: predict(opened, pairs))
    return compare_systems(judged, {Path(model).name: tuned, **before}, candidates)


def _recorded_bi_encoder(model: Path) -> str | None:
    """The bi-encoder that a model of ours was trained from, if it was one and is still to be had."""
    try:
        base = json.loads((model / METRICS_FILE).read_text(encoding="utf-8"))["base"]
        return base if is_bi_encoder(base) else None
    except (OSError, ValueError, KeyError, TypeError):  # UsageError, for a base that is gone, is a ValueError
        return None
