"""`crossrank evaluate` as a person calls it: splits, files of rows, and paths from home."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossrank.cli.app import main
from crossrank.inference.ranker.hub import DEFAULT_RANKER

ANSWERS = {
    "how many legs has a spider": "A spider has eight legs.",
    "where is Paris": "Paris is a city in France.",
    "who wrote Hamlet": "Hamlet was written by Shakespeare.",
    "what do bees make": "Bees make honey.",
}

Evaluate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """One query to learn from, three to measure on."""
    directory = tmp_path / "set"
    (directory / "qrels").mkdir(parents=True)
    queries = [{"_id": f"q{n}", "text": text} for n, text in enumerate(ANSWERS)]
    documents = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(ANSWERS.values())]
    (directory / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (directory / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    for split, judged in (("train", (0,)), ("test", (1, 2, 3))):
        lines = "".join(f"q{n}\td{n}\t1\n" for n in judged)
        (directory / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    return directory


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """The command, in this process: exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crossrank", "evaluate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run


def learnt_from(directory: Path, **source: Any) -> Path:
    """The default ranker as if it had been trained here."""
    shutil.copytree(DEFAULT_RANKER, directory)
    tables = "".join(f'{key} = "{value}"\n' for key, value in source.items())
    (directory / "recipe.toml").write_text(f"[data]\n[[data.train]]\npath = '/gone'\n[[data.train]]\n{tables}")
    return directory


def test_test_is_measured_where_no_split_is_named(beir: Path, evaluate: Evaluate) -> None:
    code, out, err = evaluate(str(beir), "--json")
    assert code == 0, err
    assert json.loads(out)["queries"] == 3
    assert "the split test is read" in err


def test_a_split_is_measured_by_name(beir: Path, evaluate: Evaluate) -> None:
    code, out, err = evaluate(str(beir), "--split", "train", "--json")
    assert code == 0, err
    assert json.loads(out)["queries"] == 1
    code, _, err = evaluate(str(beir), "--split", "dev")
    assert code == 2
    assert "has no split dev, only test, train" in err.splitlines()[-1]


def test_what_was_learnt_is_not_measured(beir: Path, tmp_path: Path, evaluate: Evaluate) -> None:
    model = str(learnt_from(tmp_path / "model", path=beir))
    code, _, err = evaluate(str(beir), "--split", "train", "--model", model)
    assert code == 2
    assert "has learnt from the judgements of" in err.splitlines()[-1]
    link = tmp_path / "another-name"
    link.symlink_to(beir)
    assert evaluate(str(link), "--split", "train", "--model", model)[0] == 2
    assert evaluate(str(beir), "--model", model)[0] == 0


def test_a_file_of_rows_has_no_splits_and_is_not_measured_once_learnt(tmp_path: Path, evaluate: Evaluate) -> None:
    rows = tmp_path / "rows.CSV"
    lines = [f"{asked};{text};{asked == query}" for asked in ANSWERS for query, text in ANSWERS.items()]
    rows.write_text("Question;Context;Label\n" + "\n".join(lines), encoding="utf-16")
    code, out, err = evaluate(str(rows), "--json")
    assert code == 0, err
    assert json.loads(out)["queries"] == 4
    assert "leave the split 'train' out" in evaluate(str(rows), "--split", "train")[2]
    model = str(learnt_from(tmp_path / "model", path=rows))
    assert "has learnt from" in evaluate(str(rows), "--model", model)[2]


def test_home_is_expanded_where_the_shell_leaves_it(
    beir: Path, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(beir.parent))
    shutil.copytree(DEFAULT_RANKER, beir.parent / "model")
    code, out, err = evaluate("~/set", "--model=~/model", "--json")
    assert code == 0, err
    assert json.loads(out)["queries"] == 3
    code, _, err = evaluate("~nobody-of-this-name/set")
    assert code == 2
    assert "~nobody-of-this-name/set: not an evaluation set" in err.splitlines()[-1]
