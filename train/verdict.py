"""What can honestly be said of a training: better, worse, or no evidence of either."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from judgements.significance import Interval, paired_bootstrap, paired_randomisation
from train.evaluate import Evaluation

MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to ship.

    Attributes:
        outcome: against the reference.
        reference: the model before training, or the order that it has to beat.
        difference: nDCG@10 of the trained model less the reference's, with its interval.
        p_value: of the paired randomisation test, two-sided.
        queries: that were held out.
        folds: of the cross-validation; None for a set that was held out once.
        setbacks: a sentence for each set, or baseline, on which it is significantly worse.
    """

    outcome: Literal["better", "worse", "no evidence"]
    reference: str
    difference: Interval
    p_value: float
    queries: int
    folds: int | None = None
    setbacks: list[str] = field(default_factory=list)

    @property
    def ships(self) -> bool:
        """Whether it is better and nowhere worse."""
        return self.outcome == "better" and not self.setbacks

    @property
    def sentence(self) -> str:
        """The verdict for a person."""
        gap = self.difference
        spread = f"± {(gap.high - gap.low) / 2:.3f} {MEASURE}"
        over = f"over {self.folds} folds" if self.folds else "on held-out data"
        size = f"{over} ({self.queries} queries, p = {self.p_value:.2g})"
        if self.outcome == "no evidence":
            told = f"no evidence that this training helped: do not ship ({gap.mean:+.3f} {spread} {size})"
        elif self.outcome == "worse":
            told = f"worse than {self.reference} by {-gap.mean:.3f} {spread} {size}: do not ship"
        else:
            told = f"better than {self.reference} by {gap.mean:.3f} {spread} {size}"
            if self.setbacks:
                told += f"; but {'; '.join(self.setbacks)}: do not ship"
        return told

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        gap = self.difference
        return {
            "sentence": self.sentence,
            "ships": self.ships,
            "outcome": self.outcome,
            "reference": self.reference,
            "measure": MEASURE,
            "difference": {"mean": gap.mean, "low": gap.low, "high": gap.high, "level": gap.level},
            "p_value": self.p_value,
            "test": "paired randomisation, two-sided",
            "queries": self.queries,
            "folds": self.folds,
            "setbacks": self.setbacks,
        }


def judge(
    evaluation: Evaluation,
    reference: str,
    *,
    level: float = 0.95,
    folds: int | None = None,
    guards: Mapping[str, tuple[Evaluation, str]] | None = None,
) -> Verdict:
    """Judges the first system of an evaluation against the model before training.

    It is better, or worse, where the paired randomisation test over queries says so at 1 - `level` and the bootstrap
    interval at `level` excludes zero; for very few queries either alone says so too readily. Being significantly
    worse than BM25, or than the reference of a guard set, is a setback.

    Args:
        evaluation: of the held-out set.
        reference: a system of it.
        level: of test and interval.
        folds: of the cross-validation that gave it.
        guards: other held-out sets with their references.
    """
    difference, p_value, sign = _compare(evaluation, reference, level)
    setbacks = []
    if reference != "BM25" and _compare(evaluation, "BM25", level)[2] < 0:
        setbacks.append("BM25's order is better still")
    for name, (guard, other) in (guards or {}).items():
        gap, _, worse = _compare(guard, other, level)
        if worse < 0:
            setbacks.append(f"worse on {name} by {-gap.mean:.3f}")
    outcome: Literal["better", "worse", "no evidence"] = (
        "better" if sign > 0 else "worse" if sign < 0 else "no evidence"
    )
    return Verdict(outcome, reference, difference, p_value, evaluation.queries, folds, setbacks)


def _compare(evaluation: Evaluation, other: str, level: float) -> tuple[Interval, float, int]:
    """Interval, p-value, and 1 or -1 where the difference is significant."""
    first = next(iter(evaluation.per_query))
    values = evaluation.per_query[first][MEASURE], evaluation.per_query[other][MEASURE]
    gap = paired_bootstrap(*values, level=level)
    p_value = paired_randomisation(*values)
    significant = gap.excludes_zero and p_value < 1 - level
    return gap, p_value, (1 if gap.mean > 0 else -1) if significant else 0
