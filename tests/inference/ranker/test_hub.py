"""Hugging Face ids and revisions, against a hub on loopback."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossrank.calibration.curves import Platt, write_calibration
from crossrank.export.pipeline import ExportReport
from crossrank.inference.ranker.directory import open_ranker
from tests.conftest import HELDOUT, calibration_with
from tests.support.hub import Hub, running_hub


@pytest.fixture(scope="module")
def hub(tiny: ExportReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    model = tiny.directory.parent / "model"
    shutil.copytree(tiny.directory, root / "ranker")
    # What a stranger may have put there besides.
    (root / "ranker" / "pytorch_model.bin").write_bytes(b"pickle")
    (root / "ranker" / "modeling.py").write_text("raise SystemExit")
    shutil.copytree(model, root / "model")
    write_calibration(calibration_with(Platt(slope=2.0, intercept=0.5)), root / "model")
    for revision, label in (("main", 0.25), ("v1", 1.0)):
        row = {"question": "how to add", "document": "def add(a, b): return a + b", "label": label}
        (root / revision).mkdir()
        (root / revision / "ratings.jsonl").write_text(json.dumps(row) + "\n")
    repositories = {
        "us/ratings": {revision: root / revision for revision in ("main", "v1")},
        "us/model": {"main": model, "v1": root / "model"},
        "us/secret": {"main": model},
        "us/private-ratings": {"main": root / "main"},
        "us/ranker": {"main": root / "ranker", "v1": root / "ranker"},
    }
    with running_hub(
        Hub(repositories, private={"us/secret", "us/private-ratings"}, datasets={"us/ratings", "us/private-ratings"})
    ) as running:
        yield running


def python(
    hub: Hub, home: Path, *arguments: str, token: str | None = None, endpoint: str | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment = {**kept, "HF_ENDPOINT": endpoint or hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    if token:
        environment["HF_TOKEN"] = token
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )


def crossrank(
    hub: Hub, home: Path, *arguments: str, token: str | None = None, endpoint: str | None = None
) -> subprocess.CompletedProcess[str]:
    return python(hub, home, "-m", "crossrank.cli", *arguments, token=token, endpoint=endpoint)


EXAMPLES_OF_A_DATASET = """
import json, sys
from crossrank.train.recipe import Recipe
from crossrank.train.sources import read_source

recipe = Recipe.model_validate(
    {"name": "r", "base": "b", "max_length": 64, "data": {"train": [json.loads(sys.argv[1])]}}
)
for example in read_source(recipe.data.train[0], recipe):
    print(json.dumps([example.query, example.labels]))
"""

EXPORT = ("--variants", "fp32", "--max-queries", "2", "--json")


def test_a_model_is_exported_by_id_and_revision(hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = crossrank(hub, tmp_path / "home", "export-onnx", "us/model", "--out", str(out), "--revision", "v1", *EXPORT)
    assert done.returncode == 0, done.stderr
    source = json.loads((out / "onnx" / "manifest.json").read_text())["source"]
    assert (source["name"], source["revision"]) == ("us/model", hub.commit("us/model", "v1"))
    assert json.loads(done.stdout)["variants"][0]["failure"] is None
    assert open_ranker(out).calibration == calibration_with(Platt(slope=2.0, intercept=0.5))


def test_a_private_model_needs_the_token_of_the_environment(hub: Hub, tmp_path: Path) -> None:
    arguments = ("export-onnx", "us/secret", "--out", str(tmp_path / "out"), *EXPORT)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(hub.token)  # as `hf auth login` leaves it
    refused = crossrank(hub, tmp_path / "home", *arguments)
    assert refused.returncode == 2
    assert "us/secret is neither a directory nor a repository on the hub" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    done = crossrank(hub, tmp_path / "home", *arguments, token=hub.token)
    assert done.returncode == 0, done.stderr
    written = "".join(path.read_text(errors="replace") for path in (tmp_path / "out").rglob("*.json"))
    assert hub.token not in written + done.stdout + done.stderr
    assert open_ranker(tmp_path / "out").calibration is None


# All that may open what is private.
OPENERS = """
import sys
from functools import partial
from pathlib import Path
from crossrank.errors import UsageError
from crossrank.evaluation.evaluate_model import evaluate_model
from crossrank.models.bi_encoder import BiEncoder
from crossrank.train.fit.base import open_base
from crossrank.train.recipe import Recipe
from crossrank.train.recipe_data import Source
from crossrank.train.sources import _dataset_records

recipe = Recipe.model_validate({"name": "r", "base": "us/secret", "max_length": 32, "data": {"train": "x"}})
for name, opens in {
    "evaluate": partial(evaluate_model, "us/secret", Path(sys.argv[1])),
    "train": partial(open_base, recipe),
    "bi-encoder": partial(BiEncoder, "us/secret"),
    "dataset": lambda: next(_dataset_records(Source(dataset="us/private-ratings"))),
}.items():
    try:
        opens()
        print(name, "opened")
    except UsageError:
        print(name, "refused")
"""


@pytest.mark.parametrize("environment", [False, True])
def test_the_token_of_a_login_is_never_sent(hub: Hub, tmp_path: Path, environment: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text("hf_of_a_login")
    hub.tokens.clear()
    done = python(hub, home, "-c", OPENERS, str(HELDOUT), token=hub.token if environment else None)
    outcome = "opened" if environment else "refused"
    assert done.stdout.splitlines() == [
        f"{name} {outcome}" for name in ("evaluate", "train", "bi-encoder", "dataset")
    ], done.stderr
    assert hub.tokens == ({hub.token} if environment else set())


def test_a_ranker_is_opened_by_id_without_code_and_pickles(hub: Hub, tmp_path: Path) -> None:
    hub.served.clear()
    shown = crossrank(hub, tmp_path / "home", "inspect", "us/ranker@v1", "--no-speed", "--json")
    assert shown.returncode == 0, shown.stderr
    assert {here["golden"] for here in json.loads(shown.stdout)["here"].values()} == {"as exported"}
    assert "onnx/model.onnx" in hub.served
    assert not [name for name in hub.served if name.endswith((".bin", ".py", ".safetensors"))]
    # Now it is in the cache, and the hub may be away.
    document = tmp_path / "document.txt"
    document.write_text("def add(a, b): return a + b")
    again = crossrank(
        hub, tmp_path / "home", "rank", "add", str(document), "--ranker", "us/ranker@v1", endpoint="http://127.0.0.1:9"
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"dataset": "us/ratings", "revision": "v1"}, 1.0),
        ({"dataset": "us/nothing"}, "cannot load dataset us/nothing"),
    ],
)
def test_a_dataset_is_learnt_from_by_id_and_revision(
    hub: Hub, tmp_path: Path, source: dict[str, str], expected: float | str
) -> None:
    table = json.dumps({**source, "columns": {"query": "question"}})
    done = python(hub, tmp_path / "home", "-c", EXAMPLES_OF_A_DATASET, table)
    if isinstance(expected, str):
        assert f"UsageError: data.train: {expected}" in done.stderr.splitlines()[-1]
    else:
        assert json.loads(done.stdout) == ["how to add", [expected]], done.stderr


@pytest.mark.parametrize(
    ("name", "endpoint", "sentence"),
    [
        ("us/ranker@v9", None, "us/ranker has no revision 'v9' on the hub"),
        ("us/nothing", None, "neither a directory nor a repository on the hub that we may read; if it is private"),
        ("us/ranker", "http://127.0.0.1:9", "the hub cannot be reached"),
        ("../us/ranker", None, "is not a directory"),
        ("us/model", None, "is not a ranker: it has no onnx/manifest.json"),
    ],
)
def test_what_the_hub_does_not_have_is_one_sentence(
    hub: Hub, tmp_path: Path, name: str, endpoint: str | None, sentence: str
) -> None:
    refused = crossrank(hub, tmp_path / "home", "inspect", name, endpoint=endpoint)
    assert refused.returncode == 2, refused.stderr
    assert sentence in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
