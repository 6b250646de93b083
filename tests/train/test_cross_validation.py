import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrank.data.examples import Example
from crossrank.evaluation.held_out import HeldOut, from_examples
from crossrank.train.fit.cross_validation import cross_validate
from crossrank.train.recipe import Recipe

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


@pytest.fixture
def held_out() -> HeldOut:
    return from_examples("all", EXAMPLES)


def test_no_query_is_ordered_by_a_model_that_learnt_it(trainings: Trainings, held_out: HeldOut, tmp_path: Path) -> None:
    scores, folds = cross_validate(RECIPE, [(1.0, EXAMPLES)], held_out, tmp_path / "kept.json")
    assert folds == 3 == len(trainings.learnt)
    for learnt, ordered in zip(trainings.learnt, trainings.ordered, strict=True):
        assert {query for query, _ in learnt} == {example.query for example in EXAMPLES} - ordered
    assert sorted(query for ordered in trainings.ordered for query in ordered) == sorted(e.query for e in EXAMPLES)
    assert {query_id: set(found) for query_id, found in scores.items()} == {
        query_id: set(ids) for query_id, ids in held_out.candidates.items()
    }


def test_sources_keep_their_weights_in_every_fold(trainings: Trainings, held_out: HeldOut, tmp_path: Path) -> None:
    parts = [(1.0, EXAMPLES[:5]), (3.0, EXAMPLES[5:])]
    cross_validate(RECIPE, parts, held_out, tmp_path / "kept.json")
    heavy = {example.query for example in EXAMPLES[5:]}
    for learnt in trainings.learnt:
        for query, document in set(learnt):
            assert learnt.count((query, document)) == (3 if query in heavy else 1)


def test_folds_that_are_done_are_not_done_again(trainings: Trainings, held_out: HeldOut, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    whole, _ = cross_validate(RECIPE, [(1.0, EXAMPLES)], held_out, kept)
    done = json.loads(kept.read_text())
    kept.write_text(json.dumps(done[:2]))
    trainings.learnt.clear()
    again, _ = cross_validate(RECIPE, [(1.0, EXAMPLES)], held_out, kept)
    assert len(trainings.learnt) == 1
    assert again == whole


def test_a_teacher_labels_what_folds_learn(trainings: Trainings, held_out: HeldOut, tmp_path: Path) -> None:
    seen: list[str] = []

    def relabel(examples: Any) -> Any:
        for example in examples:
            seen.append(example.query)
            yield example

    cross_validate(
        RECIPE.model_copy(update={"loss": RECIPE.loss.model_copy(update={"name": "mse"})}),
        [(1.0, EXAMPLES)],
        held_out,
        tmp_path / "kept.json",
        relabel,
    )
    assert len(seen) == 2 * len(EXAMPLES)
