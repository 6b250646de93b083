"""The training run itself: rows and a base in, a trained cross-encoder and its history out."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import PrinterCallback, TrainerCallback

from judgements.rows import Row
from serve.errors import UsageError
from train.base import Precision, usable_precision
from train.batches import LengthGroupedBatchSampler
from train.losses import make_loss
from train.recipe import Recipe

# (step, steps, mean loss since the last report)
Progress = Callable[[int, int, float], None]


@dataclass(slots=True)
class History:
    """How a run went.

    Attributes:
        steps: optimiser steps.
        seconds: wall-clock time of training.
        pairs: pairs trained on, each as often as it was seen.
        precision: what the run was computed in.
        losses: (step, mean loss since the entry before, learning rate applied at that step).
    """

    steps: int = 0
    seconds: float = 0.0
    pairs: int = 0
    precision: Precision = "fp32"
    losses: list[tuple[int, float, float]] = field(default_factory=list)


def fine_tune(model: Any, rows: Sequence[Row], recipe: Recipe, progress: Progress) -> History:
    """Trains `model` in place with `CrossEncoderTrainer`.

    Args:
        model: a `CrossEncoder`.
        rows: labels in [0, 1].
        recipe: loss, hyperparameters and seed.
        progress: called at the first step and then every `logging_steps`.

    Returns:
        What was done.

    Raises:
        UsageError: the loss or a weight became NaN or infinite.
    """
    wanted = recipe.training
    dataset = Dataset.from_dict(
        {
            "query": [row.query for row in rows],
            "document": [row.document for row in rows],
            "label": [row.label for row in rows],
        }
    )
    history = History(precision=usable_precision(wanted))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = CrossEncoderTrainingArguments(
            output_dir=scratch,
            **wanted.model_dump(exclude={"fp16", "bf16"}),
            fp16=history.precision == "fp16",
            bf16=history.precision == "bf16",
            use_cpu=not torch.cuda.is_available(),
            seed=recipe.seed,
            batch_sampler=LengthGroupedBatchSampler,
            logging_first_step=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = CrossEncoderTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            loss=make_loss(model, recipe.loss),
            callbacks=[_Recorder(history, progress)],
        )
        trainer.remove_callback(PrinterCallback)
        started = time.monotonic()
        trainer.train()
        history.seconds = time.monotonic() - started
        history.steps = trainer.state.global_step
    finite = all(math.isfinite(loss) for _, loss, _ in history.losses)
    if not (finite and all(bool(torch.isfinite(weight).all()) for weight in model.parameters())):
        raise UsageError("the training diverged to NaN or infinity; lower training.learning_rate, or train in fp32")
    batch = wanted.per_device_train_batch_size * wanted.gradient_accumulation_steps
    history.pairs = min(history.steps * batch, round(len(rows) * trainer.state.epoch))
    model.eval()
    return history


class _Recorder(TrainerCallback):
    def __init__(self, history: History, progress: Progress) -> None:
        self._history = history
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **others: Any) -> None:
        if logs and "loss" in logs:
            self._history.losses.append((state.global_step, logs["loss"], logs["learning_rate"]))
            self._progress(state.global_step, state.max_steps, logs["loss"])
