"""Systems side by side: how well they rank the same candidates, and whether one is better than another."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crossrank.data.trec import Ranking
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.metrics import MEASURES, evaluate, mean
from crossrank.evaluation.significance import paired_bootstrap, paired_randomisation
from crossrank.evaluation.systems import label
from crossrank.intervals import Interval

MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Whether one system is better than another, by nDCG@10.

    It is where the paired randomisation test over queries says so at 5% and the 95% bootstrap interval excludes zero;
    for very few queries either alone says so too readily.

    Attributes:
        difference: the mean over queries, with its interval.
        p_value: of the test, two-sided.
        sign: 1 for better, -1 for worse, 0 where there is no evidence of either.
    """

    difference: Interval
    p_value: float
    sign: int


@dataclass(frozen=True, slots=True)
class SystemComparison:
    """Systems side by side on the same candidates.

    Attributes:
        queries: number of queries with a relevant document.
        recall: share of the relevant documents that are among the candidates, mean over queries.
        per_query: system -> measure -> query id -> value; the first system is what the others are compared with.
    """

    queries: int
    recall: float
    per_query: dict[str, dict[str, dict[str, float]]]

    @property
    def first(self) -> str:
        """The system that the others are compared with."""
        return next(iter(self.per_query))

    def means(self, system: str) -> dict[str, float]:
        """Measure -> mean over queries."""
        return {measure: mean(values) for measure, values in self.per_query[system].items()}

    def difference(self, system: str, other: str, measure: str = MEASURE) -> Interval:
        """The paired difference of two systems, with a bootstrap interval over queries."""
        return paired_bootstrap(self.per_query[system][measure], self.per_query[other][measure])

    def test(self, other: str) -> PairedTest:
        """The first system against another one."""
        gap = self.difference(self.first, other)
        p_value = paired_randomisation(self.per_query[self.first][MEASURE], self.per_query[other][MEASURE])
        significant = gap.excludes_zero and p_value < 1 - gap.level
        return PairedTest(gap, p_value, (1 if gap.mean > 0 else -1) if significant else 0)

    def verdict(self, other: str) -> str:
        """One sentence on whether the first system beats another one by nDCG@10."""
        found = self.test(other)
        first, second = label(self.first), label(other)
        if not found.sign:
            return f"No evidence that {first} and {second} differ: nDCG@10 {found.difference}."
        return f"{first} is {'better' if found.sign > 0 else 'worse'} than {second}: nDCG@10 {found.difference}."

    def to_json(self) -> dict[str, Any]:
        """Means of every system, and the first one's differences to the others, all by system id."""
        others = [system for system in self.per_query if system != self.first]
        return {
            "queries": self.queries,
            "candidate_recall": self.recall,
            "verdicts": [self.verdict(other) for other in others],
            "systems": {system: self.means(system) for system in self.per_query},
            "differences": {
                other: {measure: asdict(self.difference(self.first, other, measure)) for measure in MEASURES}
                for other in others
            },
        }


def candidate_recall(eval_set: EvalSet) -> float:
    """Share of the relevant documents that are among the candidates, mean over queries that have any."""
    shares = [
        len(relevant & set(eval_set.candidates.get(query_id, ()))) / len(relevant)
        for query_id in eval_set.queries
        if (relevant := eval_set.positives(query_id))
    ]
    return float(np.mean(shares))


def compare_systems(eval_set: EvalSet, rankings: Mapping[str, Ranking]) -> SystemComparison:
    """Evaluates rankings of a set's candidates; the first one is what the others are compared with."""
    per_query = {system: evaluate(eval_set.qrels, ranking) for system, ranking in rankings.items()}
    queries = len(next(iter(per_query.values()))[MEASURE])
    return SystemComparison(queries, candidate_recall(eval_set), per_query)
