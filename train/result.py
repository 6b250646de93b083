"""What a finished run leaves: the model, its card, its figures, its plots."""

import json
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from train.base import device_name
from train.dataset import TrainingSet
from train.fine_tune import History
from train.held_out import Measured
from train.model_card import append_results
from train.plots import plot_loss, plot_quality
from train.recipe import Recipe
from train.run_directory import RunDirectory
from train.screening import Screening
from train.verdict import Verdict

RECIPE_FILE = "recipe.toml"
METRICS_FILE = "metrics.json"

_CURVES = "runs"
_TOOLS = ("crossrank", "torch", "transformers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a run gave.

    Attributes:
        directory: the result.
        pairs: (query, document) in the training set.
        screening: what was found in the data.
        history: how the training went.
        measured: on what the verdict rests; None where nothing could be held out.
        guards: the sets on which it must not get worse.
        verdict: whether it helped; None where nothing was measured.
    """

    directory: Path
    pairs: int
    screening: Screening
    history: History
    measured: Measured | None
    guards: list[Measured]
    verdict: Verdict | None

    @property
    def all_measured(self) -> list[Measured]:
        """The measured sets, the verdict's first."""
        return [*([self.measured] if self.measured else []), *self.guards]

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        history = self.history
        return {
            "directory": str(self.directory),
            "verdict": self.verdict.to_json() if self.verdict else None,
            "evaluation": self.measured.evaluation.to_json() if self.measured else None,
            "guards": {guard.held_out.name: guard.evaluation.to_json() for guard in self.guards},
            "rows": self.pairs,
            "screening": asdict(self.screening),
            "steps": history.steps,
            "pairs": history.pairs,
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
    evaluation = report.measured.evaluation if report.measured else None
    append_results(
        directory / "README.md",
        recipe,
        report.history,
        {each.held_out.name: each.evaluation for each in report.all_measured},
        report.verdict.sentence if report.verdict else None,
    )
    plot_loss(report.history, directory / "loss.png")
    if evaluation:
        plot_quality(evaluation, directory / "ndcg.png")
    if run.curves.is_dir():
        shutil.copytree(run.curves, directory / _CURVES)
    (directory / RECIPE_FILE).write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)), "utf-8")
    metrics = {
        "recipe": recipe.name,
        "base": recipe.base,
        "device": device_name(),
        "tools": {tool: version(tool) for tool in _TOOLS},
        **{key: value for key, value in report.to_json().items() if key != "directory"},
    }
    (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
