"""Cross-validation grouped by query: what a training on so little data does for queries that it has not seen."""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from judgements.examples import Example
from judgements.near_duplicates import is_near_duplicate
from judgements.text_files import write_json
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
    parts: Sequence[tuple[float, Sequence[Example]]],
    held_out: HeldOut,
    kept: Path,
    relabel: Relabel | None = None,
    step: Callable[[str], None] = lambda name: None,
) -> tuple[Run, int]:
    """Scores each query with a model that was trained on the other folds, from the base, as the recipe says.

    Args:
        recipe: the training.
        parts: the weight of each source, and its examples.
        held_out: the same, as `from_examples` made them a set to order.
        kept: a JSON file that keeps the scores of each fold, which is not done again.
        relabel: gives examples their teacher's labels.
        step: called with the name of each step as it begins.

    Returns:
        The scores of all candidates, and the number of folds.

    Raises:
        UsageError: there are too few queries to divide, or a fold holds nothing to learn from.
    """
    queries = list(dict.fromkeys(example.query for _, part in parts for example in part))
    folds = deal(queries, recipe.evaluation.folds, recipe.seed)
    if len(folds) < 2:
        raise UsageError("data.train: all queries are one, or nearly; there is nothing to hold out, so name data.dev")
    done: list[Run] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    for number, fold in enumerate(folds[len(done) :], start=len(done) + 1):
        step(f"fold {number} of {len(folds)}: train without {len(fold)} queries and order those")
        unseen = set(fold)
        model = open_base(recipe)
        with TemporaryDirectory(prefix="crossrank-fold-") as scratch:
            run = RunDirectory(Path(scratch))
            seen = [(weight, [each for each in part if each.query not in unseen]) for weight, part in parts]
            write_training_set(
                [(weight, relabel(part) if relabel else part) for weight, part in seen],
                recipe.loss,
                run.data,
                scored=relabel is not None,
            )
            fine_tune(model, open_training_set(run.data, recipe.seed), recipe, run, resumable=False)
        candidates = {
            query_id: ids
            for query_id, ids in held_out.candidates.items()
            if held_out.judged.queries[query_id] in unseen
        }
        done.append(score_candidates(held_out.judged, candidates, partial(predict, model)))
        write_json(kept, done)
    return {query_id: scores for run in done for query_id, scores in run.items()}, len(folds)


def deal(queries: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """Deals queries into folds of like size; those that are nearly the same stay together.

    Args:
        queries: each once.
        folds: how many; fewer where there are fewer different queries.
        seed: of the shuffle.
    """
    groups: list[list[str]] = []
    for query in queries:
        near = [group for group in groups if any(is_near_duplicate(query, other) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([other for group in near for other in group] + [query])
    random.Random(seed).shuffle(groups)
    dealt: list[list[str]] = [[] for _ in range(min(folds, len(groups)))]
    for group in sorted(groups, key=len, reverse=True):
        min(dealt, key=len).extend(group)
    return dealt
