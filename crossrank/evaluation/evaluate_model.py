"""Evaluates a model, in PyTorch or as it is served, beside the orders that need no training."""

import json
import logging
from functools import partial
from pathlib import Path

from crossrank.data.trec import ranking_from_scores
from crossrank.errors import UsageError
from crossrank.evaluation.baselines import first_stage, score_candidates, untrained_orders
from crossrank.evaluation.compare import Evaluation, compare_systems
from crossrank.evaluation.held_out import open_held_out
from crossrank.inference.manifest import MANIFEST_PATH
from crossrank.inference.scorer import Scorer
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.models.location import is_bi_encoder
from crossrank.progress import Progress
from crossrank.train.report.write import METRICS_FILE

_LOG = logging.getLogger("crossrank.evaluation")


def evaluate_model(
    model: str,
    data: Path,
    *,
    variant: str | None = None,
    base: str | None = None,
) -> Evaluation:
    """Evaluates a cross-encoder, in PyTorch, or a ranker, as it is served.

    Args:
        model: a directory, a Hugging Face id, or a ranker's directory.
        data: a judged set, which without candidates of its own gets BM25's and the base's best 50; or a file of rows.
        variant: of a ranker; by default the one that is served.
        base: a bi-encoder whose cosine order is shown too; by default the one that `metrics.json` of the model names.

    Raises:
        UsageError, InvalidRanker: the model or the data cannot be used.
        InvalidData: a line of the data is at fault.
    """
    held_out = open_held_out(data)
    judged = held_out.judged
    is_ranker = (Path(model) / MANIFEST_PATH).is_file()
    if variant is not None and not is_ranker:
        raise UsageError(f"--variant {variant}: {model} is no ranker, so it has no variants; export it first")
    opened = None if is_ranker else open_cross_encoder(model)
    name = _recorded_bi_encoder(Path(model)) if base is None else base if is_bi_encoder(base) else None
    bi_encoder = BiEncoder(name) if name else None
    with Progress(_LOG, "find candidates and rank the baselines"):
        candidates = held_out.candidates or judged.candidates or first_stage(judged, bi_encoder)
        before = untrained_orders(judged, candidates, bi_encoder)
    with Progress(_LOG, f"rank with {model}"):
        if opened:
            scores = score_candidates(judged, candidates, partial(predict, opened))
        else:
            with Scorer.open(model, variant=variant) as scorer:
                scores = score_candidates(judged, candidates, partial(scorer.predict, score_kind="logit"))
    return compare_systems(judged, {Path(model).name: ranking_from_scores(scores), **before}, candidates)


def _recorded_bi_encoder(model: Path) -> str | None:
    """The bi-encoder that a model of ours was trained from, if it was one and is still to be had."""
    try:
        base = json.loads((model / METRICS_FILE).read_text(encoding="utf-8"))["base"]
        return base if is_bi_encoder(base) else None
    except (OSError, ValueError, KeyError, TypeError):  # UsageError, for a base that is gone, is a ValueError
        return None
