from collections.abc import Mapping
from pathlib import Path

import pytest

from crossrank.data.eval_set import JudgedSet, write_judged_set
from crossrank.errors import UsageError
from crossrank.evaluation.evaluate_model import evaluate_model
from crossrank.train.collect import Collected, collect
from crossrank.train.overlap import refuse_learning_what_is_measured
from crossrank.train.recipe import Recipe
from crossrank.train.split import Split, choose_validation, held_out_queries, split_examples

WORDS = ("read", "write", "file", "path", "sort", "list", "tree", "node", "date", "parse")


def recipe(path: Path, evaluation: Mapping[str, object] | None = None, **data: object) -> Recipe:
    tables = {"data": {"train": str(path), **data}, "evaluation": evaluation or {}}
    return Recipe.model_validate({"name": "r", "base": "b", "max_length": 64, **tables})


def rows(path: Path, *lines: str) -> Path:
    path.write_text("query,document,label\n" + "".join(line + "\n" for line in lines))
    return path


def divided(given: Recipe, directory: Path) -> tuple[Collected, Split]:
    collected = collect(given, directory / "collected")
    return collected, split_examples(given, collected, directory / "split.json")


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    corpus = {f"d{number}": f"{word} something {number}" for number, word in enumerate(WORDS)}
    queries = {f"q{number}": f"how to {word}" for number, word in enumerate(WORDS)}
    write_judged_set(JudgedSet(queries, corpus, {f"q{n}": {f"d{n}": 1} for n in range(10)}), tmp_path / "judged")
    return tmp_path / "judged"


def test_what_is_held_out_is_not_learnt(judged: Path, tmp_path: Path) -> None:
    path = rows(
        tmp_path / "rows.csv",
        '"How  to READ",a,1',
        "how to knit,read something 0,1",
        "how to knit,b,0",
        "how to reads,b,0",
    )
    _, split = divided(recipe(path, dev=judged), tmp_path / "first")
    assert split.withheld == {"How  to READ"}
    assert (split.overlap.leaked, split.overlap.seen_answers) == (1, 1)
    assert [held.name for held in split.held_out] == ["judged"]
    again, resumed = divided(recipe(path, dev=judged), tmp_path / "first")
    assert (resumed.withheld, resumed.overlap) == (split.withheld, split.overlap)
    with pytest.raises(UsageError, match="'How  to READ' is held out as 'how to read'"):
        split_examples(recipe(path, dev=judged, leakage="refuse"), again, tmp_path / "refused.json")
    with pytest.raises(UsageError, match=r"10 training examples .* and no other is left"):
        divided(recipe(judged, dev=judged), tmp_path / "second")


def test_queries_are_counted_no_further_than_needed() -> None:
    few = recipe(Path("unused"), {"cross_validate_below": 3})
    assert choose_validation(few, ["a", "b", "a"]) == "cross_validation"
    queries = iter(["a", "b", "a", "c", "d"])
    assert choose_validation(few, queries) == "hold_out"
    assert list(queries) == ["d"]
    assert choose_validation(recipe(Path("unused"), dev="dev"), []) == "dev"


def test_a_fifth_is_held_out_whatever_the_order() -> None:
    queries = [f"query {number}" for number in range(500)]
    chosen = held_out_queries(queries, None, seed=1)
    assert 70 < len(chosen) < 130
    assert held_out_queries([*reversed(queries), *queries], None, seed=1) == chosen
    assert held_out_queries(queries, 10, seed=1) < chosen
    assert len(held_out_queries(queries, 10, seed=1)) == 10
    assert held_out_queries(queries, None, seed=2) != chosen


def test_what_was_cut_out_is_no_leak_but_what_is_nearly_it_is(tmp_path: Path) -> None:
    queries = [f"how to {word} {n}" for n, word in enumerate(WORDS * 6)]
    twins = [f"How  to {word} {n}" for n, word in enumerate(WORDS * 6)]
    path = rows(tmp_path / "rows.csv", *(f"{q},{d},{d == 'a':d}" for q in (*queries, *twins) for d in ("a", "b")))
    given = recipe(path, {"without_dev": "hold_out"})
    _, split = divided(given, tmp_path)
    assert split.dev
    held_out = set(split.dev.queries.values())
    twin = {**dict(zip(queries, twins, strict=True)), **dict(zip(twins, queries, strict=True))}
    assert split.withheld == held_out | {twin[query] for query in held_out}
    assert split.overlap.leaked == 2 * len(split.withheld - held_out)
    _, resumed = divided(given, tmp_path)
    assert (resumed.withheld, resumed.overlap, resumed.dev) == (split.withheld, split.overlap, split.dev)


def test_two_sets_of_one_name(judged: Path, tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.csv", "how to knit,a,1", "how to knit,b,0")
    with pytest.raises(UsageError, match="one name"):
        divided(recipe(path, dev=judged, regression_sets=[judged]), tmp_path)


@pytest.mark.parametrize("role", ["dev", "regression_sets"])
def test_judgements_that_are_learnt_are_not_measured(judged: Path, role: str) -> None:
    held_out: dict[str, object] = {role: judged if role == "dev" else [judged]}
    with pytest.raises(UsageError, match="both name the judgements"):
        refuse_learning_what_is_measured(recipe(judged, None, **held_out))


def test_splits_of_one_set_may_be_learnt_and_measured(judged: Path) -> None:
    (judged / "qrels").mkdir()
    for split in ("train", "test"):
        (judged / "qrels" / f"{split}.tsv").write_bytes((judged / "qrels.tsv").read_bytes())
    (judged / "qrels.tsv").unlink()
    refuse_learning_what_is_measured(recipe(judged, dev=judged))
    source = {"path": str(judged), "split": "test"}
    with pytest.raises(UsageError, match="both name the judgements"):
        refuse_learning_what_is_measured(recipe(judged, train=[source], dev=judged))


def test_a_model_is_not_evaluated_on_what_its_recipe_learnt(judged: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "recipe.toml").write_text(f'[[data.train]]\npath = "{judged}"\n')
    with pytest.raises(UsageError, match="has learnt from the judgements"):
        evaluate_model(str(model), judged)
