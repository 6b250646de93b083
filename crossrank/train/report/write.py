"""Writes the result of a training: the model, its card, its figures, its plots, and the page that shows them."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from crossrank.calibration.curves import write_calibration
from crossrank.evaluation.eval_result import METRICS_FILE, RECIPE_FILE
from crossrank.train.report.model_card import append_results
from crossrank.train.report.page import write_report
from crossrank.train.report.record import TrainingReport

_CURVES = "runs"
_TOOLS = ("crossrank", "torch", "transformers", "sentence-transformers")


def write_result(directory: Path, model: Any, report: TrainingReport, curves: Path) -> None:
    """Writes the result of a run into an empty directory.

    Args:
        directory: where it goes.
        model: the trained `CrossEncoder`.
        report: all that is known of the run.
        curves: a directory of TensorBoard's, which is copied where it exists.
    """
    recipe = report.recipe
    metrics = {
        "recipe": recipe.name,
        "base": recipe.base,
        "tools": {tool: version(tool) for tool in _TOOLS},
        **{key: value for key, value in report.to_json().items() if key != "directory"},
    }
    model.save_pretrained(str(directory), safe_serialization=True)
    append_results(directory / "README.md", report)
    if report.calibration:
        write_calibration(report.calibration, directory)
    if curves.is_dir():
        shutil.copytree(curves, directory / _CURVES)
    (directory / RECIPE_FILE).write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)), "utf-8")
    metrics["report"] = write_report(directory, report)
    (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
