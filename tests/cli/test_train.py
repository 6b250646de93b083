"""`crossrank train` as a person calls it: verdicts, exit codes, and every kind of bad data in one sentence."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossrank.calibration.curves import Calibration, read_calibration
from crossrank.cli.app import main
from tests.support.tiny_models import tiny_cross_encoder

WORDS = ("read", "a", "file", "parse", "json", "add", "two", "numbers", "city", "france", "long", "word")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross_encoder("bert", tmp_path_factory.mktemp("train") / "base")


def written(directory: Path, base: Path, data: str, more: str = "") -> Path:
    path = directory / "recipe.toml"
    path.write_text(
        f'name = "tiny"\nbase = "{base}"\nmax_length = 32\n[data]\n{data}\n[training]\nmax_steps = 4\n'
        f'per_device_train_batch_size = 8\nreport_to = "none"\n{more}'
    )
    return path


def rows(queries: int) -> str:
    return "".join(
        json.dumps({"query": f"{WORDS[n % 12]} {WORDS[n // 12]} {n}", "document": text, "label": label}) + "\n"
        for n in range(queries)
        for text, label in ((f"{WORDS[n % 12]} {n}", 1), (f"{WORDS[(n + 5) % 12]} {n + 1}", 0))
    )


Train = Callable[..., SimpleNamespace]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """The command, in this process: importing PyTorch anew for each call would take most of the time."""

    def run(recipe: Path | None, *more: str) -> SimpleNamespace:
        given = [] if recipe is None else [str(recipe), "--out", str(recipe.parent / "out")]
        monkeypatch.setattr(sys, "argv", ["crossrank", "train", *given, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=out, stderr=err)

    return run


def test_little_data_is_cross_validated_and_a_verdict_becomes_the_exit_code(
    base: Path, tmp_path: Path, train: Train
) -> None:
    (tmp_path / "rows.jsonl").write_text(rows(12))
    recipe = written(
        tmp_path, base, 'train = "rows.jsonl"', "[evaluation]\nfolds = 3\n[calibration]\nmethod = 'isotonic'\n"
    )
    outcome = train(recipe, "--require-better", "--json")
    assert outcome.returncode == 3, outcome.stderr
    assert outcome.stderr.splitlines()[-1].endswith("was written, but the training is not shown to have helped")
    report = json.loads(outcome.stdout)
    assert report["verdict"]["folds"] == 3
    assert report["verdict"]["queries"] == 12
    assert report["verdict"]["reference"] == "base"
    assert set(report["evaluation"]["systems"]) == {"tuned", "bm25", "base"}
    out = tmp_path / "out"
    assert report["verdict"]["sentence"] in (out / "README.md").read_text()
    page = (out / "report.html").read_text()
    assert report["verdict"]["sentence"] in page
    assert page.count("data:image/png;base64,") == len(list(out.glob("*.png"))) == 6
    assert json.loads((out / "metrics.json").read_text())["verdict"] == report["verdict"]
    assert Calibration.model_validate(report["calibration"]) == read_calibration(out)
    assert report["calibration"]["judgements"] == 24
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "recipe.toml", "out"}


def test_of_much_data_a_fifth_is_held_out(base: Path, tmp_path: Path, train: Train) -> None:
    (tmp_path / "rows.jsonl").write_text(rows(40))
    recipe = written(tmp_path, base, 'train = "rows.jsonl"', "[evaluation]\ncross_validate_below = 40\n")
    outcome = train(recipe, "--json")
    assert outcome.returncode == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["verdict"]["folds"] is None
    assert 0 < report["verdict"]["queries"] < 20
    assert report["screening"]["leaked"] == 0
    assert report["training_set_pairs"] == 80 - 2 * report["verdict"]["queries"]


def test_dev_and_regression_sets_may_be_files_of_rows(base: Path, tmp_path: Path, train: Train) -> None:
    for name in ("rows", "dev", "guard"):
        (tmp_path / f"{name}.jsonl").write_text(rows(8).replace('"query": "', f'"query": "{name} '))
    recipe = written(tmp_path, base, 'train = "rows.jsonl"\ndev = "dev.jsonl"\nregression_sets = ["guard.jsonl"]')
    outcome = train(recipe, "--set", "training.eval_steps=2", "--set", "training.logging_steps=1")
    assert outcome.returncode == 0, outcome.stderr
    assert "guard: 8 queries" in outcome.stdout
    assert "Verdict: " in outcome.stdout
    assert "nDCG@10 0." in outcome.stderr
    # Each of these may take minutes, and says when it begins.
    for step in (f"read {tmp_path / 'rows.jsonl'}", "rank guard without training", "rank guard with the tuned model"):
        assert step in outcome.stderr
    # An evaluation takes no report of the loss for itself.
    assert all(f": {number} of 4, loss " in outcome.stderr for number in (1, 2, 3, 4))


BAD: dict[str, tuple[str, str, str]] = {
    "label out of range": ("rows.csv", "query,document,label\nq,a,3\nq,b,0\n", "rows.csv:2: label '3' is not a number"),
    "empty text": (
        "rows.csv",
        "query,document,label\nq,,1\nq,b,0\n",
        "rows.csv:2: 'document' is blank",
    ),
    "one class": ("rows.csv", "query,document,label\nq,a,1\np,b,1\n", "all 2 rows have the same label"),
    "wrong separator": ("rows.csv", "query|document|label\nq|a|1\n", "rows.csv:2: the columns are 'query|document"),
    "two labels": (
        "rows.csv",
        "query,document,label\nq,a,1\nq,b,0\nq,a,0\n",
        "rows.csv:4: the same query and document as {root}/rows.csv:2; their labels contradict; keep the right one;",
    ),
    "a row twice": (
        "rows.csv",
        "query,document,label\nq,a,1\n\nq,b,0\nq,b,0\nq,a,1\n",
        "rows.csv:5: the same query and document as {root}/rows.csv:4; drop one of the two (2 rows repeat earlier",
    ),
    "no rows": ("rows.csv", "query,document,label\n", "holds no rows"),
    "not UTF-8": ("rows.csv", "query,document,label\nq,\udcff,1\n", "rows.csv:2: not UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_one_sentence_and_leaves_nothing(case: str, base: Path, tmp_path: Path, train: Train) -> None:
    name, content, sentence = BAD[case]
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    outcome = train(written(tmp_path, base, f'train = "{name}"', '[evaluation]\nwithout_dev = "none"\n'))
    assert outcome.returncode == 2, outcome.stderr
    assert sentence.format(root=tmp_path) in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr
    assert {path.name for path in tmp_path.iterdir()} == {name, "recipe.toml"}


def test_of_contradicting_rows_the_first_can_be_gone_on_with(base: Path, tmp_path: Path, train: Train) -> None:
    (tmp_path / "rows.jsonl").write_text(rows(4) + rows(4).replace('"label": 1', '"label": 0'))
    outcome = train(written(tmp_path, base, 'train = "rows.jsonl"'), "--set", "data.bad_rows=skip")
    assert "8 rows repeat the query and document of an earlier one and were left out" in outcome.stderr
    assert "over 4 folds (4 queries" in outcome.stdout


def test_triples_may_repeat_their_relevant_document(base: Path, tmp_path: Path, train: Train) -> None:
    (tmp_path / "triples.csv").write_text("query,positive,negative\nq,a,b\nq,a,c\np,a,b\n")
    outcome = train(written(tmp_path, base, 'train = "triples.csv"', '[evaluation]\nwithout_dev = "none"\n'), "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["training_set_pairs"] == 5
    assert "1 rows repeat the query and document of an earlier one" in outcome.stderr


def test_what_cannot_be_measured_is_trained_without_a_verdict(base: Path, tmp_path: Path, train: Train) -> None:
    (tmp_path / "rows.csv").write_text("query,document,label\nread,a,1\nparse,b,0\nadd,c,1\n")
    recipe = written(tmp_path, base, 'train = "rows.csv"')
    for below in (300, 1):
        outcome = train(recipe, "--force", "--set", f"evaluation.cross_validate_below={below}")
        assert outcome.returncode == 0, outcome.stderr
        assert "no query has documents of different labels" in outcome.stderr
        assert "No verdict" in outcome.stdout


def test_where_the_curves_go_must_be_installed(
    base: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").write_text(rows(4))
    recipe = written(tmp_path, base, 'train = "rows.jsonl"', '[evaluation]\nwithout_dev = "none"\n')
    monkeypatch.setitem(sys.modules, "trackio", None)
    outcome = train(recipe, "--set", "training.report_to=trackio")
    assert outcome.returncode == 2
    assert "training.report_to: trackio is not installed" in outcome.stderr
    outcome = train(
        recipe,
        *("--set", "training.report_to=tensorboard"),
        *("--set", "training.gradient_checkpointing=true"),
        *("--set", "training.gradient_accumulation_steps=2"),
    )
    assert outcome.returncode == 0, outcome.stderr
    assert any((tmp_path / "out" / "runs").rglob("events.out.tfevents.*"))


def test_training_on_what_is_held_out(base: Path, tmp_path: Path, train: Train) -> None:
    (tmp_path / "rows.jsonl").write_text(rows(6))
    outcome = train(written(tmp_path, base, 'train = "rows.jsonl"\ndev = "rows.jsonl"'))
    assert outcome.returncode == 2
    assert "12 training examples ask what is held out, or nearly, and no other is left" in outcome.stderr


def test_every_key_is_explained(train: Train) -> None:
    keys = json.loads(train(None, "--explain", "--json").stdout)
    assert {"key": "max_length", "default": "required", "meaning": keys[3]["meaning"]} in keys
    assert all(key["meaning"] for key in keys)
    names = [key["key"] for key in keys]
    assert {"training.learning_rate", "data.train.weight", "loss.name", "distillation.teacher"} <= set(names)
    assert len(names) == len(set(names))
    assert "training.learning_rate" in train(None, "--explain").stdout


def test_no_recipe_is_one_sentence(train: Train) -> None:
    outcome = train(None)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "--explain prints what it may hold" in outcome.stderr
