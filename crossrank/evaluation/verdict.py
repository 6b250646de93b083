"""What can honestly be said of a training: better, worse, or no evidence of either."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from crossrank.evaluation.compare import MEASURE, Evaluation
from crossrank.evaluation.significance import Interval

Outcome: TypeAlias = Literal["better", "worse", "no evidence"]

_OUTCOMES: dict[int, Outcome] = {1: "better", 0: "no evidence", -1: "worse"}


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

    outcome: Outcome
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
    folds: int | None = None,
    guards: Mapping[str, tuple[Evaluation, str]] | None = None,
) -> Verdict:
    """Judges the first system of an evaluation against the model before training; see `Comparison` for the method.

    Being significantly worse than BM25, or than the reference of a guard set, is a setback.

    Args:
        evaluation: of the held-out set.
        reference: a system of it.
        folds: of the cross-validation that gave it.
        guards: other held-out sets with their references.
    """
    found = evaluation.compare(reference)
    setbacks = []
    if reference != "BM25" and evaluation.compare("BM25").sign < 0:
        setbacks.append("BM25's order is better still")
    for name, (guard, other) in (guards or {}).items():
        on_guard = guard.compare(other)
        if on_guard.sign < 0:
            setbacks.append(f"worse on {name} by {-on_guard.gap.mean:.3f}")
    return Verdict(_OUTCOMES[found.sign], reference, found.gap, found.p_value, evaluation.queries, folds, setbacks)
