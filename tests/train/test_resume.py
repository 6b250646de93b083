import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from crossrank.errors import UsageError
from crossrank.train.fit.fine_tune import Stopped
from crossrank.train.pipeline import train
from crossrank.train.recipe_files import load_recipe
from crossrank.train.run_directory import open_run, run_of
from tests.support.tiny_models import tiny_cross_encoder

WORDS = ("read", "a", "file", "parse", "json", "add", "two", "numbers", "city", "france", "long", "word")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A tiny BERT, with its dropout, and 240 rows; 120 steps of 8 in four epochs."""
    tiny_cross_encoder("bert", tmp_path / "base")
    rows = [
        {"query": f"{WORDS[n % 12]} {WORDS[n % 7]}", "document": " ".join(WORDS[: 2 + n % 9]), "label": n % 2}
        for n in range(240)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text(
        f'name = "tiny"\nbase = "{tmp_path / "base"}"\nmax_length = 32\n'
        '[data]\ntrain = "rows.jsonl"\n[evaluation]\nwithout_dev = "none"\n'
        "[training]\nnum_train_epochs = 4\nper_device_train_batch_size = 8\nlearning_rate = 1e-3\nsave_steps = 10\n"
        "logging_steps = 10\n"
    )
    return tmp_path / "recipe.toml"


def weights(model: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = load_file(model / "model.safetensors")
    return loaded


def largest_difference(a: Path, b: Path) -> float:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    return float(max((first[name] - second[name]).abs().max() for name in first))


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "crossrank.cli", "train", str(recipe), "--out", str(out), *more]


def test_a_killed_run_goes_on_to_the_same_weights(recipe: Path, tmp_path: Path) -> None:
    whole = train(load_recipe(recipe), tmp_path / "whole")
    out, run = tmp_path / "killed", run_of(tmp_path / "killed")
    with subprocess.Popen(command(recipe, out), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and (run.checkpoint() is None or len(list(run.path.glob("checkpoint-*"))) < 2):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert run.checkpoint() is not None
    report = train(load_recipe(recipe), out)
    assert whole is not None and report is not None
    assert largest_difference(tmp_path / "whole", out) <= 1e-6
    assert [step for step, _, _ in report.history.losses] == [1, *range(10, 121, 10)]
    assert report.history.losses == whole.history.losses
    assert not run.path.exists()
    assert not list(tmp_path.glob(".killed.*"))


def test_a_run_stopped_by_the_clock_or_by_sigterm_says_so_and_goes_on(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped, match="stopped at step 1 of 120; the same command resumes there") as stopped:
        train(load_recipe(recipe), tmp_path / "out", time_limit=0.0)
    assert stopped.value.exit_code == 75

    def interrupt(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("train on") and vars(record)["progress"].done == 20:
            signal.raise_signal(signal.SIGTERM)
        return True

    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger("crossrank.train"), "level", logging.INFO)
        patch.setattr(logging.getLogger("crossrank.train"), "filters", [interrupt])
        with pytest.raises(Stopped, match=r"stopped at step 2[01] of 120"):
            train(load_recipe(recipe), tmp_path / "out")
    report = train(load_recipe(recipe), tmp_path / "out")
    assert report is not None and report.history.steps == 120
    train(load_recipe(recipe), tmp_path / "whole")
    assert largest_difference(tmp_path / "whole", tmp_path / "out") <= 1e-6


def test_the_unfinished_run_of_another_recipe_is_not_thrown_away_unasked(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(load_recipe(recipe), tmp_path / "out", time_limit=0.0)
    other = load_recipe(recipe, ["training.learning_rate=1e-4"])
    with pytest.raises(UsageError, match="unfinished run of another recipe"):
        train(other, tmp_path / "out")
    (tmp_path / "rows.jsonl").write_text((tmp_path / "rows.jsonl").read_text() + "\n")
    with pytest.raises(UsageError, match="of other data or models"):
        train(load_recipe(recipe), tmp_path / "out")
    report = train(other, tmp_path / "out", force=True)
    assert report is not None and report.history.losses[0][0] == 1


def test_a_checkpoint_cut_short_is_passed_over(recipe: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "out")
    for step, complete in ((9, True), (10, True), (11, False)):
        (run.path / f"checkpoint-{step}").mkdir(parents=True)
        (run.path / f"checkpoint-{step}" / "elapsed.json").write_text("1.5" if complete else "")
    assert run.checkpoint() == run.path / "checkpoint-10"


def test_a_run_is_run_by_one_process(recipe: Path, tmp_path: Path) -> None:
    loaded = load_recipe(recipe)
    with open_run(tmp_path / "out", loaded, force=False), pytest.raises(UsageError, match="run by another process"):
        train(loaded, tmp_path / "out")


@pytest.mark.parametrize("changed", ["rows.jsonl", "base/config.json"])
def test_what_a_run_learns_from_must_stay_the_same(recipe: Path, tmp_path: Path, changed: str) -> None:
    with suppress(Stopped), open_run(tmp_path / "out", load_recipe(recipe), force=False):
        raise Stopped
    path = tmp_path / changed
    path.write_text(path.read_text() + "\n")
    with (
        pytest.raises(UsageError, match="of other data or"),
        open_run(tmp_path / "out", load_recipe(recipe), force=False),
    ):
        pass


@pytest.mark.verify
def test_two_processes_learn_what_one_does(recipe: Path, tmp_path: Path) -> None:
    """The same global batches: two of 8 at once, or one after another before a step. Without dropout."""
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    one, two = tmp_path / "one", tmp_path / "two"
    # As torchrun sets it: threads add in another order, and Adam makes steps of the difference where gradients vanish.
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(recipe, one, "--set", "training.gradient_accumulation_steps=2"), check=True, env=threads)
    torchrun: list[Any] = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, *command(recipe, two)[1:]], check=True, timeout=200, env=threads)
    assert largest_difference(one, two) <= 1e-5
    assert largest_difference(one, tmp_path / "base") > 1e-3
