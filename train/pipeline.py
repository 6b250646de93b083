"""Training, step by step: data, base, fine-tune, evaluate, write."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from judgements.judged_set import Candidates
from judgements.trec_run import Ranking
from serve.swap import new_directory
from train.base import device_name, is_bi_encoder, open_base, usable_precision
from train.data import dev_set, training_rows
from train.evaluate import METRICS_FILE, Evaluation, compare_systems
from train.fine_tune import History, Progress, fine_tune
from train.model_card import append_results, describe
from train.orders import first_stage, predict, rerank, untrained_orders
from train.plots import plot_loss, plot_quality
from train.recipe import Recipe

RECIPE_FILE = "recipe.toml"

_TOOLS = ("crossrank", "torch", "transformers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a run gave; `evaluation` is None where the recipe names no dev set."""

    directory: Path
    rows: int
    history: History
    evaluation: Evaluation | None


def train(
    recipe: Recipe,
    out: Path,
    *,
    force: bool = False,
    step: Callable[[str], None] = lambda name: None,
    progress: Progress = lambda number, steps, loss: None,
) -> TrainingReport:
    """Runs a recipe and writes a directory that sentence-transformers opens.

    Beside the model it holds a model card, the resolved recipe (`recipe.toml`), `metrics.json` and plots.

    Args:
        recipe: see `train.recipe.load_recipe`.
        out: the directory to write.
        force: whether an existing one is replaced.
        step: called with the name of each step as it begins.
        progress: called while the model learns.

    Raises:
        UsageError: the recipe, its data or the target cannot be used.
        judgements.errors.JudgementsError: a line of the data is at fault.
    """
    with new_directory(out, force=force) as directory:
        step("read the judgements")
        rows = training_rows(recipe)
        dev = dev_set(recipe.data.dev) if recipe.data.dev else None
        step(f"open {recipe.base}")
        model = open_base(recipe)
        describe(model, recipe)
        candidates: Candidates = {}
        before: dict[str, Ranking] = {}
        if dev:
            step("order the held-out candidates without training")
            bi_encoder = recipe.base if is_bi_encoder(recipe.base) else None
            candidates = dev.candidates or first_stage(dev, bi_encoder)
            before = untrained_orders(dev, candidates, bi_encoder)
            if not bi_encoder:
                before["base, untuned"] = rerank(dev, candidates, lambda pairs: predict(model, pairs))
        step(f"train on {len(rows)} pairs, {usable_precision(recipe.training)}")
        history = fine_tune(model, rows, recipe, progress)
        evaluation = None
        if dev:
            step("order them with the tuned model")
            tuned = rerank(dev, candidates, lambda pairs: predict(model, pairs))
            evaluation = compare_systems(dev, {"tuned": tuned, **before}, candidates)
        step("write the model")
        _write(directory, model, recipe, len(rows), history, evaluation)
    return TrainingReport(out, len(rows), history, evaluation)


def _write(
    directory: Path, model: Any, recipe: Recipe, rows: int, history: History, evaluation: Evaluation | None
) -> None:
    model.save_pretrained(str(directory), safe_serialization=True)
    append_results(directory / "README.md", recipe, history, evaluation)
    plot_loss(history, directory / "loss.png")
    if evaluation:
        plot_quality(evaluation, directory / "ndcg.png")
    (directory / RECIPE_FILE).write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)), "utf-8")
    metrics = {
        "recipe": recipe.name,
        "base": recipe.base,
        "device": device_name(),
        "tools": {tool: version(tool) for tool in _TOOLS},
        "rows": rows,
        "steps": history.steps,
        "pairs": history.pairs,
        "seconds": round(history.seconds, 1),
        "precision": history.precision,
        "losses": [{"step": step, "loss": loss, "learning_rate": rate} for step, loss, rate in history.losses],
        "evaluation": evaluation.to_json() if evaluation else None,
    }
    (directory / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
