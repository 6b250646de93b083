"""Cross-validation grouped by query: what a training on so little data does for queries that it has not seen."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold

from crossrank.data.examples import Example
from crossrank.data.files import write_json
from crossrank.data.near_duplicates import NearDuplicates
from crossrank.data.trec import Run
from crossrank.errors import UsageError
from crossrank.evaluation.baselines import score_candidates
from crossrank.evaluation.held_out import HeldOut
from crossrank.models.cross_encoder import predict
from crossrank.train.dataset import open_training_set, write_training_set
from crossrank.train.fit.base import open_base
from crossrank.train.fit.fine_tune import fine_tune
from crossrank.train.recipe import Recipe
from crossrank.train.run_directory import RunDirectory

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
    folds = folds_of(queries, recipe.evaluation.folds, recipe.seed)
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


def folds_of(queries: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """Divides queries into folds of like size; those that are nearly the same stay together.

    Args:
        queries: each once.
        folds: how many; fewer where there are fewer different queries.
        seed: of the shuffle.
    """
    index = NearDuplicates(queries)
    near = [(place, other) for place, query in enumerate(queries) for other in index.find(query)]
    edges = coo_matrix((np.ones(len(near)), np.array(near).T), shape=(len(queries), len(queries)))
    number, groups = connected_components(edges, directed=False)
    if number < 2:
        return [list(queries)]
    split = GroupKFold(min(folds, number), shuffle=True, random_state=seed).split(queries, groups=groups)
    return [[queries[place] for place in held_out] for _, held_out in split]
