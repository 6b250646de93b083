"""How well systems order the same candidates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossrank.data.eval_set import Candidates, JudgedSet
from crossrank.data.trec import Ranking
from crossrank.evaluation.metrics import MEASURES, evaluate, mean
from crossrank.evaluation.significance import Interval, paired_bootstrap, paired_randomisation

MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two systems compare.

    One is better where the paired randomisation test over queries says so at 5% and the 95% bootstrap interval
    excludes zero; for very few queries either alone says so too readily.

    Attributes:
        gap: of nDCG@10, with its interval.
        p_value: of the test, two-sided.
        sign: 1 for better, -1 for worse, 0 where there is no evidence of either.
    """

    gap: Interval
    p_value: float
    sign: int


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

    def difference(self, system: str, other: str, measure: str = MEASURE) -> Interval:
        """The paired difference of two systems, with a bootstrap interval over queries."""
        return paired_bootstrap(self.per_query[system][measure], self.per_query[other][measure])

    def compare(self, other: str) -> Comparison:
        """The first system against another one, by nDCG@10."""
        first = next(iter(self.per_query))
        gap = self.difference(first, other)
        p_value = paired_randomisation(self.per_query[first][MEASURE], self.per_query[other][MEASURE])
        significant = gap.excludes_zero and p_value < 1 - gap.level
        return Comparison(gap, p_value, (1 if gap.mean > 0 else -1) if significant else 0)

    def verdict(self, other: str) -> str:
        """One sentence on whether the first system beats another one by nDCG@10."""
        first = next(iter(self.per_query))
        found = self.compare(other)
        if not found.sign:
            return f"No evidence that {first} and {other} differ: nDCG@10 {found.gap}."
        return f"{first} is {'better' if found.sign > 0 else 'worse'} than {other}: nDCG@10 {found.gap}."

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
