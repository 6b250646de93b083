"""Cross-validation grouped by query: what a training on so little data does for queries that it has not seen."""

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from judgements.examples import Example
from judgements.near_duplicates import is_near_duplicate
from judgements.trec_run import Run
from serve.errors import UsageError
from train.base import open_base
from train.dataset import open_training_set, write_training_set
from train.fine_tune import fine_tune
from train.held_out import HeldOut
from train.orders import predict, score_candidates
from train.recipe import Recipe
from train.run_directory import RunDirectory

Relabel = Callable[[Iterable[Example]], Iterable[Example]]


def cross_validate(
    recipe: Recipe,
    examples: Sequence[Example],
    held_out: HeldOut,
    relabel: Relabel = lambda examples: examples,
    step: Callable[[str], None] = lambda name: None,
) -> tuple[Run, int]:
    """Scores each query with a model that was trained on the other folds, from the base, as the recipe says.

    Args:
        recipe: the training.
        examples: all of them, one for each query.
        held_out: the same, as `from_examples` made them a set to order.
        relabel: gives examples their teacher's labels.
        step: called with the name of each step as it begins.

    Returns:
        The scores of all candidates, and the number of folds.

    Raises:
        UsageError: there are too few queries to divide, or a fold holds nothing to learn from.
    """
    quiet = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"report_to": "none", "save_steps": 10**9})}
    )
    folds = deal(examples, recipe.evaluation.folds, recipe.seed)
    if len(folds) < 2:
        raise UsageError("data.train: all queries are one, or nearly; there is nothing to hold out, so name data.dev")
    run: Run = {}
    for number, fold in enumerate(folds, start=1):
        step(f"fold {number} of {len(folds)}: train without {len(fold)} queries and order those")
        unseen = {example.query for example in fold}
        model = open_base(quiet)
        with TemporaryDirectory(prefix="crossrank-fold-") as scratch:
            seen = relabel([example for example in examples if example.query not in unseen])
            run_directory = RunDirectory(Path(scratch))
            write_training_set(
                [(1.0, seen)], quiet.loss, run_directory.data, scored=quiet.distillation.teacher is not None
            )
            fine_tune(model, open_training_set(run_directory.data, quiet.seed), quiet, run_directory)
        candidates = {
            query_id: ids
            for query_id, ids in held_out.candidates.items()
            if held_out.judged.queries[query_id] in unseen
        }
        run |= score_candidates(held_out.judged, candidates, partial(predict, model))
    return run, len(folds)


def deal(examples: Sequence[Example], folds: int, seed: int) -> list[list[Example]]:
    """Deals examples into folds of like size; queries that are nearly the same stay together.

    Args:
        examples: one for each query.
        folds: how many; fewer where there are fewer different queries.
        seed: of the shuffle.
    """
    groups: list[list[Example]] = []
    for example in examples:
        near = [group for group in groups if any(is_near_duplicate(example.query, other.query) for other in group)]
        merged = [other for group in near for other in group]
        groups = [group for group in groups if group not in near]
        groups.append([*merged, example])
    random.Random(seed).shuffle(groups)
    dealt: list[list[Example]] = [[] for _ in range(min(folds, len(groups)))]
    for group in sorted(groups, key=len, reverse=True):
        min(dealt, key=len).extend(group)
    return dealt
