import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from crossrank.errors import UsageError
from crossrank.evaluation.evaluate_model import evaluate_model
from crossrank.export.pipeline import ExportReport
from crossrank.models.cross_encoder import open_cross_encoder, set_depth
from crossrank.models.packaged import PACKAGED_BASE, packaged_base
from crossrank.train.fit.base import open_base
from crossrank.train.fit.samplers import LengthGroupedBatchSampler
from crossrank.train.pipeline import train
from crossrank.train.recipe import Recipe
from crossrank.train.recipe_files import load_recipe
from tests.conftest import HELDOUT

RECIPES = HELDOUT.parent


@given(st.lists(st.integers(0, 300), min_size=1, max_size=400), st.integers(1, 9), st.booleans(), st.integers(0, 5))
def test_batches_hold_every_row_once_and_little_padding(
    lengths: list[int], batch_size: int, drop_last: bool, epoch: int
) -> None:
    dataset = Dataset.from_dict({"query": [""] * len(lengths), "document": ["x" * length for length in lengths]})
    sampler = LengthGroupedBatchSampler(dataset, batch_size=batch_size, drop_last=drop_last, seed=3)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert batches == list(sampler)
    assert len(batches) == len(sampler)
    rows = [row for batch in batches for row in batch]
    assert len(rows) == len(set(rows))
    assert len(rows) == (len(lengths) // batch_size * batch_size if drop_last else len(lengths))
    if len(lengths) <= 50 * batch_size:  # one window: the batches cut the sorted lengths
        spans = sorted((min(lengths[row] for row in batch), max(lengths[row] for row in batch)) for batch in batches)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_the_packaged_base_gets_a_seeded_fresh_head() -> None:
    def opened(seed: int) -> Any:
        data = {"train": "unused"}
        values = {"name": "r", "base": PACKAGED_BASE, "max_length": 64, "seed": seed, "data": data}
        return open_base(Recipe.model_validate(values)).model.classifier.weight

    assert torch.equal(opened(1), opened(1))
    assert not torch.equal(opened(1), opened(2))


def test_the_packaged_base_must_be_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossrank.models.packaged._SHA256", "0" * 64)
    with pytest.raises(UsageError, match="not the published ones"):
        packaged_base()


def test_depth_is_stacked_by_repetition_and_cut_evenly(tiny_model: Path) -> None:
    model = open_cross_encoder(str(tiny_model))
    weights = [layer.attention.self.query.weight.clone() for layer in model.model.bert.encoder.layer]
    before = model.predict([("add two numbers", "def add(a, b): ...")])
    set_depth(model, 6)
    stacked = model.model.bert.encoder.layer
    assert all(torch.equal(stacked[n].attention.self.query.weight, weights[n // 2]) for n in range(6))
    assert not np.allclose(model.predict([("add two numbers", "def add(a, b): ...")]), before)
    set_depth(model, 3)
    assert np.allclose(model.predict([("add two numbers", "def add(a, b): ...")]), before)


@pytest.fixture(scope="module", params=["code-search-ratings", "outdoor-skills"])
def named_case(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One of the two named cases, run on a base that is trained in seconds."""
    out = tmp_path_factory.mktemp("cases") / request.param
    recipe = load_recipe(RECIPES / f"{request.param}.toml", [f"base={tiny_model}", "max_length=48"])
    report = train(recipe, out)
    assert report is not None
    return recipe, report


def test_a_named_case_moves_the_weights_by_the_rate_that_its_card_shows(named_case: Any, tiny_model: Path) -> None:
    recipe, report = named_case
    expected_steps = {"code-search-ratings": 3, "outdoor-skills": 9}[recipe.name]
    assert report.history.steps == expected_steps
    applied = [rate for _, _, rate in report.history.losses]
    assert max(applied) == 5e-5
    assert applied[-1] < applied[0]
    before, after = load_file(tiny_model / "model.safetensors"), load_file(report.directory / "model.safetensors")
    moved = {name: (before[name] - after[name]).abs().max().item() for name in before}
    assert all(change > 0 for name, change in moved.items() if "LayerNorm" in name or "classifier.weight" in name)
    assert max(moved.values()) < 20 * 5e-5 * expected_steps
    card = (report.directory / "README.md").read_text()
    assert "learning_rate`: 5e-05" in card
    assert "Learning rate applied: 5e-05 at its highest" in card


def test_a_model_card_shows_what_such_a_card_shows(named_case: Any) -> None:
    recipe, report = named_case
    card = (report.directory / "README.md").read_text()
    loss = {"code-search-ratings": "BinaryCrossEntropyLoss", "outdoor-skills": "FitMixinLoss"}[recipe.name]
    for needed in (loss, "### Framework Versions", "CrossEncoder(", "## Evaluation", "base, untuned", "| BM25 |"):
        assert needed in card, needed
    assert f"Size: {report.training_set_pairs:,} training samples" in card
    assert str(report.directory.parent) not in card


def test_metrics_and_recipe_are_written_and_the_recipe_runs_again(named_case: Any, tmp_path: Path) -> None:
    recipe, report = named_case
    metrics = json.loads((report.directory / "metrics.json").read_text())
    assert metrics["evaluation"]["queries"] == 12
    assert set(metrics["evaluation"]["systems"]) == {"tuned", "bm25", "base"}
    assert metrics["precision"] == "fp32" or torch.cuda.is_available()
    assert load_recipe(report.directory / "recipe.toml") == recipe
    again = train(recipe, tmp_path / "again")
    assert again is not None
    first, second = (load_file(place / "model.safetensors") for place in (report.directory, again.directory))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_evaluate_gives_the_figures_of_training(named_case: Any) -> None:
    recipe, report = named_case
    evaluated = evaluate_model(str(report.directory), recipe.data.dev)
    assert evaluated.means(report.directory.name) == pytest.approx(report.measured.comparison.means("tuned"))


def test_a_ranker_and_its_model_evaluate_the_same(tiny_model: Path, tiny: ExportReport, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "metrics.json").write_text(json.dumps({"base": PACKAGED_BASE}))
    of_model = evaluate_model(str(model), HELDOUT)
    of_ranker = evaluate_model(str(tiny.directory), HELDOUT, variant="fp32")
    assert of_ranker.means(tiny.directory.name) == pytest.approx(of_model.means("model"))
    assert "cosine" in of_model.per_query, "the bi-encoder that the model was trained from is no baseline"
    with pytest.raises(UsageError, match="is not a ranker and has no variants"):
        evaluate_model(str(model), HELDOUT, variant="fp32")


def test_a_bi_encoder_is_not_evaluated_with_a_random_head() -> None:
    with pytest.raises(UsageError, match="is not a cross-encoder"):
        evaluate_model(PACKAGED_BASE, HELDOUT)


def test_a_training_that_diverges_writes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    steps = ["training.learning_rate=1e30", "training.max_grad_norm=1e30", "training.max_steps=4"]
    wild = [f"base={tiny_model}", "max_length=48", *steps]
    with pytest.raises(UsageError, match="the training diverged"):
        train(load_recipe(RECIPES / "outdoor-skills.toml", wild), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_input_longer_than_the_base_reads(tiny_model: Path) -> None:
    values = {"name": "r", "base": str(tiny_model), "max_length": 1024, "data": {"train": "unused"}}
    with pytest.raises(UsageError, match="reads 64 tokens at most"):
        open_base(Recipe.model_validate(values))


def test_no_such_base() -> None:
    values = {"name": "r", "base": "/nowhere/model", "max_length": 64, "data": {"train": "unused"}}
    with pytest.raises(UsageError, match="/nowhere/model is neither"):
        open_base(Recipe.model_validate(values))
