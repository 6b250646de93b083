"""The record of a finished training: everything that the card, the figures, the plots and the page show."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrank.calibration.curves import Calibration
from crossrank.evaluation.eval_result import EvalResult
from crossrank.evaluation.verdict import Verdict
from crossrank.train.fit.fine_tune import History
from crossrank.train.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a run gave.

    Attributes:
        directory: the result.
        recipe: what was run.
        training_set_pairs: (query, document) in the training set.
        lengths: tokens of the training pairs, or of a sample of them, before truncation; int64, shape [pairs].
        screening: what was found in the data: the counts and the first few quotes of invalid rows, and of what the data
            share with held-out sets.
        history: how the training went.
        measured: on what the verdict rests; None where nothing could be held out.
        regressions: the sets on which it must not get worse.
        verdict: whether it helped; None where nothing was measured.
        calibration: of its probabilities, on what was held out.
    """

    directory: Path
    recipe: Recipe
    training_set_pairs: int
    lengths: NDArray[np.int64]
    screening: dict[str, Any]
    history: History
    measured: EvalResult | None
    regressions: list[EvalResult]
    verdict: Verdict | None
    calibration: Calibration | None = None

    @property
    def all_measured(self) -> list[EvalResult]:
        """The measured sets, the verdict's first."""
        return [*([self.measured] if self.measured else []), *self.regressions]

    @property
    def conclusion(self) -> str:
        """The verdict for a person, or that there is none."""
        return f"{self.verdict.sentence}." if self.verdict else "It was not evaluated: nothing could be held out."

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        history = self.history
        return {
            "directory": str(self.directory),
            "verdict": self.verdict.to_json() if self.verdict else None,
            "evaluation": self.measured.comparison.to_json() if self.measured else None,
            "regression_sets": {each.eval_set.name: each.comparison.to_json() for each in self.regressions},
            "calibration": self.calibration.model_dump(mode="json") if self.calibration else None,
            "training_set_pairs": self.training_set_pairs,
            "screening": self.screening,
            "steps": history.steps,
            "pairs_seen": history.pairs_seen,
            "seconds": round(history.seconds, 1),
            "precision": history.precision,
            "device": history.device,
            "losses": [{"step": step, "loss": loss, "learning_rate": rate} for step, loss, rate in history.losses],
            "quality": [{"step": step, "ndcg@10": value} for step, value in history.quality],
        }
