"""Interleaved rounds, their ratios, and what is kept where somebody stops them."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import engines, server_checks, training
from benchmarks.engines import EnginesOptions, bench_engines
from benchmarks.interleave import interleave, ratio
from benchmarks.results import Check
from crossrank.errors import CrossrankError
from crossrank.export.pipeline import ExportReport
from crossrank.train.recipe_files import load_recipe
from tests.conftest import HELDOUT


class Counting:
    """An engine that raises at its nth run."""

    def __init__(self, error: BaseException | None = None, at: int = 0) -> None:
        self.error, self.at, self.runs = error, at, 0

    def __call__(self) -> None:
        self.runs += 1
        if self.error and self.runs == self.at:
            raise self.error


def counts(seconds: dict[str, list[float]]) -> dict[str, int]:
    return {name: len(values) for name, values in seconds.items()}


def test_an_engine_that_raises_is_left_out_and_the_others_are_measured() -> None:
    broken = Counting(RuntimeError("out of luck\nmore"), at=3)
    rounds = interleave({"base": Counting(), "broken": broken, "other": Counting()}, 4)
    assert rounds.failed == {"broken": "out of luck"}
    assert broken.runs == 3
    assert counts(rounds.seconds) == {"base": 4, "other": 4}
    with pytest.raises(RuntimeError, match="out of luck"):
        interleave({"base": Counting(RuntimeError("out of luck"), at=2)}, 4)


def test_ctrl_c_keeps_the_rounds_that_all_have_finished() -> None:
    rounds = interleave({"base": Counting(), "other": Counting(KeyboardInterrupt(), at=4)}, 7)
    assert rounds.interrupted
    assert counts(rounds.seconds) == {"base": 2, "other": 2}
    with pytest.raises(KeyboardInterrupt):
        interleave({"base": Counting(KeyboardInterrupt(), at=2)}, 7)


def test_the_interval_of_a_ratio_is_exact() -> None:
    estimate = ratio([20.0, 40.0, 60.0, 80.0, 103.0], [10.0, 20.0, 30.0, 40.0, 50.0])
    assert (estimate.mean, estimate.low, estimate.high) == (2.0, 2.0, 2.06)
    # Of seven values the smallest and the largest hold the median unless all lie on one side: 1 - 2 / 2^7.
    found = ratio([7.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0] * 7)
    assert (found.mean, found.low, found.high) == (4.0, 1.0, 7.0)
    assert found.level == pytest.approx(1 - 2 / 2**7)
    # Of ten the second and the ninth: at most one of ten coins, 2 * 11 / 2^10.
    found = ratio([float(n) for n in range(1, 11)], [1.0] * 10)
    assert (found.low, found.high) == (2.0, 9.0)
    assert found.level == pytest.approx(1 - 22 / 2**10)
    assert ratio([1.0, 2.0], [1.0, 1.0]).level == 0.5


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CrossrankError("the server is gone")])
def test_engines_that_were_measured_are_kept_where_a_check_ends_early(
    error: BaseException, tiny: ExportReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks(*arguments: Any) -> Any:
        yield Check(name="cores", value=1.0, unit="of all", aim="", reached=True, details={})
        raise error

    monkeypatch.setattr(server_checks, "run_checks", checks)
    monkeypatch.setattr(engines, "matmul_shares", lambda *of: [])
    monkeypatch.setattr(engines, "installed_peers", lambda *of: nullcontext(({}, {})))
    model = str(tiny.directory.parent / "model")
    result = bench_engines(EnginesOptions(model=model, ranker=tiny.directory, documents=4, requests=1, rounds=2))
    stopped = isinstance(error, KeyboardInterrupt)
    assert [speed.concurrency for speed in result.speeds][-3:] == [1, 8, 8]
    assert result.interrupted is stopped
    assert result.failed == ({} if stopped else {"the server under load": "the server is gone"})
    assert "cores" in [check.name for check in result.checks]


def test_a_training_that_is_stopped_keeps_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped_at(run: int) -> Callable[..., None]:
        counting = Counting(KeyboardInterrupt(), run)
        return lambda *arguments: counting()

    monkeypatch.setattr(training, "_rows", lambda *of: SimpleNamespace(pairs=10))
    monkeypatch.setattr(training, "open_base", lambda recipe: None)
    monkeypatch.setattr(training, "_crossrank", lambda *of: None)
    recipe = load_recipe(HELDOUT.parent / "quickstart.toml")
    monkeypatch.setattr(training, "_baseline", stopped_at(4))  # after the warm-up and two rounds
    result = training.bench_training(recipe, training.TrainingOptions(32, 3))
    assert result.interrupted
    assert {len(speed.pairs_per_second) for speed in result.speeds} == {2}
    monkeypatch.setattr(training, "_baseline", stopped_at(2))
    with pytest.raises(KeyboardInterrupt):
        training.bench_training(recipe, training.TrainingOptions(32, 3))


def test_a_recipe_is_trained_by_both_trainers(tmp_path: Path) -> None:
    from tests.support.tiny_models import tiny_cross_encoder

    tiny_cross_encoder("bert", tmp_path / "base")
    rows = "".join(f'{{"query": "q {n}", "document": "d {n}", "label": {n % 2}}}\n' for n in range(40))
    (tmp_path / "rows.jsonl").write_text(rows)
    (tmp_path / "recipe.toml").write_text(
        f'name = "tiny"\nbase = "{tmp_path / "base"}"\nmax_length = 32\n[data]\ntrain = "rows.jsonl"\n'
        '[evaluation]\nwithout_dev = "none"\n'
    )
    result = training.bench_training(load_recipe(tmp_path / "recipe.toml"), training.TrainingOptions(32, 2))
    assert not result.failed
    assert {len(speed.pairs_per_second) for speed in result.speeds} == {2}
    assert [speed.name for speed in result.speeds][:2] == [training.BASELINE, "crossrank, fp32"]
