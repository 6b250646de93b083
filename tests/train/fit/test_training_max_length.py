from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sentence_transformers.cross_encoder import CrossEncoderTrainer

from crossrank.data.examples import Example
from crossrank.train.fit.base import open_base
from crossrank.train.fit.fine_tune import fine_tune
from crossrank.train.materialise import materialise, open_training_set
from crossrank.train.recipe import Recipe
from crossrank.train.run_directory import RunDirectory
from tests.support.tiny_models import tiny_cross_encoder
from tests.train.data.stored import stored


def recipe(base: Path, **others: object) -> Recipe:
    training = {"max_steps": 1, "report_to": "none", "per_device_train_batch_size": 2}
    data = {"train": [{"path": "unused"}]}
    return Recipe.model_validate({"name": "r", "base": str(base), "data": data, "training": training, **others})


def test_pairs_are_cut_shorter_while_the_model_learns_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe(tiny_cross_encoder("bert", tmp_path / "base"), max_length=40, training_max_length=12)
    run = RunDirectory(tmp_path)
    examples = [Example("how to read", ("word " * 60, "add two numbers"), (1.0, 0.0))]
    materialise(stored(tmp_path / "stored", given.loss, (1.0, examples)), given.loss, run.data)
    widths: list[int] = []
    compute_loss = CrossEncoderTrainer.compute_loss
    model: Any = open_base(given)

    def noted(trainer: Any, *arguments: Any, **others: Any) -> Any:
        widths.append(model.preprocess([("how to read", "word " * 60)])["input_ids"].shape[1])
        return compute_loss(trainer, *arguments, **others)

    monkeypatch.setattr(CrossEncoderTrainer, "compute_loss", noted)
    fine_tune(model, open_training_set(run.data, 0), given, run, resumable=False)
    assert widths == [12]
    assert model.preprocess([("how to read", "word " * 60)])["input_ids"].shape[1] == 40


def test_it_is_not_above_max_length(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="training_max_length must not be above max_length"):
        recipe(tmp_path, max_length=32, training_max_length=33)
    assert recipe(tmp_path, max_length=32).learning_length == 32
