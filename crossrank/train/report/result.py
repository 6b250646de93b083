"""Writes the result of a training: the model, its card, its figures, its plots, and the page that shows them.

The card is that of sentence-transformers, with base, data, loss, hyperparameters and usage; what came out is added.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from crossrank.calibration.curves import write_calibration
from crossrank.evaluation.eval_result import METRICS_FILE, RECIPE_FILE
from crossrank.reporting.tables import comparison_table
from crossrank.train.report.page import write_report
from crossrank.train.report.record import TrainingReport

_CURVES = "runs"
_HEADING = "## Training Details"
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
    _append_results(directory / "README.md", report)
    if report.calibration:
        write_calibration(report.calibration, directory)
    if curves.is_dir():
        shutil.copytree(curves, directory / _CURVES)
    (directory / RECIPE_FILE).write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)), "utf-8")
    metrics["report"] = write_report(directory, report)
    (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def _append_results(card: Path, report: TrainingReport) -> None:
    """Puts the run, its evaluations by name and its verdict before the card's training details."""
    text = card.read_text(encoding="utf-8")
    before, heading, after = text.partition(_HEADING)
    section = "\n".join(_section(report))
    card.write_text(f"{before}{section}\n\n{heading}{after}", encoding="utf-8")


def _section(report: TrainingReport) -> list[str]:
    recipe, history = report.recipe, report.history
    applied = [rate for _, _, rate in history.losses]
    lines = [
        "## Training Run",
        "",
        f"- Recipe: `{recipe.name}` (all of it in `recipe.toml`)",
        f"- Base: `{Path(recipe.base).name if Path(recipe.base).is_dir() else recipe.base}`",
        f"- Steps: {history.steps}, {history.pairs_seen} pairs in {history.seconds:.0f} s, {history.precision}",
        f"- Learning rate applied: {max(applied):.3g} at its highest, {applied[-1]:.3g} at the last report",
        f"- Loss: {history.losses[0][1]:.4f} at the first report, {history.losses[-1][1]:.4f} at the last",
        "",
        "![loss](loss.png)",
        "",
        "## Evaluation",
        "",
        f"Verdict: {report.conclusion}" if report.verdict else report.conclusion,
    ]
    for measured in report.all_measured:
        table = comparison_table(measured.comparison)
        lines += [
            "",
            f"### {measured.eval_set.name}",
            "",
            f"{table.title}. The candidates are the same for every system. Differences are paired, with 95% bootstrap "
            "intervals.",
            "",
            f"| {' | '.join(table.columns)} |",
            "|---|" + "---:|" * (len(table.columns) - 1),
            *(f"| {' | '.join(row)} |" for row in table.rows),
        ]
    return [*lines, "", "![nDCG@10](ndcg.png)"] if report.verdict else lines
