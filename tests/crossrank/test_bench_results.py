"""Results of benchmarks: compared, drawn, and turned into a number of machines."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.bench.compare import compare_results
from crossrank.bench.load import Load, Outcome
from crossrank.bench.load_summary import summarise
from crossrank.bench.report import write_report, write_result
from crossrank.bench.result import Estimate, Quality, Result, Speed, new_result, read_result
from crossrank.bench.size import replicas_for
from serve.errors import UsageError
from tests.conftest import HELDOUT

ATTACK = "<script>alert(1)</script>"


def speed(name: str, pairs_per_second: list[float], ratio: float) -> Speed:
    return Speed(
        name=name,
        concurrency=1,
        pairs_per_second=pairs_per_second,
        median=float(np.median(pairs_per_second)),
        ratio=Estimate(median=ratio, low=ratio, high=ratio),
        kendall_tau=None,
        top_1=None,
        loss={},
    )


def engine_result(factor: float, machine: float) -> Result:
    """A contestant `factor` times its baseline, on a machine that is itself so fast."""
    noise = np.array([1.0, 1.02, 0.99, 1.01, 0.98])
    ours = (50 * factor * machine * noise[::-1]).tolist()
    return new_result(
        "engine", {}, speeds=[speed("torch", (50 * machine * noise).tolist(), 1.0), speed("ours", ours, factor)]
    )


def load_result(latency: float, seed: int = 0) -> Result:
    draw = np.random.default_rng(seed)
    outcomes = [Outcome(n / 100, 0.0, latency * float(draw.uniform(0.9, 1.1)), "OK", 5) for n in range(1000)]
    return new_result("load", {"objective": ""}, loads=[summarise(Load(outcomes, 10.0, 0.5), {"clients": 1})])


def quality_result(shift: float) -> Result:
    per_query = np.clip(np.random.default_rng(0).uniform(0.2, 0.8, 80) + shift, 0, 1)
    point = Quality(
        variant="fp32",
        max_length=96,
        long_documents="truncate",
        data="heldout",
        queries=80,
        ndcg_10=float(per_query.mean()),
        mrr_10=0.5,
        ndcg_difference=None,
        pairs_per_second=100.0,
        per_query=per_query.tolist(),
    )
    return new_result("quality", {}, quality=[point])


def test_a_faster_machine_is_no_change_and_a_faster_contestant_is() -> None:
    [change] = compare_results(engine_result(2.0, 1.0), engine_result(2.0, 3.0))
    assert not change.beyond_noise
    assert change.ratio.median == pytest.approx(1.0)
    [change] = compare_results(engine_result(2.0, 1.0), engine_result(3.0, 0.5))
    assert change.beyond_noise
    assert change.ratio.median == pytest.approx(1.5)


def test_latency_and_quality_change_beyond_noise_or_not() -> None:
    assert not any(change.beyond_noise for change in compare_results(load_result(0.1), load_result(0.1, seed=1)))
    slower = compare_results(load_result(0.1), load_result(0.12, seed=1))
    assert [change.beyond_noise for change in slower] == [True, True]
    assert slower[0].after == pytest.approx(120, rel=0.02)
    [same] = compare_results(quality_result(0.0), quality_result(0.0))
    [worse] = compare_results(quality_result(0.0), quality_result(-0.05))
    assert (same.beyond_noise, worse.beyond_noise) == (False, True)


def test_calls_that_wait_in_one_queue_are_not_many_witnesses() -> None:
    def stalled(slice_of_stall: int) -> Result:
        outcomes = [Outcome(n / 100, 0.0, 1.0 if n // 100 == slice_of_stall else 0.1, "OK", 1) for n in range(1000)]
        return new_result("load", {"objective": ""}, loads=[summarise(Load(outcomes, 10.0, 0.5), {"clients": 1})])

    # One stall of a second in the second run: a thousand calls, but a single event.
    calm = new_result(
        "load",
        {"objective": ""},
        loads=[summarise(Load([Outcome(n / 100, 0.0, 0.1, "OK", 1) for n in range(1000)], 10.0, 0.5), {"clients": 1})],
    )
    changes = {change.what.split("latency ")[1]: change for change in compare_results(calm, stalled(4))}
    assert changes["p99, ms"].after == pytest.approx(1000)
    assert not changes["p99, ms"].beyond_noise


def test_results_that_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bench engine, the other of bench load"):
        compare_results(engine_result(2, 1), load_result(0.1))
    with pytest.raises(UsageError, match="nothing in common"):
        compare_results(new_result("load", {}), load_result(0.1))
    (tmp_path / "old.json").write_text(json.dumps({"schema_version": 1, "benchmark": "engine"}))
    with pytest.raises(UsageError, match="no result of this version"):
        read_result(tmp_path / "old.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_result(tmp_path / "none.json")


@given(st.floats(0.1, 10_000), st.floats(0.01, 1000))
def test_replicas_carry_the_load_with_a_fifth_to_spare(rate: float, highest: float) -> None:
    sizing = replicas_for("fp32", rate, highest)
    assert sizing.replicas is not None
    assert sizing.replicas * 0.8 * highest >= rate * (1 - 1e-9)
    assert (sizing.replicas - 1) * 0.8 * highest < rate
    assert replicas_for("fp32", rate, 0.0).replicas is None


def test_a_report_holds_its_pictures_and_runs_nothing(tmp_path: Path) -> None:
    engine = engine_result(2.0, 1.0).model_copy(update={"settings": {"model": ATTACK}})
    write_result(engine, tmp_path / "engine")
    write_result(load_result(0.1), tmp_path / "load")
    assert read_result(tmp_path / "engine" / "result.json") == engine
    assert sorted(path.name for path in (tmp_path / "engine").iterdir()) == ["report.html", "result.json", "speed.png"]
    page = write_report([engine, load_result(0.1), quality_result(0.0)], tmp_path / "all").read_text()
    assert ATTACK not in page
    assert page.count("data:image/png;base64,") == 3
    pictures = {path.name for path in (tmp_path / "all").glob("*.png")}
    assert pictures == {"1-engine-speed.png", "2-load-latency.png", "3-quality-quality.png"}


def crossrank(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "crossrank.cli", *arguments], capture_output=True, text=True)


def json_of(*arguments: str) -> Any:
    done = crossrank(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_quality_of_every_variant_and_setting(trained: Path, ranker: Path, tmp_path: Path) -> None:
    arguments = ["bench", "quality", str(ranker), str(HELDOUT), "--model", str(trained), "--max-length", "96"]
    arguments += ["--max-length", "32", "--long-documents", "truncate", "--long-documents", "chunk"]
    printed = json_of(*arguments, "--variant", "fp32", "--max-queries", "6", "--out", str(tmp_path / "before"))
    result = Result.model_validate(printed)
    settings = [(point.variant, point.max_length, point.long_documents) for point in result.quality]
    assert settings == [
        ("PyTorch fp32", 96, "truncate"),
        ("fp32", 96, "truncate"),
        ("fp32", 96, "chunk"),
        ("fp32", 32, "truncate"),
        ("fp32", 32, "chunk"),
    ]
    reference, exact, *_ = result.quality
    assert reference.ndcg_difference is None
    assert exact.ndcg_difference is not None
    assert exact.per_query == pytest.approx(reference.per_query, abs=1e-9)
    assert any(point.per_query != pytest.approx(reference.per_query, abs=1e-6) for point in result.quality[2:])
    assert (tmp_path / "before" / "quality.png").is_file()
    file = str(tmp_path / "before" / "result.json")
    compared = json_of("bench", "compare", file, file)
    assert [change["beyond_noise"] for change in compared] == [False] * 5
    page = crossrank("bench", "report", file, "--out", str(tmp_path / "page"))
    assert page.stdout.strip() == str(tmp_path / "page" / "report.html")


def test_quality_that_cannot_be_measured(ranker: Path) -> None:
    for arguments, sentence in (
        (["--variant", "fp64"], "variant fp64: the ranker has"),
        (["--max-length", "4096"], "max_length 4096: the ranker reads at most 96 tokens"),
    ):
        done = crossrank("bench", "quality", str(ranker), str(HELDOUT), *arguments)
        assert done.returncode == 2
        assert sentence in done.stderr.splitlines()[-1]


def test_a_load_is_sized(ranker: Path) -> None:
    arguments = ["bench", "size", str(ranker), "--rate", "1000", "--slo", "p90=2s", "--documents", "5"]
    result = Result.model_validate(json_of(*arguments, "--variant", "fp32", "--seconds", "1"))
    [sizing] = result.sizing
    assert sizing == replicas_for("fp32", 1000, sizing.highest_rate)
    assert sizing.highest_rate > 0
    assert {load.how["variant"] for load in result.loads} == {"fp32"}
