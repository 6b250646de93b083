import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrank.data.examples import Example
from crossrank.train.collect import Collected
from crossrank.train.fit.cross_validation import cross_validate
from crossrank.train.recipe import Loss, Recipe
from crossrank.train.split import Split, split_examples
from tests.train.data.stored import stored

WORDS = ("read", "write", "sort", "parse", "fold", "walk", "draw", "send", "plan")
EXAMPLES = [Example(f"how to {word}", (f"{word} a", f"{word} b"), (1.0, 0.0)) for word in WORDS]
RECIPE = Recipe.model_validate(
    {"name": "r", "base": "b", "max_length": 32, "data": {"train": "unused"}, "evaluation": {"folds": 3}}
)


class Trainings:
    """Stands for the model and its training: notes what each fold learns, and then what it orders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learnt: list[list[tuple[str, str]]] = []
        self.ordered: list[set[str]] = []
        monkeypatch.setattr("crossrank.train.fit.cross_validation.open_base", lambda recipe: None)
        monkeypatch.setattr("crossrank.train.fit.cross_validation.fine_tune", self._fine_tune)
        monkeypatch.setattr("crossrank.train.fit.cross_validation.predict", self._predict)

    def _fine_tune(self, model: Any, examples: Any, recipe: Any, run: Any, *, resumable: bool) -> None:
        assert not resumable
        self.learnt.append([(row["query"], row["document"]) for row in examples.dataset])

    def _predict(self, model: Any, pairs: Sequence[tuple[str, str]]) -> Any:
        self.ordered.append({query for query, _ in pairs})
        return np.arange(len(pairs), dtype=np.float32)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    return Trainings(monkeypatch)


def divided(directory: Path, *parts: tuple[float, list[Example]], **loss: str) -> tuple[Recipe, Collected, Split]:
    recipe = RECIPE.model_copy(update={"loss": Loss.model_validate(loss)})
    collected = stored(directory, recipe.loss, *parts)
    split = split_examples(recipe, collected, directory / "split.json")
    assert split.dev
    return recipe, collected, split


def test_no_query_is_ranked_by_a_model_that_learnt_it(trainings: Trainings, tmp_path: Path) -> None:
    recipe, collected, split = divided(tmp_path, (1.0, EXAMPLES))
    scores = cross_validate(recipe, collected, split, tmp_path / "kept.json")
    assert len(trainings.learnt) == len(split.folds) == 3
    for learnt, ordered in zip(trainings.learnt, trainings.ordered, strict=True):
        assert {query for query, _ in learnt} == {example.query for example in EXAMPLES} - ordered
    assert sorted(query for ordered in trainings.ordered for query in ordered) == sorted(e.query for e in EXAMPLES)
    assert split.dev
    assert {query_id: set(found) for query_id, found in scores.items()} == {
        query_id: set(ids) for query_id, ids in split.dev.candidates.items()
    }


def test_sources_keep_their_weights_in_every_fold(trainings: Trainings, tmp_path: Path) -> None:
    recipe, collected, split = divided(tmp_path, (1.0, EXAMPLES[:5]), (3.0, EXAMPLES[5:]))
    cross_validate(recipe, collected, split, tmp_path / "kept.json")
    heavy = {example.query for example in EXAMPLES[5:]}
    for learnt in trainings.learnt:
        for query, document in set(learnt):
            assert learnt.count((query, document)) == (3 if query in heavy else 1)


def test_folds_that_are_done_are_not_done_again(trainings: Trainings, tmp_path: Path) -> None:
    recipe, collected, split = divided(tmp_path, (1.0, EXAMPLES))
    kept = tmp_path / "kept.json"
    whole = cross_validate(recipe, collected, split, kept)
    done = json.loads(kept.read_text())
    kept.write_text(json.dumps(done[:2]))
    trainings.learnt.clear()
    again = cross_validate(recipe, collected, split, kept)
    assert len(trainings.learnt) == 1
    assert again == whole


def test_a_teacher_labels_what_folds_learn(trainings: Trainings, tmp_path: Path) -> None:
    seen: list[str] = []

    def relabel(examples: Any) -> Any:
        for example in examples:
            seen.append(example.query)
            yield example

    recipe, collected, split = divided(tmp_path, (1.0, EXAMPLES), name="mse")
    cross_validate(recipe, collected, split, tmp_path / "kept.json", relabel)
    assert len(seen) == 2 * len(EXAMPLES)
