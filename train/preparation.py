"""What a run learns from and what it is judged on: read, screened, and written for the loss."""

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from judgements.errors import JudgementsError
from judgements.text_files import write_json
from serve.errors import UsageError
from train.dataset import TrainingSet, is_training_set, open_training_set, write_training_set
from train.held_out import HeldOut, hold_out, open_held_out
from train.recipe import Recipe
from train.run_directory import RunDirectory
from train.screening import Screen, Screening
from train.sources import examples_of, has_few_queries
from train.teacher import CACHE_FILE, Teacher

_SCREENING_FILE = "screening.json"

Step = Callable[[str], None]


def open_held_out_sets(recipe: Recipe, step: Step) -> tuple[HeldOut | None, list[HeldOut]]:
    """The set that the verdict is on, None where that is found by cross-validation or not at all, and the guards.

    Raises:
        UsageError: one of them cannot be used.
        judgements.errors.JudgementsError: a line is at fault.
    """
    limit = recipe.evaluation.max_queries
    guards = [open_held_out(path, limit, recipe.seed) for path in recipe.data.guard]
    dev = None
    if recipe.data.dev:
        dev = open_held_out(recipe.data.dev, limit, recipe.seed)
    elif _holds_out(recipe):
        screen = Screen(recipe.data, [guard.judged for guard in guards])
        examples = chain.from_iterable(examples_of(source, recipe, screen) for source in recipe.data.train)
        try:
            dev = hold_out(examples, limit, recipe.seed)
        except UsageError as error:
            step(f"nothing is held out: {error}")
    names = [held.name for held in ([dev] if dev else []) + guards]
    if len(set(names)) < len(names):
        raise UsageError("two sets that are held out have one name, by which reports go; rename one")
    return dev, guards


def _holds_out(recipe: Recipe) -> bool:
    """Whether a fifth of the queries is held out, where there is no dev set."""
    wanted = recipe.evaluation
    if wanted.without_dev == "auto":
        return not has_few_queries(recipe, wanted.cross_validate_below)
    return wanted.without_dev == "hold_out"


def cross_validates(recipe: Recipe) -> bool:
    """Whether the verdict comes from folds."""
    without = recipe.evaluation.without_dev
    return recipe.data.dev is None and without != "none" and not _holds_out(recipe)


def open_teacher(recipe: Recipe, out: Path) -> Teacher | None:
    """The teacher of a recipe, if it has one.

    Raises:
        UsageError: there is no such model, or its scores cannot be kept.
    """
    wanted = recipe.distillation
    if wanted.teacher is None:
        return None
    return Teacher(wanted, wanted.cache or out.resolve().parent / CACHE_FILE, recipe.max_length)


def prepare(
    recipe: Recipe,
    run: RunDirectory,
    dev: HeldOut | None,
    guards: list[HeldOut],
    teacher: Teacher | None,
    step: Step,
) -> tuple[TrainingSet, Screening]:
    """Screens the training data, writes them for the loss where an earlier start has not done so, and opens them.

    Args:
        recipe: names data and loss.
        run: where they go.
        dev: the set of the verdict, which must not be learnt, if there is one.
        guards: other sets that must not be learnt.
        teacher: gives the labels, if there is one.
        step: called with what should be known of the data.

    Raises:
        UsageError: the data cannot be used, or have faults that the recipe does not want.
        judgements.errors.JudgementsError: they are at fault as a whole.
    """
    # A dev set that the recipe does not name was cut out of the training data.
    cut_out = () if recipe.data.dev or dev is None else set(dev.judged.queries.values())
    screen = Screen(recipe.data, [held.judged for held in (*([dev] if dev else []), *guards)], cut_out)
    screening = _screened(recipe, run, screen, teacher, step)
    examples = open_training_set(run.data, recipe.seed)
    _check(examples, recipe, step)
    return examples, screening


def _screened(recipe: Recipe, run: RunDirectory, screen: Screen, teacher: Teacher | None, step: Step) -> Screening:
    kept = run.path / _SCREENING_FILE
    if is_training_set(run.data) and kept.is_file():
        return Screening(**json.loads(kept.read_text(encoding="utf-8")))
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
    # Judged sets may hold a text under two ids; only in rows is it somebody's slip.
    slips = sum(
        count
        for source, count in zip(recipe.data.train, examples.contradicting, strict=True)
        if source.path is None or source.path.is_file()
    )
    if slips and recipe.data.bad_rows == "refuse":
        raise UsageError(
            f"data.train: {slips} rows give a query and document of an earlier row another label; "
            "keep the right ones, or go on with the first ones by data.bad_rows=skip"
        )
    for count, what in (
        (sum(examples.contradicting), "rows contradict the label of an earlier one and were left out"),
        (examples.repeated, "rows repeat an earlier one and were left out"),
        (examples.useless, "lists without a difference, or relevant documents without a negative, were left out"),
    ):
        if count:
            step(f"{count} {what}")
