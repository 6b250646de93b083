"""Results of benchmarks: compared, drawn, and turned into a number of machines."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.bench.load_summary import summarise
from crossrank.bench.outcomes import Load
from crossrank.bench.plot import pareto_front
from crossrank.bench.report import write_report, write_result
from crossrank.bench.result import Result, new_result, read_result
from crossrank.bench.size import replicas_for
from crossrank.cli.bench_tables import show_result
from tests.conftest import HELDOUT
from tests.made_results import calls, engine_result, load_result, quality_result

ATTACK = "<script>alert(1)</script>"


@given(st.floats(0.1, 10_000), st.floats(0.01, 1000))
def test_replicas_carry_the_load_with_a_fifth_to_spare(rate: float, highest: float) -> None:
    sizing = replicas_for("fp32", rate, highest)
    assert sizing.replicas is not None
    assert sizing.replicas * 0.8 * highest >= rate * (1 - 1e-9)
    assert (sizing.replicas - 1) * 0.8 * highest < rate
    assert replicas_for("fp32", rate, 0.0).replicas is None


def test_the_printed_table_says_what_a_variant_loses(capsys: pytest.CaptureFixture[str]) -> None:
    sizing = replicas_for("qint8", 100, 10, loss={"wikiqa": -0.0042})
    settings = {"rate": 100.0, "documents": 50, "objective": "p99=1s"}
    show_result(new_result("size", settings, sizing=[sizing]))
    assert "wikiqa -0.0042" in capsys.readouterr().out


def test_what_meets_an_objective_is_no_rate_of_answers(capsys: pytest.CaptureFixture[str]) -> None:
    late = summarise(Load(calls(3.0), 10.0, 10.0), {"calls/s": 100.0}, objective_seconds=1.0)
    assert (late.goodput, late.statuses) == (0.0, {"OK": 1000})
    show_result(new_result("load", {"objective": "p99=1s"}, loads=[late]))
    show_result(load_result(calls(3.0)))
    within, without = capsys.readouterr().out.split("load on")[1:]
    assert "in time/s" in within
    assert "answered/s" in without


def test_on_the_front_nothing_is_both_faster_and_better() -> None:
    assert pareto_front([(10, 0.7), (50, 0.5), (40, 0.6), (30, 0.6), (20, 0.4)]) == [(50, 0.5), (40, 0.6), (10, 0.7)]


def test_a_report_holds_its_pictures_and_runs_nothing(tmp_path: Path) -> None:
    engine = engine_result(2.0, 1.0).model_copy(update={"settings": {"model": ATTACK}})
    write_result(engine, tmp_path / "engine")
    write_result(load_result(calls(0.1)), tmp_path / "load")
    assert read_result(tmp_path / "engine" / "result.json") == engine
    assert sorted(path.name for path in (tmp_path / "engine").iterdir()) == ["report.html", "result.json", "speed.png"]
    partial = quality_result(0.0).model_copy(update={"interrupted": True, "failed": {"fp16": "no such kernel"}})
    page = write_report([engine, load_result(calls(0.1)), partial], tmp_path / "all")[0].read_text()
    assert "It was interrupted" in page
    assert "fp16 could not be measured: no such kernel" in page
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
    assert exact.mrr_difference is not None
    assert exact.mrr_difference.value == 0
    assert any(point.per_query != pytest.approx(reference.per_query, abs=1e-6) for point in result.quality[2:])
    assert (tmp_path / "before" / "quality.png").is_file()
    file = str(tmp_path / "before" / "result.json")
    compared = json_of("bench", "compare", file, file)
    assert [change["beyond_noise"] for change in compared["changes"]] == [False] * 5
    assert compared["notes"] == []
    page = crossrank("bench", "report", file, "--out", str(tmp_path / "page"))
    assert page.stdout.strip() == str(tmp_path / "page" / "report.html")


def test_quality_that_cannot_be_measured(ranker: Path) -> None:
    for arguments, sentence in (
        (["--variant", "fp64"], "variant fp64: of the ranker's this machine runs"),
        (["--variant", "pruned"], "without fp32 among the variants there is nothing to compare with; give --model"),
        (["--max-length", "4096"], "max_length 4096: the ranker reads at most 96 tokens"),
    ):
        done = crossrank("bench", "quality", str(ranker), str(HELDOUT), *arguments)
        assert done.returncode == 2
        assert sentence in done.stderr.splitlines()[-1]


def test_a_load_is_sized(ranker: Path) -> None:
    arguments = ["bench", "size", str(ranker), "--rate", "1000", "--slo", "p90=2s", "--documents", "5"]
    result = Result.model_validate(json_of(*arguments, "--variant", "fp32", "--seconds", "1"))
    [sizing] = result.sizing
    assert sizing.replicas == replicas_for("fp32", 1000, sizing.highest_rate).replicas
    assert sizing.highest_rate > 0
    assert sizing.loss.keys() == {"code-search-heldout"}
    assert {load.settings["variant"] for load in result.loads} == {"fp32"}
