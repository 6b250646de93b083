"""What a finished run leaves: the model, its card, its figures, its plots."""

import json
import random
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from crossrank.evaluation.eval_result import METRICS_FILE, EvalResult
from crossrank.evaluation.verdict import Verdict
from crossrank.inference.calibration import Calibration, write_calibration
from crossrank.train.fit.base import device_name
from crossrank.train.fit.fine_tune import History
from crossrank.train.materialise import TrainingSet, pairs_of
from crossrank.train.recipe import Recipe
from crossrank.train.report.model_card import append_results
from crossrank.train.report.page import ReportInput, report_json, write_report
from crossrank.train.run_directory import RunDirectory

RECIPE_FILE = "recipe.toml"

_CURVES = "runs"
# The lengths of these many rows, drawn by seed, stand for all.
_MEASURED_ROWS = 1000
_TOOLS = ("crossrank", "torch", "transformers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a run gave.

    Attributes:
        directory: the result.
        training_set_pairs: (query, document) in the training set.
        screening: what was found in the data: the counts and the first few quotes of invalid rows, and of what the data
            share with held-out sets.
        history: how the training went.
        measured: on what the verdict rests; None where nothing could be held out.
        regressions: the sets on which it must not get worse.
        verdict: whether it helped; None where nothing was measured.
        calibration: of its probabilities, on what was held out.
    """

    directory: Path
    training_set_pairs: int
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
            "losses": [{"step": step, "loss": loss, "learning_rate": rate} for step, loss, rate in history.losses],
            "quality": [{"step": step, "ndcg@10": value} for step, value in history.quality],
        }


def write_result(
    directory: Path, model: Any, recipe: Recipe, run: RunDirectory, examples: TrainingSet, report: TrainingReport
) -> None:
    """Writes the result of a run into an empty directory."""
    model.save_pretrained(str(directory), safe_serialization=True)
    append_results(
        directory / "README.md",
        recipe,
        report.history,
        {each.eval_set.name: each.comparison for each in report.all_measured},
        report.verdict.sentence if report.verdict else None,
    )
    if report.calibration:
        write_calibration(report.calibration, directory)
    page = _page(model, recipe, examples, report)
    write_report(directory, page)
    if run.curves.is_dir():
        shutil.copytree(run.curves, directory / _CURVES)
    (directory / RECIPE_FILE).write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)), "utf-8")
    metrics = {
        "recipe": recipe.name,
        "base": recipe.base,
        "device": device_name(),
        "tools": {tool: version(tool) for tool in _TOOLS},
        **{key: value for key, value in report.to_json().items() if key != "directory"},
        "report": report_json(page),
    }
    (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def _page(model: Any, recipe: Recipe, examples: TrainingSet, report: TrainingReport) -> ReportInput:
    history, measured, calibration = report.history, report.measured, report.calibration
    facts = {
        "base": Path(recipe.base).name if Path(recipe.base).is_dir() else recipe.base,
        "training set": f"{report.training_set_pairs:,} pairs",
        "loss": recipe.loss.name,
        "steps": f"{history.steps:,}",
        "pairs seen": f"{history.pairs_seen:,}",
        "time": f"{history.seconds:,.0f} s",
        "precision": f"{history.precision} on {device_name()}",
    }
    return ReportInput(
        name=recipe.name,
        verdict=f"{report.verdict.sentence}." if report.verdict else "It was not evaluated: nothing could be held out.",
        facts=facts,
        losses=history.losses,
        quality=history.quality,
        lengths=_token_lengths(model, examples, recipe.seed),
        max_length=recipe.max_length,
        evaluation=measured.comparison if measured else None,
        judged=measured.eval_set if measured else None,
        tuned=measured.tuned if measured else None,
        untuned=measured.baselines.scores.get(measured.baselines.reference) if measured else None,
        reference=measured.baselines.reference if measured else None,
        calibration={"before": calibration.bins.before, "after": calibration.bins.after} if calibration else {},
    )


def _token_lengths(model: Any, examples: TrainingSet, seed: int) -> NDArray[np.int64]:
    """Tokens of the pairs of some rows, before truncation."""
    rows = random.Random(seed).sample(range(len(examples.dataset)), min(_MEASURED_ROWS, len(examples.dataset)))
    pairs = [pair for row in rows for pair in pairs_of(examples.dataset[row])]
    encoded = model.tokenizer(pairs, truncation=False, verbose=False, return_attention_mask=False)["input_ids"]
    return np.array([len(ids) for ids in encoded], dtype=np.int64)
