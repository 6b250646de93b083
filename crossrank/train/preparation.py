"""What a run learns from and what it is judged on: read, screened, and written for the loss."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

from crossrank.data.examples import Example
from crossrank.data.files import write_json
from crossrank.errors import UsageError
from crossrank.evaluation.held_out import HeldOut, hold_out, open_held_out
from crossrank.train.dataset import TrainingSet, is_training_set, open_training_set, write_training_set
from crossrank.train.recipe import Recipe
from crossrank.train.run_directory import RunDirectory
from crossrank.train.screening import Screen, Screening
from crossrank.train.sources import examples_of, has_few_queries
from crossrank.train.teacher import CACHE_FILE, Teacher

_SCREENING_FILE = "screening.json"

Step = Callable[[str], None]
Basis: TypeAlias = Literal["dev", "cross_validation", "hold_out", "none"]


def basis_of(recipe: Recipe) -> Basis:
    """What the verdict rests on; may read the data as far as it takes to see that the queries are many.

    Raises:
        UsageError: no such data.
        InvalidData: the data are at fault.
    """
    wanted = recipe.evaluation
    if recipe.data.dev:
        return "dev"
    if wanted.without_dev != "auto":
        return wanted.without_dev
    return "cross_validation" if has_few_queries(recipe, wanted.cross_validate_below) else "hold_out"


def open_held_out_sets(recipe: Recipe, basis: Basis, step: Step) -> tuple[HeldOut | None, list[HeldOut]]:
    """The set that the verdict is on, None where that is found by cross-validation or not at all, and the guards.

    Args:
        recipe: names the sets.
        basis: of the verdict.
        step: called where nothing can be held out.

    Raises:
        UsageError: one of them cannot be used.
        InvalidData: a line is at fault.
    """
    limit = recipe.evaluation.max_queries
    guards = [open_held_out(path, limit, recipe.seed) for path in recipe.data.guard]
    dev = None
    if recipe.data.dev:
        dev = open_held_out(recipe.data.dev, limit, recipe.seed)
    elif basis == "hold_out":
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


def open_teacher(recipe: Recipe, out: Path) -> Teacher | None:
    """The teacher of a recipe, if it has one.

    Raises:
        UsageError: there is no such model, or its scores cannot be kept.
    """
    wanted = recipe.distillation
    if wanted.teacher is None:
        return None
    return Teacher(wanted, wanted.cache or out.resolve().parent / CACHE_FILE, recipe.learning_length)


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
        InvalidData: they are at fault as a whole.
    """
    # A dev set that the recipe does not name was cut out of the training data.
    cut_out = () if recipe.data.dev or dev is None else set(dev.judged.queries.values())
    screen = Screen(recipe.data, [held.judged for held in (*([dev] if dev else []), *guards)], cut_out)
    screening = _screened(recipe, run, screen, teacher, step)
    examples = open_training_set(run.data, recipe.seed)
    if recipe.data.bad_rows == "refuse" and (slip := _repeated_row(recipe, screen, examples)) is not None:
        raise UsageError(slip)
    for count, what in (
        (sum(map(len, examples.repeated)), "rows repeat the query and document of an earlier one and were left out"),
        (examples.useless, "lists without a difference, or relevant documents without a negative, were left out"),
    ):
        if count:
            step(f"{count} {what}")
    return examples, screening


def _screened(recipe: Recipe, run: RunDirectory, screen: Screen, teacher: Teacher | None, step: Step) -> Screening:
    kept = run.path / _SCREENING_FILE
    if is_training_set(run.data) and kept.is_file():
        return Screening(**json.loads(kept.read_text(encoding="utf-8")))

    def parts() -> Iterator[tuple[float, Iterator[Example]]]:
        for source in recipe.data.train:
            step(f"read {source.dataset or source.path}")
            examples = examples_of(source, recipe, screen)
            yield source.weight, teacher.relabel(examples) if teacher else examples

    try:
        write_training_set(parts(), recipe.loss, run.data, scored=teacher is not None)
    except UsageError:
        screen.check(nothing_left=True)
        raise
    screen.check()
    write_json(kept, asdict(screen.found))
    for sentence in screen.found.sentences():
        step(sentence)
    return screen.found


def _repeated_row(recipe: Recipe, screen: Screen, examples: TrainingSet) -> str | None:
    """Quotes the first row that repeats another one; the data are read again for that.

    Only in rows is that somebody's slip: triples repeat their relevant document, and judged sets may hold a text under
    two ids.
    """

    def pairs() -> Iterator[tuple[Example, str, float]]:
        for source in recipe.data.train:
            for example in examples_of(source, recipe, screen):
                for document, label in zip(example.documents, example.labels, strict=True):
                    yield example, document, label

    places = set(chain.from_iterable(examples.repeated))
    if not places:
        return None
    slips = [found for place, found in enumerate(pairs()) if place in places and found[0].is_row]
    if not slips:
        return None
    example, document, label = slips[0]
    first, _, first_label = next(found for found in pairs() if (found[0].query, found[1]) == (example.query, document))
    advice = "drop one of the two" if label == first_label else "their labels contradict; keep the right one"
    rest = f" ({len(slips)} rows repeat earlier ones in all)" if len(slips) > 1 else ""
    return (
        f"{example.where}: the same query and document as {first.where}; {advice}{rest}; data.bad_rows=skip keeps the "
        "first ones"
    )
