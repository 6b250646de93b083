"""Training, step by step: collect, split, materialise, rank the baselines, fit, evaluate, judge, write."""

import json
import logging
import random
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrank.atomic import replace_directory
from crossrank.calibration.curves import Calibration
from crossrank.calibration.fit import fit_calibration
from crossrank.data.formats.files import write_json
from crossrank.data.trec import Run, ranking_from_scores
from crossrank.errors import UsageError
from crossrank.evaluation import systems
from crossrank.evaluation.baselines import Baselines, Predict, rank_baselines, score_candidates
from crossrank.evaluation.compare import MEASURE
from crossrank.evaluation.eval_result import EvalResult, evaluate_run
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.metrics import evaluate, mean
from crossrank.evaluation.verdict import judge
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import predict
from crossrank.models.location import is_bi_encoder
from crossrank.progress import Progress
from crossrank.train.collect import collect
from crossrank.train.fit.base import open_base
from crossrank.train.fit.cross_validation import cross_validate
from crossrank.train.fit.distributed import barrier, is_main_process, world_size
from crossrank.train.fit.fine_tune import fine_tune
from crossrank.train.materialise import TrainingSet, materialise, open_training_set
from crossrank.train.overlap import refuse_learning_what_is_measured
from crossrank.train.recipe import Recipe
from crossrank.train.report.record import TrainingReport
from crossrank.train.report.result import write_result
from crossrank.train.run_directory import open_run, run_of
from crossrank.train.split import split_examples
from crossrank.train.teacher import Teacher, open_teacher

LOG = logging.getLogger("crossrank.train")

# The lengths of these many rows, drawn by seed, stand for all.
_MEASURED_ROWS = 1000


def train(recipe: Recipe, out: Path, *, force: bool = False, time_limit: float | None = None) -> TrainingReport | None:
    """Runs a recipe and writes a directory that sentence-transformers opens.

    Beside the model it holds a model card, the resolved recipe (`recipe.toml`), `metrics.json`, `report.html` and
    plots. A run that was stopped or killed resumes from its last checkpoint. `logging.getLogger("crossrank.train")`
    is told each step, and how far it is every ten seconds.

    Args:
        recipe: see `crossrank.train.recipe_files.load_recipe`.
        out: the directory to write.
        force: whether an existing one, or another run that was not finished, is replaced.
        time_limit: seconds of training after which the run stops; the same call resumes it.

    Returns:
        What it gave; None in all but the first of several processes.

    Raises:
        Stopped: it was stopped before its end.
        UsageError: the recipe, its data or the target cannot be used.
        InvalidData: a line of the data is invalid.
    """
    if not is_main_process():
        _learn_along(recipe, out)
        return None
    if world_size() > 1 and time_limit:
        raise UsageError("several processes cannot be stopped by the clock; leave --time-limit out")
    refuse_learning_what_is_measured(recipe)
    with open_run(out, recipe, force=force) as run, replace_directory(out, force=force) as directory:
        # Mining, candidates and a teacher may ask one bi-encoder for the vectors of the same texts.
        open_bi_encoder = lru_cache(maxsize=2)(BiEncoder)
        collected = collect(recipe, run.collected, open_bi_encoder)
        bi_encoder = open_bi_encoder(recipe.base) if is_bi_encoder(recipe.base) else None
        split = split_examples(recipe, collected, run.split, bi_encoder)
        if split.folds and world_size() > 1:
            raise UsageError("cross-validation is for one process; name data.dev, or set evaluation.without_dev")
        teacher = open_teacher(recipe, out, open_bi_encoder)
        relabel = teacher.relabel if teacher else None
        materialise(collected, recipe.loss, run.data, withheld=split.withheld, relabel=relabel)
        examples = open_training_set(run.data, recipe.seed)
        with Progress(LOG, f"open {recipe.base}"):
            model = open_base(recipe)
        scorers = _untrained(recipe, model, teacher)
        baselines = {
            each.name: _baselines(each, bi_encoder, scorers, run.path / f"baselines-{each.name}.json")
            for each in split.held_out
        }
        crossed = cross_validate(recipe, collected, split, run.folds, relabel) if split.folds else None
        barrier()
        evaluated = partial(_quality, split.dev, model) if split.dev and recipe.training.eval_steps else None
        history = fine_tune(model, examples, recipe, run, evaluate=evaluated, time_limit=time_limit)
        measured = None
        if split.dev:
            tuned = crossed or _scores(split.dev, model)
            measured = evaluate_run(split.dev, baselines[split.dev.name], tuned, folds=len(split.folds) or None)
        regressions = [evaluate_run(each, baselines[each.name], _scores(each, model)) for each in split.regression_sets]
        with Progress(LOG, "judge and write the model"):
            verdict = None
            if measured:
                verdict = judge(
                    measured.comparison,
                    measured.baselines.reference,
                    folds=measured.folds,
                    regression_sets={
                        each.eval_set.name: (each.comparison, each.baselines.reference) for each in regressions
                    },
                )
            screening = {"bad_rows": collected.bad_rows, "quotes": collected.quotes, **asdict(split.overlap)}
            calibration = _calibration(recipe, measured)
            report = TrainingReport(
                directory=out,
                recipe=recipe,
                training_set_pairs=examples.pairs,
                lengths=_token_lengths(model, examples, recipe.seed),
                screening=screening,
                history=history,
                measured=measured,
                regressions=regressions,
                verdict=verdict,
                calibration=calibration,
            )
            write_result(directory, model, report, run.curves)
    return report


def _learn_along(recipe: Recipe, out: Path) -> None:
    """What all but the first of several processes do: they learn from what that one writes."""
    LOG.setLevel(logging.WARNING)
    barrier()
    run = run_of(out)
    fine_tune(open_base(recipe), open_training_set(run.data, recipe.seed), recipe, run)


def _untrained(recipe: Recipe, model: Any, teacher: Teacher | None) -> dict[str, Predict]:
    """What scores pairs before training, by system; a bi-encoder's fresh head says nothing yet."""
    scorers: dict[str, Predict] = {}
    if not is_bi_encoder(recipe.base):
        scorers[systems.BASE_CUT if recipe.num_hidden_layers else systems.BASE] = partial(predict, model)
    if teacher:
        scorers[systems.TEACHER] = teacher.scores
    return scorers


def _baselines(eval_set: EvalSet, bi_encoder: BiEncoder | None, scorers: dict[str, Predict], path: Path) -> Baselines:
    """The rankings before training; what a file keeps of them is not done again."""
    if path.is_file():
        return Baselines(**json.loads(path.read_text(encoding="utf-8")))
    with Progress(LOG, f"rank {eval_set.name} without training"):
        found = rank_baselines(eval_set, bi_encoder, scorers)
    write_json(path, asdict(found))
    return found


def _scores(eval_set: EvalSet, model: Any) -> Run:
    with Progress(LOG, f"rank {eval_set.name} with the tuned model"):
        return score_candidates(eval_set, partial(predict, model))


def _quality(eval_set: EvalSet, model: Any) -> float:
    model.eval()
    scores = score_candidates(eval_set, partial(predict, model))
    model.train()
    return mean(evaluate(eval_set.qrels, ranking_from_scores(scores), [MEASURE])[MEASURE])


def _calibration(recipe: Recipe, measured: EvalResult | None) -> Calibration | None:
    method = recipe.calibration.method
    if method == "none" or measured is None:
        return None
    scores, labels, query_ids = measured.labelled_scores()
    try:
        return fit_calibration(np.array(scores, dtype=np.float32), np.array(labels), query_ids, method)
    except UsageError as error:
        LOG.warning("not calibrated: %s", error)
        return None


def _token_lengths(model: Any, examples: TrainingSet, seed: int) -> NDArray[np.int64]:
    """Tokens of the pairs of some rows, drawn by seed, before truncation; int64, shape [pairs]."""
    rows = random.Random(seed).sample(range(len(examples.dataset)), min(_MEASURED_ROWS, len(examples.dataset)))
    pairs = list(chain.from_iterable(_pairs_of(examples.dataset[row]) for row in rows))
    encoded = model.tokenizer(pairs, truncation=False, verbose=False, return_attention_mask=False)["input_ids"]
    return np.array([len(ids) for ids in encoded], dtype=np.int64)


def _pairs_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (query, document) of a row of any shape."""
    texts = [row[column] for column in row if column not in ("query", "label", "labels")]
    documents = texts[0] if isinstance(texts[0], list) else texts
    return [(row["query"], document) for document in documents]
