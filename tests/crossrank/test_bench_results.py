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

from crossrank.bench.alternate import ratio
from crossrank.bench.compare import compare_results
from crossrank.bench.load_summary import summarise
from crossrank.bench.outcomes import Load, Outcome
from crossrank.bench.plot import pareto_front
from crossrank.bench.report import write_report, write_result
from crossrank.bench.result import Quality, Result, Speed, new_result, read_result
from crossrank.bench.size import replicas_for
from crossrank.cli.bench_tables import show_result
from serve.errors import UsageError
from tests.conftest import HELDOUT

ATTACK = "<script>alert(1)</script>"


def speed(name: str, pairs_per_second: list[float], baseline: list[float]) -> Speed:
    return Speed(
        name=name,
        concurrency=1,
        pairs_per_second=pairs_per_second,
        median=float(np.median(pairs_per_second)),
        baseline="torch",
        ratio=ratio(pairs_per_second, baseline),
        kendall_tau=None,
        top_1=None,
        loss={},
    )


def engine_result(factor: float, machine: float, others: dict[str, list[float]] | None = None) -> Result:
    """A contestant `factor` times its baseline, on a machine that is itself so fast."""
    noise = np.array([1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.01])
    baseline = (50 * machine * noise).tolist()
    contestants = {"torch": baseline, "ours": (50 * factor * machine * noise[::-1]).tolist(), **(others or {})}
    return new_result("engine", {}, speeds=[speed(name, line, baseline) for name, line in contestants.items()])


def load_result(outcomes: list[Outcome], **settings: Any) -> Result:
    load = summarise(Load(outcomes, 10.0, 10.0, 0.5), {"clients": 1})
    return new_result("load", {"objective": "", **settings}, loads=[load])


def calls(latency: float, seed: int = 0, refused: float = 0.0) -> list[Outcome]:
    draw = np.random.default_rng(seed)
    return [
        Outcome(
            n / 100,
            0.0,
            latency * float(draw.uniform(0.9, 1.1)),
            "RESOURCE_EXHAUSTED" if draw.uniform() < refused else "OK",
            5,
        )
        for n in range(1000)
    ]


def quality_result(shift: float, queries: int = 80) -> Result:
    values = np.clip(np.random.default_rng(0).uniform(0.2, 0.8, queries) + shift, 0, 1)
    point = Quality(
        variant="fp32",
        max_length=96,
        long_documents="truncate",
        data="heldout",
        queries=queries,
        ndcg_10=float(values.mean()),
        mrr_10=0.5,
        ndcg_difference=None,
        mrr_difference=None,
        pairs_per_second=100.0,
        per_query={f"q{number}": float(value) for number, value in enumerate(values)},
    )
    return new_result("quality", {}, quality=[point])


def changed(before: Result, after: Result) -> dict[str, bool]:
    return {change.what: change.beyond_noise for change in compare_results(before, after)[0]}


def test_the_interval_of_a_ratio_is_exact() -> None:
    # Of seven values the smallest and the largest hold the median unless all lie on one side: 1 - 2 / 2^7.
    found = ratio([7.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0] * 7)
    assert (found.value, found.low, found.high) == (4.0, 1.0, 7.0)
    assert found.level == pytest.approx(1 - 2 / 2**7)
    # Of ten the second and the ninth: at most one of ten coins, 2 * 11 / 2^10.
    found = ratio([float(n) for n in range(1, 11)], [1.0] * 10)
    assert (found.low, found.high) == (2.0, 9.0)
    assert found.level == pytest.approx(1 - 22 / 2**10)
    assert ratio([1.0, 2.0], [1.0, 1.0]).level == 0.5


def test_a_faster_machine_is_no_change_and_a_faster_contestant_is() -> None:
    assert changed(engine_result(2.0, 1.0), engine_result(2.0, 3.0)) == {"ours: pairs/s to torch's": False}
    [change], notes = compare_results(engine_result(2.0, 1.0), engine_result(3.0, 0.5, {"new": [9.0] * 7}))
    assert change.beyond_noise
    assert change.change.value == pytest.approx(1.5, rel=0.02)
    assert notes == ["only after: new"]


def test_latency_refusals_and_quality_change_beyond_noise_or_not() -> None:
    same = changed(load_result(calls(0.1)), load_result(calls(0.1, seed=1)))
    assert len(same) == 6
    assert not any(same.values())
    slower = changed(load_result(calls(0.1)), load_result(calls(0.12, seed=1)))
    assert slower == {what: "latency" in what for what in same}
    # Who refuses half may be quicker for the others: it is the share that says so.
    refusing = changed(load_result(calls(0.1)), load_result(calls(0.1, seed=1, refused=0.5)))
    assert refusing["clients 1: share of calls answered"]
    [(_, same_quality)] = changed(quality_result(0.0), quality_result(0.0)).items()
    [(_, worse)] = changed(quality_result(0.0), quality_result(-0.05)).items()
    assert (same_quality, worse) == (False, True)


def sized(rate: float) -> Result:
    return new_result("size", {"objective": "p99=1s"}, sizing=[replicas_for("fp32", 100, rate)])


def test_rates_are_known_as_well_as_a_search_repeats() -> None:
    what = "fp32 highest rate within the objective, calls/s"
    assert changed(sized(10.0), sized(13.0)) == {what: False}
    assert changed(sized(10.0), sized(15.0)) == {what: True}
    assert compare_results(sized(10.0), sized(0.0)) == (
        [],
        [f"{what}: 10 before, 0 after, where 0 is that no rate met it"],
    )

    def searched(rate: float, limit: str) -> Result:
        return new_result("load", {"objective": "p99=1s"}, highest_rate=rate, rate_limit=limit)

    changes, notes = compare_results(searched(10.0, ""), searched(4.0, "it was stopped"))
    assert changes == []
    assert "not compared, since a search did not come to its end (it was stopped)" in notes[0]


def test_one_slice_of_time_or_three_queries_show_no_change() -> None:
    def wave(latency: float) -> Result:
        return load_result([Outcome(0.0, 0.0, latency, "OK", 1)] * 40)

    assert not any(changed(wave(25.0), wave(26.0)).values())
    assert changed(quality_result(0.0, 3), quality_result(-0.05, 3)) == {
        "fp32, 96 tokens, truncate, heldout: nDCG@10": False
    }


def test_calls_that_wait_in_one_queue_are_not_many_witnesses() -> None:
    calm = [Outcome(n / 100, 0.0, 0.1, "OK", 1) for n in range(1000)]
    # One stall of a second: a hundred slow calls, but a single event.
    stalled = [Outcome(n / 100, 0.0, 1.0 if n // 100 == 4 else 0.1, "OK", 1) for n in range(1000)]
    changes, _ = compare_results(load_result(calm), load_result(stalled))
    p99 = next(change for change in changes if "p99," in change.what)
    assert p99.after == pytest.approx(1000)
    assert not p99.beyond_noise


def test_unlike_settings_and_machines_are_said() -> None:
    other = load_result(calls(0.1), documents=50)
    other = other.model_copy(update={"machine": other.machine.model_copy(update={"processor": "another"})})
    _, notes = compare_results(load_result(calls(0.1), documents=5), other)
    assert notes[0] == "the setting documents differs: 5 before, 50 after"
    assert "another after; only ratios within a run compare well" in notes[1]


def test_results_that_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bench engine, the other of bench load"):
        compare_results(engine_result(2, 1), load_result(calls(0.1)))
    with pytest.raises(UsageError, match="nothing in common"):
        compare_results(new_result("load", {}), load_result(calls(0.1)))
    with pytest.raises(UsageError, match="nothing in common"):
        compare_results(quality_result(0.0), quality_result(0.0, queries=40))
    older = quality_result(0.0).model_dump() | {"schema_version": 2}
    (tmp_path / "old.json").write_text(json.dumps(older))
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
