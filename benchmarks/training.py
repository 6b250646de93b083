"""`python -m benchmarks.training RECIPE`: training next to sentence-transformers' own trainer.

Both train the same model with the same loss, rows and batch size, in interleaved rounds.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import PrinterCallback

from benchmarks.commands import run_command
from benchmarks.interleave import interleave
from benchmarks.results import TrainingResult, section_of, speeds_of
from crossrank.bench.results import this_run
from crossrank.cli.commands.bench import AsJson, Out, deliver
from crossrank.errors import UsageError
from crossrank.train.collect import collect
from crossrank.train.fit.base import open_base
from crossrank.train.fit.fine_tune import fine_tune
from crossrank.train.fit.losses import make_loss
from crossrank.train.fit.precision import usable_precision
from crossrank.train.materialise import TrainingSet, materialise, open_training_set
from crossrank.train.recipe import Recipe
from crossrank.train.recipe_files import load_recipe
from crossrank.train.run_directory import RunDirectory

BASELINE = "sentence-transformers, its defaults"


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What is measured.

    Attributes:
        rows: number of rows of the training set, drawn by the recipe's seed; each round is one epoch over them.
        rounds: that are measured.
    """

    rows: int = 512
    rounds: int = 5


def bench_training(recipe: Recipe, options: TrainingOptions) -> TrainingResult:
    """Measures pairs a second of a recipe, in fp32 and at its own precision, and of the trainer that it builds on.

    Raises:
        UsageError: the recipe or its data cannot be used.
        InvalidData: a line of the data is invalid.
        KeyboardInterrupt: it was stopped before the first measured round had ended.
    """
    if recipe.loss.uses_batch:
        raise UsageError(f"loss.name {recipe.loss.name} needs its own sampler, so batches of like length are not used")
    training = {"num_train_epochs": 1.0, "max_steps": -1, "report_to": "none", "save_steps": 10**9, "eval_steps": None}
    # The trainer that it is compared with knows one length only.
    lengths = {"max_length": recipe.learning_length, "training_max_length": None}
    own = recipe.model_copy(update={"training": recipe.training.model_copy(update=training), **lengths})
    plain = own.model_copy(update={"training": own.training.model_copy(update={"bf16": False, "fp16": False})})
    with tempfile.TemporaryDirectory() as scratch:
        learnt = _rows(recipe, options.rows, Path(scratch) / "data")
        model = open_base(own)

        def epoch(train: Callable[[Any, TrainingSet, Recipe, Path], None], settings: Recipe) -> Callable[[], None]:
            def run() -> None:
                with tempfile.TemporaryDirectory(dir=scratch) as place:
                    train(model, learnt, settings, Path(place))

            return run

        trainers = {BASELINE: epoch(_baseline, plain), "crossrank, fp32": epoch(_crossrank, plain)}
        precision = usable_precision(own.training)
        if precision != "fp32":
            trainers[f"crossrank, {precision}"] = epoch(_crossrank, own)
        measured = interleave(trainers, options.rounds)
    settings = {
        **asdict(options),
        "recipe": recipe.name,
        "loss": recipe.loss.name,
        "batch": recipe.training.per_device_train_batch_size,
        "max_length": own.max_length,
        "pairs": learnt.pairs,
    }
    return TrainingResult(
        **this_run(settings),
        speeds=speeds_of(measured, learnt.pairs),
        failed=measured.failed,
        interrupted=measured.interrupted,
    )


def _rows(recipe: Recipe, rows: int, directory: Path) -> TrainingSet:
    """Some rows of a recipe's data."""
    # Labels do not change the speed, so a teacher need not score.
    relabel = iter if recipe.distillation.teacher else None
    materialise(collect(recipe, directory / "collected"), recipe.loss, directory, relabel=relabel)
    whole = open_training_set(directory, recipe.seed)
    some = whole.dataset.shuffle(seed=recipe.seed).select(range(min(rows, len(whole.dataset)))).flatten_indices()
    return TrainingSet(some, round(whole.pairs * len(some) / len(whole.dataset)), whole.useless)


def _crossrank(model: Any, learnt: TrainingSet, recipe: Recipe, scratch: Path) -> None:
    fine_tune(model, learnt, recipe, RunDirectory(scratch), resumable=False)


def _baseline(model: Any, learnt: TrainingSet, recipe: Recipe, scratch: Path) -> None:
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=str(scratch),
            per_device_train_batch_size=recipe.training.per_device_train_batch_size,
            num_train_epochs=1,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=learnt.dataset,
        loss=make_loss(model, recipe.loss),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def training(
    recipe: Annotated[Path, typer.Argument(help="TOML file of a recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
    ] = None,
    rows: Annotated[int, typer.Option(min=32, help="Number of rows; a round is one epoch over them.")] = 512,
    rounds: Annotated[int, typer.Option(min=2, help="Number of measured rounds.")] = 5,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure a recipe's pairs a second next to sentence-transformers' own trainer: same data, same batch size."""
    loaded, options = load_recipe(recipe, overrides or ()), TrainingOptions(rows, rounds)
    deliver(lambda: section_of(bench_training(loaded, options)), out, as_json)


if __name__ == "__main__":
    run_command(training)
