"""Fine-tuning: a training set and a base in, a trained cross-encoder and its history out."""

import json
import logging
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import PrinterCallback, TrainerCallback

from crossrank.errors import CrossrankError, UsageError
from crossrank.progress import Progress
from crossrank.train.fit.losses import make_loss
from crossrank.train.fit.precision import Precision, device_name, usable_precision
from crossrank.train.fit.samplers import LengthGroupedBatchSampler
from crossrank.train.fit.tokenize_pairs import fast_preprocess
from crossrank.train.materialise import TrainingSet
from crossrank.train.recipe import Recipe
from crossrank.train.run_directory import ELAPSED_FILE, RunDirectory

QUALITY = "eval_ndcg@10"

# EX_TEMPFAIL of sysexits.h: try again, and it resumes.
_STOPPED = 75

LOG = logging.getLogger("crossrank.train")


class Stopped(CrossrankError):
    """The run was stopped before its end and can go on."""

    exit_code = _STOPPED


@dataclass(slots=True)
class History:
    """How a run went, the parts before a stop included.

    Attributes:
        steps: optimiser steps.
        seconds: wall-clock time of training.
        pairs_seen: pairs trained on, each as often as it was seen.
        precision: what the run was computed in.
        device: what it was computed on.
        losses: (step, mean loss since the entry before, learning rate applied at that step).
        quality: (step, nDCG@10 of the dev set).
    """

    steps: int = 0
    seconds: float = 0.0
    pairs_seen: int = 0
    precision: Precision = "fp32"
    device: str = ""
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    quality: list[tuple[int, float]] = field(default_factory=list)


def fine_tune(
    model: Any,
    examples: TrainingSet,
    recipe: Recipe,
    run: RunDirectory,
    *,
    resumable: bool = True,
    evaluate: Callable[[], float] | None = None,
    time_limit: float | None = None,
) -> History:
    """Trains `model` in place with `CrossEncoderTrainer`, from the run's last checkpoint where there is one.

    Args:
        model: a `CrossEncoder`.
        examples: in the shape that the recipe's loss takes.
        recipe: loss, hyperparameters and seed.
        run: where the checkpoints and TensorBoard's files go.
        resumable: whether there are checkpoints, and signals to stop at one; else there are no curves either.
        evaluate: gives nDCG@10 of the dev set; called every `eval_steps`.
        time_limit: seconds after which a checkpoint is written and the run stopped; SIGTERM and SIGINT do the same.
            Of several processes none can stop for all: there neither has an effect.

    Returns:
        What was done.

    Raises:
        Stopped: it was stopped; what it had learnt is in the run's directory.
        UsageError: the loss or a weight became NaN or infinite, or where the curves should go is not installed.
    """
    wanted = recipe.training
    report_to = wanted.report_to if resumable else "none"
    if report_to != "none" and not _is_installed(report_to):
        raise UsageError(f"training.report_to: {report_to} is not installed; install it, or choose none")
    precision, device = usable_precision(wanted), device_name()
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(run.path),
        **wanted.model_dump(exclude={"fp16", "bf16", "eval_steps", "report_to"}),
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        batch_sampler=BatchSamplers.NO_DUPLICATES if recipe.loss.uses_batch else LengthGroupedBatchSampler,
        logging_first_step=True,
        logging_dir=str(run.curves),
        run_name=recipe.name,
        save_strategy="steps" if resumable else "no",
        save_total_limit=2,
        report_to=report_to,
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
    )
    # Of several GPUs, one process uses one: what the losses ask of a model, DataParallel does not have.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    checkpoint = run.checkpoint()
    with Progress(LOG, "prepare the training"):
        trainer = CrossEncoderTrainer(
            model=model, args=arguments, train_dataset=examples.dataset, loss=make_loss(model, recipe.loss)
        )
    progress = Progress(LOG, f"train on {examples.pairs:,} pairs, {precision}")
    recorder = _Recorder(progress, trainer.log, evaluate, wanted.eval_steps, time_limit)
    trainer.add_callback(recorder)
    trainer.remove_callback(PrinterCallback)
    if checkpoint is not None:
        recorder.before = json.loads((checkpoint / ELAPSED_FILE).read_text(encoding="utf-8"))
    model.max_seq_length = recipe.learning_length
    stoppable = _signals(recorder) if resumable else nullcontext()
    with progress, stoppable, warnings.catch_warnings(), fast_preprocess(model):
        # Of transformers, on checkpoints written within a second: they are then ordered by their steps.
        warnings.filterwarnings("ignore", message="mtime may not be reliable")
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    model.max_seq_length = recipe.max_length
    state = trainer.state
    if state.global_step < state.max_steps:
        raise Stopped(f"stopped at step {state.global_step} of {state.max_steps}; the same command resumes there")
    history = History(steps=state.global_step, seconds=recorder.elapsed, precision=precision, device=device)
    for entry in state.log_history:
        if "loss" in entry:
            history.losses.append((entry["step"], entry["loss"], entry["learning_rate"]))
        if QUALITY in entry:
            history.quality.append((entry["step"], entry[QUALITY]))
    finite = all(math.isfinite(loss) for _, loss, _ in history.losses)
    if not (finite and all(bool(torch.isfinite(weight).all()) for weight in model.parameters())):
        run.remove()
        raise UsageError("the training diverged to NaN or infinity; lower training.learning_rate, or train in fp32")
    rows = len(examples.dataset)
    batch = wanted.per_device_train_batch_size * wanted.gradient_accumulation_steps * arguments.world_size
    history.pairs_seen = round(min(history.steps * batch, rows * state.epoch) * examples.pairs / rows)
    model.eval()
    return history


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # what is in sys.modules as None
        return False


class _Recorder(TrainerCallback):
    """Counts steps, evaluates on the dev set, and stops when it is time."""

    def __init__(
        self,
        progress: Progress,
        log: Callable[[dict[str, float]], None],
        evaluate: Callable[[], float] | None,
        every: int | None,
        time_limit: float | None,
    ) -> None:
        self.before = 0.0
        self.stopping = False
        self._progress, self._log = progress, log
        self._evaluate, self._every = evaluate, every
        self._time_limit = time_limit
        self._started = time.monotonic()
        self._quality: float | None = None

    @property
    def elapsed(self) -> float:
        return self.before + time.monotonic() - self._started

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **others: Any) -> None:
        if logs and "loss" in logs:
            self._progress.note = f"loss {logs['loss']:.4f}"
            if self._quality is not None:
                self._progress.note += f", nDCG@10 {self._quality:.3f}"
            self._progress.tell()

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._progress.resume(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._progress.advance()
        if self._evaluate and self._every and state.global_step % self._every == 0 and state.is_world_process_zero:
            self._quality = self._evaluate()
            due = control.should_log
            self._log({QUALITY: self._quality})
            control.should_log = due  # which the log above has taken for itself
        late = self._time_limit is not None and time.monotonic() - self._started > self._time_limit
        if (late or self.stopping) and args.world_size == 1 and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.is_world_process_zero:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / ELAPSED_FILE
            path.write_text(json.dumps(self.elapsed), encoding="utf-8")


@contextmanager
def _signals(recorder: _Recorder) -> Iterator[None]:
    """While training, SIGTERM and SIGINT ask for a checkpoint; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: Any) -> None:
        recorder.stopping = True
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
