"""Training, step by step: data, base, the orders before, fine-tune, evaluate, judge, write."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from crossrank.atomic import replace_directory
from crossrank.data.examples import grouped
from crossrank.data.trec import ranking_from_scores
from crossrank.errors import UsageError
from crossrank.evaluation.baselines import score_candidates
from crossrank.evaluation.compare import MEASURE
from crossrank.evaluation.held_out import HeldOut, Measured, from_examples, measure
from crossrank.evaluation.metrics import evaluate, mean
from crossrank.evaluation.verdict import judge
from crossrank.inference.calibration import Calibration
from crossrank.models.cross_encoder import predict
from crossrank.train.calibration import fit_calibration
from crossrank.train.dataset import open_training_set
from crossrank.train.fit.base import open_base, usable_precision
from crossrank.train.fit.cross_validation import cross_validate
from crossrank.train.fit.distributed import barrier, is_main_process, world_size
from crossrank.train.fit.fine_tune import Progress, fine_tune
from crossrank.train.preparation import Basis, Step, basis_of, open_held_out_sets, open_teacher, prepare
from crossrank.train.recipe import Recipe
from crossrank.train.report.model_card import describe
from crossrank.train.report.write import TrainingReport, write_result
from crossrank.train.run_directory import RunDirectory, open_run, run_of
from crossrank.train.screening import Screen
from crossrank.train.sources import examples_of
from crossrank.train.teacher import Teacher

_CROSS_VALIDATION_FILE = "cross-validation.json"


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
        recipe: see `crossrank.train.recipe_files.load_recipe`.
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
        InvalidData: a line of the data is at fault.
    """
    if not is_main_process():
        barrier()
        run = run_of(out)
        fine_tune(open_base(recipe), open_training_set(run.data, recipe.seed), recipe, run)
        return None
    if world_size() > 1 and stop_after:
        raise UsageError("several processes cannot be stopped by the clock; leave --stop-after out")
    basis = basis_of(recipe)
    if world_size() > 1 and basis == "cross_validation":
        raise UsageError("cross-validation is for one process; name data.dev, or set evaluation.without_dev")
    with replace_directory(out, force=force) as directory, open_run(out, recipe, force=force) as run:
        try:
            report = _run(recipe, out, basis, run, directory, stop_after, step, progress)
        except UsageError:
            if run.checkpoint() is None:
                run.remove()  # there is nothing to go on from
            raise
    run.remove()
    return report


def _run(
    recipe: Recipe,
    out: Path,
    basis: Basis,
    run: RunDirectory,
    directory: Path,
    stop_after: float | None,
    step: Step,
    progress: Progress,
) -> TrainingReport:
    dev, guards = open_held_out_sets(recipe, basis, step)
    held_out = [*([dev] if dev else []), *guards]
    teacher = open_teacher(recipe, out)
    examples, screening = prepare(recipe, run, dev, guards, teacher, step)
    measured = _cross_validated(recipe, run, guards, teacher, step) if basis == "cross_validation" else None
    step(f"open {recipe.base}")
    model = open_base(recipe)
    describe(model, recipe)
    for held in held_out:
        step(f"order {held.name} without training")
        held.order_before(model, recipe, run.path / f"before-{held.name}.json", teacher)
    step(f"train on {examples.pairs} pairs, {usable_precision(recipe.training)}")
    barrier()
    evaluated = partial(_quality, dev, model) if dev and recipe.training.eval_steps else None
    history = fine_tune(model, examples, recipe, run, progress=progress, evaluate=evaluated, stop_after=stop_after)
    measured = _measured(dev, model, step) if dev else measured
    others = [_measured(guard, model, step) for guard in guards]
    verdict = None
    if measured:
        verdict = judge(
            measured.evaluation,
            measured.held_out.reference,
            folds=measured.folds,
            guards={other.held_out.name: (other.evaluation, other.held_out.reference) for other in others},
        )
    calibration = _calibration(recipe, measured, step)
    step("write the model")
    report = TrainingReport(out, examples.pairs, screening, history, measured, others, verdict, calibration)
    write_result(directory, model, recipe, run, examples, report)
    return report


def _cross_validated(
    recipe: Recipe, run: RunDirectory, guards: list[HeldOut], teacher: Teacher | None, step: Step
) -> Measured | None:
    screen = Screen(recipe.data, [guard.judged for guard in guards])
    parts = [(source.weight, list(examples_of(source, recipe, screen))) for source in recipe.data.train]
    # What contradicts an earlier row has been said, and left out, by now.
    examples = grouped(chain.from_iterable(part for _, part in parts), on_bad=lambda error: None)
    try:
        held_out = from_examples("cross-validation", examples, recipe.evaluation.max_queries, recipe.seed)
    except UsageError as error:
        step(f"not cross-validated: {error}")
        return None
    relabel = teacher.relabel if teacher else None
    scores, folds = cross_validate(recipe, parts, held_out, run.path / _CROSS_VALIDATION_FILE, relabel, step)
    held_out.order_before(open_base(recipe), recipe, run.path / f"before-{held_out.name}.json", teacher)
    return measure(held_out, scores, folds=folds)


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


def _measured(held_out: HeldOut, model: Any, step: Step) -> Measured:
    step(f"order {held_out.name} with the tuned model")
    return measure(held_out, score_candidates(held_out.judged, held_out.candidates, partial(predict, model)))
