"""Training, step by step: data, base, the orders before, fine-tune, evaluate, judge, write."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from judgements.errors import JudgementsError
from judgements.examples import grouped
from judgements.metrics import evaluate, mean
from judgements.text_files import write_json
from judgements.trec_run import ranking_from_scores
from serve.calibration import Calibration
from serve.errors import UsageError
from serve.swap import new_directory
from train import processes
from train.base import open_base, usable_precision
from train.calibration import fit_calibration
from train.cross_validation import cross_validate
from train.dataset import TrainingSet, is_training_set, open_training_set, write_training_set
from train.fine_tune import Progress, fine_tune
from train.held_out import HeldOut, Measured, from_examples, hold_out, measure, open_held_out
from train.model_card import describe
from train.orders import predict, score_candidates
from train.recipe import Recipe
from train.result import TrainingReport, write_result
from train.run_directory import RunDirectory, open_run
from train.screening import Screen, Screening
from train.sources import examples_of, has_few_queries
from train.teacher import CACHE_FILE, Teacher
from train.verdict import MEASURE, judge

_SCREENING_FILE = "screening.json"
_CROSS_VALIDATION_FILE = "cross-validation.json"

Step = Callable[[str], None]


def train(
    recipe: Recipe,
    out: Path,
    *,
    force: bool = False,
    stop_after: float | None = None,
    step: Step = lambda name: None,
    progress: Progress = lambda number, steps, loss, quality: None,
) -> TrainingReport | None:
    """Runs a recipe and writes a directory that sentence-transformers opens.

    Beside the model it holds a model card, the resolved recipe (`recipe.toml`), `metrics.json`, `report.html`, plots
    and TensorBoard's `runs/`. A run that was stopped or killed goes on from its last checkpoint.

    Args:
        recipe: see `train.recipe_files.load_recipe`.
        out: the directory to write.
        force: whether an existing one, or another run that was not finished, is replaced.
        stop_after: seconds of training after which the run stops, to be gone on with.
        step: called with the name of each step as it begins, and with what should be known of the data.
        progress: called while the model learns.

    Returns:
        What it gave; None in all but the first of several processes.

    Raises:
        Stopped: it was stopped before its end.
        UsageError: the recipe, its data or the target cannot be used.
        judgements.errors.JudgementsError: a line of the data is at fault.
    """
    if not processes.is_first():
        processes.wait_for_all()
        run = open_run(out, recipe, force=False)
        fine_tune(open_base(recipe), open_training_set(run.data, recipe.seed), recipe, run)
        return None
    if processes.count() > 1 and stop_after:
        raise UsageError("several processes cannot be stopped by the clock; leave --stop-after out")
    if processes.count() > 1 and not recipe.data.dev and not _holds_out(recipe) and _cross_validates(recipe):
        raise UsageError("cross-validation is for one process; name data.dev, or set evaluation.without_dev")
    with new_directory(out, force=force) as directory:
        run = open_run(out, recipe, force=force)
        try:
            report = _run(recipe, out, run, directory, stop_after, step, progress)
        except Exception:
            if run.checkpoint() is None:
                run.remove()  # there is nothing to go on from
            raise
    run.remove()
    return report


def _run(
    recipe: Recipe,
    out: Path,
    run: RunDirectory,
    directory: Path,
    stop_after: float | None,
    step: Step,
    progress: Progress,
) -> TrainingReport:
    step("read the judgements")
    dev, guards = _held_out(recipe)
    held_out = [*([dev] if dev else []), *guards]
    if len({held.name for held in held_out}) < len(held_out):
        raise UsageError("two sets that are held out have one name, by which reports go; rename one")
    teacher = _teacher(recipe, out)
    screening = _prepare(recipe, run, held_out, teacher, step)
    examples = open_training_set(run.data, recipe.seed)
    _check(examples, recipe, step)
    measured = None if dev or not _cross_validates(recipe) else _cross_validated(recipe, run, guards, teacher, step)
    step(f"open {recipe.base}")
    model = open_base(recipe)
    describe(model, recipe)
    for held in held_out:
        step(f"order {held.name} without training")
        held.order_before(model, recipe.base, run.path / f"before-{held.name}.json")
    step(f"train on {examples.pairs} pairs, {usable_precision(recipe.training)}")
    processes.wait_for_all()
    look = partial(_quality, dev, model) if dev and recipe.training.eval_steps else None
    history = fine_tune(model, examples, recipe, run, progress=progress, look=look, stop_after=stop_after)
    if held_out:
        step("order what is held out with the tuned model")
    measured = _measured(dev, model) if dev else measured
    others = [_measured(guard, model) for guard in guards]
    verdict = None
    if measured:
        verdict = judge(
            measured.evaluation,
            measured.held_out.reference,
            level=recipe.evaluation.level,
            folds=measured.folds,
            guards={other.held_out.name: (other.evaluation, other.held_out.reference) for other in others},
        )
    calibration = _calibration(recipe, measured, step)
    step("write the model")
    report = TrainingReport(out, examples.pairs, screening, history, measured, others, verdict, calibration)
    write_result(directory, model, recipe, run, examples, report)
    return report


def _held_out(recipe: Recipe) -> tuple[HeldOut | None, list[HeldOut]]:
    """The set that the verdict is on, where it is not found by cross-validation, and the guards."""
    limit = recipe.evaluation.max_queries
    guards = [open_held_out(path, limit, recipe.seed) for path in recipe.data.guard]
    if recipe.data.dev:
        return open_held_out(recipe.data.dev, limit, recipe.seed), guards
    if not _holds_out(recipe):
        return None, guards
    screen = Screen(recipe.data, [guard.judged for guard in guards])
    examples = chain.from_iterable(examples_of(source, recipe, screen) for source in recipe.data.train)
    return hold_out(examples, limit, recipe.seed), guards


def _holds_out(recipe: Recipe) -> bool:
    """Whether a fifth of the queries is held out, where there is no dev set."""
    wanted = recipe.evaluation
    if wanted.without_dev == "auto":
        return not has_few_queries(recipe, wanted.cross_validate_below)
    return wanted.without_dev == "hold_out"


def _cross_validates(recipe: Recipe) -> bool:
    """Whether the verdict comes from folds, where nothing is held out."""
    return recipe.evaluation.without_dev != "none"


def _teacher(recipe: Recipe, out: Path) -> Teacher | None:
    wanted = recipe.distillation
    if wanted.teacher is None:
        return None
    return Teacher(wanted, wanted.cache or out.resolve().parent / CACHE_FILE, recipe.max_length)


def _prepare(
    recipe: Recipe, run: RunDirectory, held_out: list[HeldOut], teacher: Teacher | None, step: Step
) -> Screening:
    """Screens the training data and writes them for the loss, where an earlier start has not done so."""
    kept = run.path / _SCREENING_FILE
    if is_training_set(run.data) and kept.is_file():
        return Screening(**json.loads(kept.read_text(encoding="utf-8")))
    screen = Screen(recipe.data, [held.judged for held in held_out])
    parts = (
        (source.weight, teacher.relabel(examples) if teacher else examples)
        for source in recipe.data.train
        for examples in (examples_of(source, recipe, screen),)
    )
    try:
        write_training_set(parts, recipe.loss, run.data, scored=teacher is not None)
    except (UsageError, JudgementsError):
        screen.check(nothing_left=True)
        raise
    screen.check()
    write_json(kept, asdict(screen.found))
    for sentence in screen.found.sentences():
        step(sentence)
    return screen.found


def _check(examples: TrainingSet, recipe: Recipe, step: Step) -> None:
    """Says what was left out of the training set, and ends where the recipe does not want that."""
    if examples.contradicting and recipe.data.bad_rows == "refuse":
        raise UsageError(
            f"data.train: {examples.contradicting} rows give a query and document of an earlier row another label; "
            "keep the right ones, or go on with the first ones by data.bad_rows=skip"
        )
    for count, what in (
        (examples.contradicting, "rows contradict the label of an earlier one and were left out"),
        (examples.repeated, "rows repeat an earlier one and were left out"),
        (examples.useless, "lists without a difference, or relevant documents without a negative, were left out"),
    ):
        if count:
            step(f"{count} {what}")


def _cross_validated(
    recipe: Recipe, run: RunDirectory, guards: list[HeldOut], teacher: Teacher | None, step: Step
) -> Measured | None:
    screen = Screen(recipe.data, [guard.judged for guard in guards])
    found = chain.from_iterable(examples_of(source, recipe, screen) for source in recipe.data.train)
    try:
        examples = grouped(found)
        held_out = from_examples("cross-validation", examples)
    except (UsageError, JudgementsError) as error:
        step(f"not cross-validated: {error}")
        return None
    kept = run.path / _CROSS_VALIDATION_FILE
    if kept.is_file():
        told = json.loads(kept.read_text(encoding="utf-8"))
    else:
        relabel = teacher.relabel if teacher else lambda examples: examples
        scores, folds = cross_validate(recipe, examples, held_out, relabel, step)
        told = {"scores": scores, "folds": folds}
        write_json(kept, told)
    held_out.order_before(open_base(recipe), recipe.base, run.path / f"before-{held_out.name}.json")
    return measure(held_out, told["scores"], folds=told["folds"])


def _calibration(recipe: Recipe, measured: Measured | None, step: Step) -> Calibration | None:
    method = recipe.calibration.method
    if method == "none" or measured is None:
        return None
    scores, labels, query_ids = measured.labelled_scores()
    try:
        return fit_calibration(np.array(scores, dtype=np.float32), np.array(labels), query_ids, method)
    except UsageError as error:
        step(f"not calibrated: {error}")
        return None


def _quality(held_out: HeldOut, model: Any) -> float:
    model.eval()
    scores = score_candidates(held_out.judged, held_out.candidates, partial(predict, model))
    model.train()
    return mean(evaluate(held_out.judged.qrels, ranking_from_scores(scores), [MEASURE])[MEASURE])


def _measured(held_out: HeldOut, model: Any) -> Measured:
    return measure(held_out, score_candidates(held_out.judged, held_out.candidates, partial(predict, model)))
