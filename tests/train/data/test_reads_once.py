"""Each source of a training is read once and mined once, whatever its verdict rests on."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crossrank.data.eval_set import JudgedSet, write_judged_set
from crossrank.train.negatives import mine_negatives
from crossrank.train.pipeline import train
from crossrank.train.recipe import Recipe
from tests.support.tiny_models import tiny_cross_encoder

QUERIES = [f"read the {word} of {place}" for word in ("map", "list", "tree") for place in ("rome", "oslo", "lima")]
OPENED: list[str] = []

sys.addaudithook(lambda event, given: OPENED.append(str(given[0])) if event == "open" else None)


def evaluation_set(path: Path, name: str) -> Path:
    corpus = {f"d{number}": f"{name} {query}: answer {number}" for number, query in enumerate(QUERIES)}
    queries = {f"q{number}": f"{query} in {name}" for number, query in enumerate(QUERIES)}
    write_judged_set(JudgedSet(queries, corpus, {f"q{n}": {f"d{n}": 1} for n in range(len(QUERIES))}), path)
    return path


def rows(path: Path) -> Path:
    lines = [{"query": q, "document": d, "label": int(d == "yes")} for q in QUERIES for d in ("yes", "no")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross_encoder("bert", tmp_path_factory.mktemp("once") / "base")


@pytest.mark.parametrize("kind", ["set", "rows"])
@pytest.mark.parametrize("strategy", ["dev", "cross_validation", "hold_out", "none"])
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "lambda_loss"])
def test_each_source_is_read_and_mined_once(
    kind: str, strategy: str, loss: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rows(tmp_path / "source.jsonl") if kind == "rows" else evaluation_set(tmp_path / "source", "source")
    data: dict[str, Any] = {"train": str(source), "negatives": {"bm25": 1, "random": 1}}
    if strategy == "dev":
        data["dev"] = evaluation_set(tmp_path / "dev", "dev")
    mined: list[Any] = []

    def counted(judged: JudgedSet, *given: Any, **others: Any) -> Any:
        mined.append(judged)
        return mine_negatives(judged, *given, **others)

    monkeypatch.setattr("crossrank.train.sources.mine_negatives", counted)
    OPENED.clear()
    recipe = {"name": "r", "base": str(base), "max_length": 32, "data": data, "loss": {"name": loss}}
    without_dev = "hold_out" if strategy == "dev" else strategy
    recipe |= {"evaluation": {"without_dev": without_dev, "folds": 2}, "training": {"max_steps": 1}}
    report = train(Recipe.model_validate(recipe), tmp_path / "out")
    assert report is not None
    assert (report.measured is not None) == (strategy != "none")
    opened = Counter(path for path in OPENED if Path(path).is_relative_to(source))
    files = [source] if kind == "rows" else sorted(path for path in source.iterdir())
    assert opened == {str(path): 1 for path in files}
    assert len(mined) == (kind == "set")
