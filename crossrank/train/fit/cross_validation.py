"""Cross-validation grouped by query: what a training on so little data does for queries that it has not seen."""

import json
import logging
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from crossrank.data.formats.files import write_json
from crossrank.data.trec import Run
from crossrank.evaluation.baselines import score_candidates
from crossrank.models.cross_encoder import predict
from crossrank.progress import Progress
from crossrank.train.collect import Collected
from crossrank.train.fit.base import open_base
from crossrank.train.fit.fine_tune import fine_tune
from crossrank.train.materialise import Relabel, materialise, open_training_set
from crossrank.train.recipe import Recipe
from crossrank.train.run_directory import RunDirectory
from crossrank.train.split import Split

LOG = logging.getLogger("crossrank.train")


def cross_validate(
    recipe: Recipe, collected: Collected, split: Split, path: Path, relabel: Relabel | None = None
) -> Run:
    """Scores each query with a model that was trained on the other folds, from the base, as the recipe says.

    Args:
        recipe: the training.
        collected: the examples.
        split: the folds, the queries of all of them with their candidates, and what no fold must learn.
        path: a JSON file that keeps the scores of each fold, which is not done again.
        relabel: gives examples their teacher's labels.

    Returns:
        The scores of all candidates.

    Raises:
        UsageError: a fold holds nothing to learn from.
    """
    held_out = split.dev
    if held_out is None:
        raise ValueError("a split with folds has a set to rank")
    done: list[Run] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    for number, fold in enumerate(split.folds[len(done) :], start=len(done) + 1):
        unseen = frozenset(fold)
        what = f"fold {number} of {len(split.folds)}: train without {len(fold)} queries and rank those"
        with Progress(LOG, what), TemporaryDirectory(prefix="crossrank-fold-") as scratch:
            model = open_base(recipe)
            run = RunDirectory(Path(scratch))
            materialise(collected, recipe.loss, run.data, withheld=split.withheld | unseen, relabel=relabel)
            fine_tune(model, open_training_set(run.data, recipe.seed), recipe, run, resumable=False)
            of_fold = held_out.only([query_id for query_id, query in held_out.queries.items() if query in unseen])
            done.append(score_candidates(of_fold, partial(predict, model)))
        write_json(path, done)
    return {query_id: scores for run in done for query_id, scores in run.items()}
