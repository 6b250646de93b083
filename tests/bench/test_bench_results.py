"""Results of benchmarks: as tables, as a page, and as a number of machines."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.bench.capacity import replicas_for
from crossrank.bench.load.load_metrics import Load, summarize
from crossrank.bench.plot import pareto_front
from crossrank.bench.report import section_of, write_report, write_result
from crossrank.bench.results import RESULTS, CapacityResult, LoadTestResult, QualityResult, read_result, this_run
from crossrank.bench.tables import tables_of
from crossrank.bench.variants import ndcg_changes
from crossrank.export.pipeline import ExportReport
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.ranker.manifest import read_manifest
from tests.bench.made_results import load_result, outcomes_of, quality_result
from tests.conftest import HELDOUT
from tests.support.commands import crossrank

ATTACK = "<script>alert(1)</script>"


@given(st.floats(0.1, 10_000), st.floats(0.01, 1000))
def test_replicas_carry_the_load_with_a_fifth_to_spare(rate: float, highest: float) -> None:
    capacity = replicas_for("fp32", rate, highest)
    assert capacity.replicas is not None
    assert capacity.replicas * 0.8 * highest >= rate * (1 - 1e-9)
    assert (capacity.replicas - 1) * 0.8 * highest < rate
    assert replicas_for("fp32", rate, 0.0).replicas is None


def test_a_capacity_says_what_a_variant_loses() -> None:
    [variant] = read_manifest(DEFAULT_RANKER).variants
    losses = ndcg_changes(variant)
    assert losses.keys() == {"wikiqa", "cosqa", "selqa", "pyfunc"}
    entry = replicas_for(variant.name, 100, 10, ndcg_change=losses)
    settings = {"rate": 100.0, "documents": 50, "slo": "p99=1s"}
    table, _ = tables_of(CapacityResult(**this_run(settings), variants=[entry], loads=[]))
    assert f"wikiqa {losses['wikiqa']:+.4f}" in table.rows[0][-1]


def test_goodput_within_an_objective_is_not_the_rate_of_answers() -> None:
    late = summarize(Load(outcomes_of(3.0), 10.0, 10.0), {"requests/s": 100.0}, slo_seconds=1.0)
    assert (late.goodput, late.statuses) == (0.0, {"OK": 1000})
    [within] = tables_of(LoadTestResult(**this_run({"slo": "p99=1s"}), loads=[late]))
    [without] = tables_of(load_result(outcomes_of(3.0)))
    assert "in time/s" in within.columns
    assert "answered/s" in without.columns


def test_on_the_front_nothing_is_both_faster_and_better() -> None:
    assert pareto_front([(10, 0.7), (50, 0.5), (40, 0.6), (30, 0.6), (20, 0.4)]) == [(50, 0.5), (40, 0.6), (10, 0.7)]


def test_a_report_holds_its_pictures_and_runs_nothing(tmp_path: Path) -> None:
    load = load_result(outcomes_of(0.1), model=ATTACK)
    write_result(section_of(load), tmp_path / "load")
    assert read_result(tmp_path / "load" / "result.json", RESULTS) == load
    names = sorted(path.name for path in (tmp_path / "load").iterdir())
    assert names == ["latency.png", "report.html", "result.json"]
    partial = quality_result(0.0).model_copy(update={"interrupted": True, "failed": {"fp16": "no such kernel"}})
    page = write_report([section_of(load), section_of(partial)], tmp_path / "all")[0].read_text()
    assert all(warning in page for warning in partial.warnings())
    assert len(partial.warnings()) == 2
    assert ATTACK not in page
    assert page.count("data:image/png;base64,") == 2
    assert {path.name for path in (tmp_path / "all").glob("*.png")} == {"1-load-latency.png", "2-quality-quality.png"}


def json_of(*arguments: str) -> Any:
    done = crossrank(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_quality_of_every_variant_and_setting(tiny: ExportReport, tmp_path: Path) -> None:
    model = str(tiny.directory.parent / "model")
    arguments = ["bench", "quality", str(tiny.directory), str(HELDOUT), "--model", model, "--max-length", "48"]
    arguments += ["--max-length", "24", "--long-documents", "truncate", "--long-documents", "chunk"]
    printed = json_of(*arguments, "--variant", "fp32", "--max-queries", "6", "--out", str(tmp_path / "before"))
    result = QualityResult.model_validate(printed)
    settings = [(point.variant, point.max_length, point.long_documents) for point in result.points]
    assert settings == [
        ("PyTorch fp32", 48, "truncate"),
        ("fp32", 48, "truncate"),
        ("fp32", 48, "chunk"),
        ("fp32", 24, "truncate"),
        ("fp32", 24, "chunk"),
    ]
    reference, exact, *_ = result.points
    assert reference.ndcg_difference is None
    assert exact.ndcg_difference is not None
    assert exact.per_query == pytest.approx(reference.per_query, abs=1e-9)
    assert exact.mrr_difference is not None
    assert exact.mrr_difference.mean == 0
    assert any(point.per_query != pytest.approx(reference.per_query, abs=1e-6) for point in result.points[2:])
    assert (tmp_path / "before" / "quality.png").is_file()
    file = str(tmp_path / "before" / "result.json")
    compared = json_of("bench", "compare", file, file)
    assert [change["beyond_noise"] for change in compared["changes"]] == [False] * 5
    assert compared["notes"] == []
    page = crossrank("bench", "report", file, "--out", str(tmp_path / "page"))
    assert page.stdout.strip() == str(tmp_path / "page" / "report.html")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--variant", "fp64"], "variant fp64"),
        (["--variant", "pruned"], "--model"),
        (["--max-length", "4096"], "max_length 4096"),
    ],
)
def test_quality_that_cannot_be_measured(tiny: ExportReport, arguments: list[str], named: str) -> None:
    done = crossrank("bench", "quality", str(tiny.directory), str(HELDOUT), *arguments)
    assert done.returncode == 2
    assert named in done.stderr.splitlines()[-1]


def test_capacity_is_the_rate_over_what_one_replica_carries(tiny: ExportReport) -> None:
    arguments = ["bench", "capacity", str(tiny.directory), "--rate", "1000", "--slo", "p90=2s", "--documents", "5"]
    result = CapacityResult.model_validate(json_of(*arguments, "--variant", "fp32", "--seconds", "1"))
    [entry] = result.variants
    assert entry.max_rate > 0
    assert entry.replicas == replicas_for("fp32", 1000, entry.max_rate).replicas
    assert {load.settings["variant"] for load in result.loads} == {"fp32"}


def test_a_directory_that_cannot_be_made_is_found_before_measuring(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    write_result(section_of(load_result(outcomes_of(0.1))), tmp_path)
    measuring = ["capacity", str(DEFAULT_RANKER), "--rate", "1", "--slo", "p90=1s"]
    for arguments in (measuring, ["report", str(tmp_path / "result.json")]):
        done = crossrank("bench", *arguments, "--out", str(file))
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert str(file) in line
    assert file.read_text() == "kept"
