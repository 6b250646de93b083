"""Every loss, from the packaged bi-encoder with a fresh head, on functions of the standard library."""

import sysconfig
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from crossrank.data.eval_set import JudgedSet, read_judged_set
from crossrank.data.mining.code import mine_code
from crossrank.data.trec import ranking_from_scores
from crossrank.evaluation.baselines import score_candidates
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.first_stage import first_stage_candidates
from crossrank.evaluation.metrics import evaluate, mean
from crossrank.models.cross_encoder import predict
from crossrank.models.packaged import PACKAGED_BASE
from crossrank.train.collect import collect
from crossrank.train.fit.base import open_base
from crossrank.train.fit.fine_tune import fine_tune
from crossrank.train.materialise import materialise, open_training_set, shape_of
from crossrank.train.recipe import Loss, LossName, Recipe
from crossrank.train.run_directory import RunDirectory
from crossrank.train.teacher import open_teacher


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mined")
    source = root / "source"
    source.mkdir()
    for package in ("email", "json", "logging", "http", "asyncio", "unittest"):
        (source / package).symlink_to(Path(sysconfig.get_path("stdlib")) / package)
    mine_code([*source.iterdir()], root / "data")
    return root / "data"


@pytest.fixture(scope="module")
def dev(mined: Path) -> EvalSet:
    whole = read_judged_set(mined / "dev")
    queries = {query_id: whole.queries[query_id] for query_id in sorted(whole.queries)[:40]}
    chosen = JudgedSet(queries, whole.corpus, {query_id: whole.qrels[query_id] for query_id in queries})
    return EvalSet(chosen.queries, chosen.corpus, chosen.qrels, first_stage_candidates(chosen, depth=20), "dev")


@pytest.mark.verify
@pytest.mark.parametrize("name", get_args(LossName))
def test_a_short_run_raises_ndcg(name: LossName, mined: Path, dev: EvalSet, tmp_path: Path) -> None:
    taught = name in ("mse", "margin_mse")
    recipe = Recipe.model_validate(
        {
            "name": "short",
            "base": PACKAGED_BASE,
            "max_length": 64,
            "data": {"train": str(mined / "train"), "negatives": {"bm25": 0, "random": 4}},
            "loss": {"name": name, "num_negatives": 1 if name == "margin_mse" else 4},
            "distillation": {"teacher": PACKAGED_BASE, "scale": 10.0} if taught else {},
            "training": {
                "learning_rate": 1.5e-4,
                "warmup_ratio": 0.1,
                "max_steps": 80,
                "per_device_train_batch_size": 16 if shape_of(Loss(name=name)) == "pairs" else 4,
            },
        }
    )
    teacher = open_teacher(recipe, tmp_path / "out")
    run = RunDirectory(tmp_path)
    collected = collect(recipe, run.collected)
    materialise(collected, recipe.loss, run.data, relabel=teacher.relabel if teacher else None)
    model = open_base(recipe)
    before = quality(model, dev)
    fine_tune(model, open_training_set(run.data, recipe.seed), recipe, run, resumable=False)
    after = quality(model, dev)
    print(f"{name}: nDCG@10 {before:.3f} -> {after:.3f}")
    assert after > before + 0.1


def quality(model: Any, eval_set: EvalSet) -> float:
    scores = score_candidates(eval_set, partial(predict, model))
    return mean(evaluate(eval_set.qrels, ranking_from_scores(scores), ["nDCG@10"])["nDCG@10"])
