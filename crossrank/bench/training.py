"""Training beside sentence-transformers' own trainer: the same model, loss, rows and batch size, in turns."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import PrinterCallback

from crossrank.bench.alternate import ratio
from crossrank.bench.result import Result, Speed, new_result
from crossrank.errors import UsageError
from crossrank.train.collect import collect
from crossrank.train.fit.base import open_base, usable_precision
from crossrank.train.fit.fine_tune import fine_tune
from crossrank.train.fit.losses import make_loss
from crossrank.train.materialise import TrainingSet, materialise, open_training_set
from crossrank.train.recipe import Recipe
from crossrank.train.run_directory import RunDirectory

BASELINE = "sentence-transformers, its defaults"


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What is measured.

    Attributes:
        rows: of the training set, drawn by the recipe's seed; each turn is one epoch over them.
        alternations: turns that count; one before them warms up.
    """

    rows: int = 512
    alternations: int = 5


def bench_training(
    recipe: Recipe, options: TrainingOptions, progress: Callable[[str], None] = lambda step: None
) -> Result:
    """Measures pairs a second of a recipe, in fp32 and as it says, and of the trainer that it stands on.

    Raises:
        UsageError: the recipe or its data cannot be used.
        InvalidData: a line of the data is at fault.
        KeyboardInterrupt: it was stopped before the first turn that counts had ended.
    """
    if recipe.loss.uses_batch:
        raise UsageError(f"loss.name {recipe.loss.name} needs its own sampler, so batches of like length are not used")
    training = {"num_train_epochs": 1.0, "max_steps": -1, "report_to": "none", "save_steps": 10**9, "eval_steps": None}
    # The trainer that it is compared with knows one length only.
    lengths = {"max_length": recipe.learning_length, "training_max_length": None}
    own = recipe.model_copy(update={"training": recipe.training.model_copy(update=training), **lengths})
    plain = own.model_copy(update={"training": own.training.model_copy(update={"bf16": False, "fp16": False})})
    contestants: dict[str, Callable[[Any, TrainingSet, Path], None]] = {
        BASELINE: lambda model, learnt, scratch: _baseline(model, learnt, plain, scratch),
        "crossrank, fp32": lambda model, learnt, scratch: _ours(model, learnt, plain, scratch),
    }
    precision = usable_precision(own.training)
    if precision != "fp32":
        contestants[f"crossrank, {precision}"] = lambda model, learnt, scratch: _ours(model, learnt, own, scratch)
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    interrupted = False
    with tempfile.TemporaryDirectory() as scratch:
        learnt = _rows(recipe, options.rows, Path(scratch) / "data")
        model = open_base(own)
        for turn in range(options.alternations + 1):
            measured: dict[str, float] = {}
            try:
                for name, contestant in contestants.items():
                    progress(f"turn {turn} of {options.alternations}: {name}" if turn else f"warm up: {name}")
                    with tempfile.TemporaryDirectory(dir=scratch) as place:
                        started = time.perf_counter()
                        contestant(model, learnt, Path(place))
                        measured[name] = learnt.pairs / (time.perf_counter() - started)
            except KeyboardInterrupt:
                if turn < 2:
                    raise
                interrupted = True
                break
            if turn:
                for name, speed in measured.items():
                    speeds[name].append(speed)
    return new_result(
        "training",
        {
            **asdict(options),
            "recipe": recipe.name,
            "loss": recipe.loss.name,
            "batch": recipe.training.per_device_train_batch_size,
            "max_length": own.max_length,
            "pairs": learnt.pairs,
        },
        speeds=[
            Speed(
                name=name,
                concurrency=1,
                pairs_per_second=values,
                median=median(values),
                baseline=BASELINE,
                ratio=ratio(values, speeds[BASELINE]),
                kendall_tau=None,
                top_1=None,
                loss={},
            )
            for name, values in speeds.items()
        ],
        interrupted=interrupted,
    )


def _rows(recipe: Recipe, rows: int, directory: Path) -> TrainingSet:
    """Some rows of a recipe's data."""
    # What the labels are does not change the speed, so a teacher need not score.
    relabel = iter if recipe.distillation.teacher else None
    materialise(collect(recipe, directory / "collected"), recipe.loss, directory, relabel=relabel)
    whole = open_training_set(directory, recipe.seed)
    some = whole.dataset.shuffle(seed=recipe.seed).select(range(min(rows, len(whole.dataset)))).flatten_indices()
    return TrainingSet(some, round(whole.pairs * len(some) / len(whole.dataset)), whole.useless)


def _ours(model: Any, learnt: TrainingSet, recipe: Recipe, scratch: Path) -> None:
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
