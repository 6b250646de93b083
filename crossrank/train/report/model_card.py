"""The model card: sentence-transformers writes base, data, loss, hyperparameters and usage; we add what came out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.metrics import MEASURES
from crossrank.evaluation.systems import label
from crossrank.models.packaged import PACKAGED_BASE, PACKAGED_HUB_ID
from crossrank.train.fit.fine_tune import History
from crossrank.train.recipe import Recipe

_HEADING = "## Training Details"


def describe(model: Any, recipe: Recipe) -> None:
    """Fills in what sentence-transformers cannot know, before training."""
    card = model.model_card_data
    card.model_name = recipe.name
    card.generate_widget_examples = False
    # The card links its base on the hub: right for an id, wrong for a directory or for the packaged base's own name.
    local = Path(recipe.base).is_dir()
    card.base_model = None if local else PACKAGED_HUB_ID if recipe.base == PACKAGED_BASE else recipe.base
    card.base_model_revision = None


def append_results(
    card: Path,
    recipe: Recipe,
    history: History,
    evaluations: Mapping[str, SystemComparison],
    verdict: str | None,
) -> None:
    """Puts the run, its evaluations by name and its verdict before the card's training details."""
    text = card.read_text(encoding="utf-8")
    before, heading, after = text.partition(_HEADING)
    section = "\n".join(_section(recipe, history, evaluations, verdict))
    card.write_text(f"{before}{section}\n\n{heading}{after}", encoding="utf-8")


def _section(
    recipe: Recipe, history: History, evaluations: Mapping[str, SystemComparison], verdict: str | None
) -> list[str]:
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
        f"Verdict: {verdict}." if verdict else "It was not evaluated: nothing could be held out.",
    ]
    for name, evaluation in evaluations.items():
        first = evaluation.first
        lines += [
            "",
            f"### {name}",
            "",
            f"{evaluation.queries} held-out queries; {evaluation.recall:.1%} of the relevant documents are among the "
            "candidates, which are the same for every system. Differences are paired, with 95% bootstrap intervals.",
            "",
            f"| system | {' | '.join(MEASURES)} | Δ nDCG@10 of {label(first)} |",
            "|---|" + "---:|" * (len(MEASURES) + 1),
        ]
        for system in evaluation.per_query:
            gap = "" if system == first else str(evaluation.difference(first, system))
            lines.append(f"| {label(system)} | {_cells(evaluation.means(system))} | {gap} |")
    return [*lines, "", "![nDCG@10](ndcg.png)"] if verdict else lines


def _cells(means: Mapping[str, float]) -> str:
    return " | ".join(f"{means[measure]:.3f}" for measure in MEASURES)
