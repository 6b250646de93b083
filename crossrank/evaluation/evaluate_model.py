"""Evaluates a model, in PyTorch or as it is served, beside the baselines."""

import json
import logging
import tomllib
from contextlib import suppress
from functools import partial
from pathlib import Path

from crossrank.data.qrels import LEARNT, MEASURED, judgements_of
from crossrank.data.trec import ranking_from_scores
from crossrank.errors import InvalidData, UsageError
from crossrank.evaluation.baselines import rank_baselines, score_candidates
from crossrank.evaluation.compare import SystemComparison, compare_systems
from crossrank.evaluation.eval_result import METRICS_FILE, RECIPE_FILE
from crossrank.evaluation.eval_set import read_eval_set
from crossrank.inference.ranker.manifest import MANIFEST_PATH
from crossrank.inference.scorer import Scorer
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.models.location import is_bi_encoder
from crossrank.paths import from_home
from crossrank.progress import Progress

_LOG = logging.getLogger("crossrank.evaluation")


def evaluate_model(
    model: str,
    data: Path,
    *,
    variant: str | None = None,
    base: str | None = None,
    split: str | None = None,
) -> SystemComparison:
    """Evaluates a cross-encoder, in PyTorch, or a ranker, as it is served.

    Args:
        model: a directory, a Hugging Face id, or a ranker's directory.
        data: an evaluation set; see `read_eval_set`.
        variant: of a ranker; by default the one that is served.
        split: of the set, where it has several; by default test, or else dev.
        base: a bi-encoder, for candidates and as a baseline; by default the one that `metrics.json` of the model names.

    Raises:
        UsageError, InvalidRanker: the model or the data cannot be used, or the model has learnt the data.
        InvalidData: a line of the data is invalid.
    """
    model = str(from_home(model))
    is_ranker = (Path(model) / MANIFEST_PATH).is_file()
    if variant is not None and not is_ranker:
        raise UsageError(f"--variant {variant}: {model} is not a ranker and has no variants; export it first")
    _refuse_learnt(Path(model), data, split)
    name = _recorded_bi_encoder(Path(model)) if base is None else base if is_bi_encoder(base) else None
    bi_encoder = BiEncoder(name) if name else None
    with Progress(_LOG, "find candidates and rank the baselines"):
        eval_set = read_eval_set(data, bi_encoder=bi_encoder, split=split)
        opened = None if is_ranker else open_cross_encoder(model)
        baselines = rank_baselines(eval_set, bi_encoder)
    with Progress(_LOG, f"rank with {model}"):
        if opened:
            scores = score_candidates(eval_set, partial(predict, opened))
        else:
            with Scorer.open(model, variant=variant) as scorer:
                scores = score_candidates(eval_set, partial(scorer.predict, score_kind="logit"))
    return compare_systems(eval_set, {Path(model).name: ranking_from_scores(scores), **baselines.rankings})


def _refuse_learnt(model: Path, data: Path, split: str | None) -> None:
    """Raises UsageError where the recipe that lies beside a model says that it learnt from what is to be measured."""
    try:
        sources = tomllib.loads((model / RECIPE_FILE).read_text(encoding="utf-8"))["data"]["train"]
        learnt = [(Path(each["path"]), each.get("split")) for each in sources if "path" in each]
    except (OSError, ValueError, KeyError, TypeError):
        return
    measured = judgements_of(data, split, MEASURED)
    for path, learnt_split in learnt:
        # A set that was changed or removed since says nothing about the others.
        with suppress(InvalidData):
            if judgements_of(path, learnt_split, LEARNT) == measured:
                raise UsageError(f"{model} has learnt from the judgements of {data}; measure on another split or set")


def _recorded_bi_encoder(model: Path) -> str | None:
    """The bi-encoder that a model of ours was trained from, if it was one and is still to be had."""
    try:
        base = json.loads((model / METRICS_FILE).read_text(encoding="utf-8"))["base"]
        return base if is_bi_encoder(base) else None
    except (OSError, ValueError, KeyError, TypeError):  # UsageError, for a base that is gone, is a ValueError
        return None
