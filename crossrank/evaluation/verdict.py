"""What can honestly be said of a training: better, worse, or no evidence of either."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from crossrank.evaluation.compare import MEASURE, SystemComparison
from crossrank.evaluation.systems import BM25, label
from crossrank.intervals import Interval

Outcome: TypeAlias = Literal["better", "worse", "no evidence"]

_OUTCOMES: dict[int, Outcome] = {1: "better", 0: "no evidence", -1: "worse"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to ship.

    Attributes:
        outcome: against the reference.
        reference: the model before training, or the baseline that it has to beat.
        difference: nDCG@10 of the trained model less the reference's, with its interval.
        p_value: of the paired randomisation test, two-sided.
        queries: that were held out.
        folds: of the cross-validation; None for a set that was held out once.
        regressions: a sentence for each set, or baseline, on which it is significantly worse.
    """

    outcome: Outcome
    reference: str
    difference: Interval
    p_value: float
    queries: int
    folds: int | None = None
    regressions: list[str] = field(default_factory=list)

    @property
    def ships(self) -> bool:
        """Whether it is better and nowhere worse."""
        return self.outcome == "better" and not self.regressions

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
            told = f"worse than {label(self.reference)} by {-gap.mean:.3f} {spread} {size}: do not ship"
        else:
            told = f"better than {label(self.reference)} by {gap.mean:.3f} {spread} {size}"
            if self.regressions:
                told += f"; but {'; '.join(self.regressions)}: do not ship"
        return told

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "sentence": self.sentence,
            "ships": self.ships,
            "outcome": self.outcome,
            "reference": self.reference,
            "measure": MEASURE,
            "difference": asdict(self.difference),
            "p_value": self.p_value,
            "test": "paired randomisation, two-sided",
            "queries": self.queries,
            "folds": self.folds,
            "regressions": self.regressions,
        }


def judge(
    comparison: SystemComparison,
    reference: str,
    *,
    folds: int | None = None,
    regression_sets: Mapping[str, tuple[SystemComparison, str]] | None = None,
) -> Verdict:
    """Judges the first system of a comparison against the model before training; see `PairedTest` for the method.

    Being significantly worse than BM25, or than the reference on a regression set, is a regression.

    Args:
        comparison: on the set of the verdict.
        reference: a system of it.
        folds: of the cross-validation that gave it.
        regression_sets: comparisons on other held-out sets with their references, by the sets' names.
    """
    found = comparison.test(reference)
    regressions = []
    if reference != BM25 and comparison.test(BM25).sign < 0:
        regressions.append("BM25 ranks better still")
    for name, (other, other_reference) in (regression_sets or {}).items():
        on_other = other.test(other_reference)
        if on_other.sign < 0:
            regressions.append(f"worse on {name} by {-on_other.difference.mean:.3f}")
    return Verdict(
        _OUTCOMES[found.sign], reference, found.difference, found.p_value, comparison.queries, folds, regressions
    )
