"""What a trained model is worth on an evaluation set, beside the baselines."""

from dataclasses import dataclass

from crossrank.data.trec import Run, ranking_from_scores
from crossrank.evaluation.baselines import Baselines
from crossrank.evaluation.compare import SystemComparison, compare_systems
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.systems import TUNED

# A trained model's own file of figures.
METRICS_FILE = "metrics.json"
RECIPE_FILE = "recipe.toml"


@dataclass(frozen=True, slots=True)
class EvalResult:
    """An evaluation set and how a trained model ranks it.

    Attributes:
        eval_set: the set.
        baselines: rankings before training.
        tuned: the trained model's scores of the candidates.
        comparison: of all systems, the trained model first.
        folds: of the cross-validation that gave the scores, if it was one.
    """

    eval_set: EvalSet
    baselines: Baselines
    tuned: Run
    comparison: SystemComparison
    folds: int | None = None

    def labelled_scores(self) -> tuple[list[float], list[float], list[str]]:
        """Score, label and query id of the judged candidates, labels being grades over the set's highest.

        Of a set that judges nothing irrelevant, all candidates: what is not judged is then labelled 0.
        """
        qrels = self.eval_set.qrels
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


def evaluate_run(eval_set: EvalSet, baselines: Baselines, tuned: Run, *, folds: int | None = None) -> EvalResult:
    """Evaluates a trained model's scores beside the baselines."""
    rankings = {TUNED: ranking_from_scores(tuned), **baselines.rankings}
    return EvalResult(eval_set, baselines, tuned, compare_systems(eval_set, rankings), folds)
