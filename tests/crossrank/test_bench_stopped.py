"""What benchmarks keep where somebody stops them, or a part of them fails."""

import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crossrank.bench import alternate as turns_of
from crossrank.bench import engine, quality, size, training
from crossrank.bench.objective import Objective, Search
from crossrank.bench.outcomes import STOPPED, Load, Outcome
from crossrank.bench.result import Check, Quality
from crossrank.errors import CrossrankError, UsageError
from crossrank.train.recipe_files import load_recipe
from tests.conftest import HELDOUT


def test_ctrl_c_keeps_the_points_that_were_measured(ranker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = quality._point
    taken: list[Quality] = []

    def stopped_at_the_second(*arguments: Any) -> Quality:
        if taken:
            raise KeyboardInterrupt
        taken.append(measure(*arguments))
        return taken[0]

    monkeypatch.setattr(quality, "_point", stopped_at_the_second)
    result = quality.bench_quality(quality.QualityOptions(ranker, (HELDOUT,), max_queries=2))
    assert result.interrupted
    assert result.quality == taken
    with pytest.raises(KeyboardInterrupt):
        quality.bench_quality(quality.QualityOptions(ranker, (HELDOUT,), max_queries=2))


@pytest.fixture
def sizing(ranker: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[size.SizeOptions, list[Any]]:
    """Options, and what becomes of each variant's search in turn: what it finds, or what it raises."""
    ends: list[Any] = []

    def search(target: str, loads: Any) -> Search:
        end = ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        found: Search = end
        return found

    monkeypatch.setattr(size, "running_server", lambda *of: nullcontext(SimpleNamespace(target="")))
    monkeypatch.setattr(size, "run_load", search)
    return size.SizeOptions(ranker, 10.0, Objective(90, 1.0), variants=("fp32", "pruned")), ends


FOUND = Search(5.0, [(5.0, Load([Outcome(0.0, 0.0, 0.1, "OK", 1)], 1.0, 1.0))], "")


@pytest.mark.parametrize("end", [KeyboardInterrupt(), Search(0.0, [], STOPPED), CrossrankError("it answered nothing")])
def test_a_sizing_keeps_the_variants_before(end: Any, sizing: tuple[size.SizeOptions, list[Any]]) -> None:
    options, ends = sizing
    ends += [FOUND, end]
    result = size.bench_size(options)
    assert [entry.variant for entry in result.sizing] == ["fp32"]
    failed = isinstance(end, CrossrankError)
    assert result.interrupted is not failed
    assert result.failed == ({"pruned": "it answered nothing"} if failed else {})


def test_a_sizing_of_nothing_is_none(sizing: tuple[size.SizeOptions, list[Any]]) -> None:
    options, ends = sizing
    ends += [Search(0.0, [], STOPPED)]
    with pytest.raises(KeyboardInterrupt):
        size.bench_size(options)
    ends += [CrossrankError("one"), CrossrankError("two")]
    with pytest.raises(CrossrankError, match="fp32: one; pruned: two"):
        size.bench_size(options)
    no_numbers: list[dict[str, Any]] = [{"rate": float("inf")}, {"rate": float("nan")}, {"seconds": float("nan")}]
    for wrong in no_numbers:
        with pytest.raises(UsageError, match="give at most"):
            size.bench_size(replace(options, **wrong))


@pytest.mark.parametrize("how", ["stopped between turns", "stopped in a check", "failed in a check"])
def test_an_engine_that_is_stopped_keeps_its_turns(
    how: str, trained: Path, ranker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []

    def turns(entries: Any, *others: Any) -> Any:
        begun.append(entries)
        # The best batch size, all contestants, and then eight calls at once.
        stop = how == "stopped between turns" and len(begun) == 3
        return replace(turns_of.alternate(entries, *others), interrupted=stop)

    def checks(*arguments: Any) -> Any:
        assert how != "stopped between turns"
        yield Check(name="cores", value=1.0, unit="of all", aim="", reached=True, details={})
        raise KeyboardInterrupt if how == "stopped in a check" else CrossrankError("the server is gone")

    monkeypatch.setattr(engine, "alternate", turns)
    monkeypatch.setattr(engine, "_under_load", checks)
    monkeypatch.setattr(engine, "matmul_shares", lambda *of: [])
    monkeypatch.setattr(engine, "installed_peers", lambda *of: nullcontext(({}, {})))
    options = engine.EngineOptions(model=str(trained), ranker=ranker, documents=4, calls=1, alternations=2)
    result = engine.bench_engine(options)
    assert [speed.concurrency for speed in result.speeds][-3:] == [1, 8, 8]
    assert result.interrupted is how.startswith("stopped")
    assert result.failed == ({} if how.startswith("stopped") else {"the server under load": "the server is gone"})
    assert ("cores" in [check.name for check in result.checks]) is (how != "stopped between turns")


def test_a_training_that_is_stopped_keeps_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each turn trains ours in fp32, and where there is bf16 in bf16 too; it is stopped in the last turn of four.
    ended: list[str] = []

    def ours(model: Any, learnt: Any, recipe: Any, scratch: Path) -> None:
        if recipe.training.bf16 or ended.count("fp32") < last:
            ended.append("bf16" if recipe.training.bf16 else "fp32")
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_ours", ours)
    monkeypatch.setattr(training, "_baseline", lambda *of: None)
    monkeypatch.setattr(training, "_rows", lambda *of: SimpleNamespace(pairs=10))
    monkeypatch.setattr(training, "open_base", lambda recipe: None)
    recipe = load_recipe(HELDOUT.parent / "quickstart.toml")
    last = 3
    result = training.bench_training(recipe, training.TrainingOptions(32, 3))
    assert result.interrupted
    assert {len(speed.pairs_per_second) for speed in result.speeds} == {2}
    ended.clear()
    last = 1
    with pytest.raises(KeyboardInterrupt):
        training.bench_training(recipe, training.TrainingOptions(32, 3))


def test_servers_need_names_of_their_own(ranker: Path) -> None:
    for servers in (("a=http://127.0.0.1:9", "a=http://127.0.0.1:8"), ("http://127.0.0.1:9", "http://127.0.0.1:9")):
        with pytest.raises(UsageError, match="give each a name of its own"):
            engine.bench_engine(engine.EngineOptions(model="none", ranker=ranker, servers=servers))
    with pytest.raises(UsageError, match="write NAME=URL"):
        engine.bench_engine(engine.EngineOptions(model="none", ranker=ranker, servers=("=http://127.0.0.1:9",)))


def test_a_directory_that_cannot_be_made_is_found_out_before_measuring(ranker: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    measuring = ["size", str(ranker), "--rate", "1", "--slo", "p90=1s"]
    for arguments in (measuring, ["report", str(Path(engine.__file__).parent / "reference.json")]):
        command = [sys.executable, "-m", "crossrank.cli", "bench", *arguments, "--out", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [f"crossrank: {file} cannot be written: File exists"]
    assert file.read_text() == "kept"
