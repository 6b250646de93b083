"""What changed between two results of a benchmark, and what is noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrank.bench.capacity import replicas_for
from crossrank.bench.compare import compare_results
from crossrank.bench.load.load_metrics import Outcome
from crossrank.bench.resampling import latency_ratios
from crossrank.bench.results import RESULTS, CapacityResult, LoadTestResult, read_result, this_run
from crossrank.errors import UsageError
from tests.bench.made_results import load_result, outcomes_of, quality_result


def changed(before: Any, after: Any) -> dict[str, bool]:
    return {change.measure: change.beyond_noise for change in compare_results(before, after).changes}


def test_latency_refusals_and_quality_change_beyond_noise_or_not() -> None:
    same = changed(load_result(outcomes_of(0.1)), load_result(outcomes_of(0.1, seed=1)))
    assert len(same) == 6
    assert not any(same.values())
    slower = changed(load_result(outcomes_of(0.1)), load_result(outcomes_of(0.12, seed=1)))
    assert slower == {measure: "latency" in measure for measure in same}
    # A server that refuses half may be quicker for the others: the share of answers shows it.
    refusing = changed(load_result(outcomes_of(0.1)), load_result(outcomes_of(0.1, seed=1, refused=0.5)))
    assert refusing["share of requests answered"]
    assert changed(quality_result(0.0), quality_result(0.0)) == {"nDCG@10": False}
    assert changed(quality_result(0.0), quality_result(-0.05)) == {"nDCG@10": True}


def test_an_interval_of_resampled_slices_is_that_of_resampling_them_one_by_one() -> None:
    before, after = (load_result(outcomes_of(0.1, seed)).loads[0] for seed in (2, 3))
    draw = np.random.default_rng(5)
    parts = [np.split(1000 * np.array(load.samples.latency), 10) for load in (before, after)]

    def resampled(slices: list[np.ndarray]) -> float:
        drawn = np.concatenate([slices[number] for number in draw.integers(10, size=10)])
        return float(np.percentile(drawn, 90))

    ratios = [resampled(parts[1]) / resampled(parts[0]) for _ in range(1000)]
    found = latency_ratios(before, after)["p90"]
    low, high = np.percentile(ratios, [2.5, 97.5])
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-3)


def capacity_result(rate: float) -> CapacityResult:
    return CapacityResult(**this_run({"slo": "p99=1s"}), variants=[replicas_for("fp32", 100, rate)], loads=[])


def test_rates_are_known_as_well_as_a_search_repeats() -> None:
    measure = "highest rate within the objective, requests/s"
    assert changed(capacity_result(10.0), capacity_result(13.0)) == {measure: False}
    assert changed(capacity_result(10.0), capacity_result(15.0)) == {measure: True}
    none_met = compare_results(capacity_result(10.0), capacity_result(0.0))
    assert not none_met.changes
    assert [(note.code, note.name) for note in none_met.notes] == [("max_rate", "fp32")]

    def searched(rate: float, limit: str) -> LoadTestResult:
        return LoadTestResult(**this_run({"slo": "p99=1s"}), loads=[], max_rate=rate, rate_limit=limit)

    stopped = compare_results(searched(10.0, ""), searched(4.0, "it was stopped"))
    assert not stopped.changes
    assert [note.code for note in stopped.notes] == ["max_rate"]
    assert changed(searched(10.0, ""), searched(4.0, "")) == {measure: True}


def test_one_slice_of_time_or_three_queries_show_no_change() -> None:
    def wave(latency: float) -> LoadTestResult:
        return load_result([Outcome(0.0, 0.0, latency, "OK", 1)] * 40)

    assert not any(changed(wave(25.0), wave(26.0)).values())
    assert changed(quality_result(0.0, 3), quality_result(-0.05, 3)) == {"nDCG@10": False}


def test_requests_that_wait_in_one_queue_are_not_independent() -> None:
    calm = [Outcome(n / 100, 0.0, 0.1, "OK", 1) for n in range(1000)]
    # One stall of a second: a hundred slow requests, but a single event.
    stalled = [Outcome(n / 100, 0.0, 1.0 if n // 100 == 4 else 0.1, "OK", 1) for n in range(1000)]
    comparison = compare_results(load_result(calm), load_result(stalled))
    p99 = next(change for change in comparison.changes if change.measure == "latency p99, ms")
    assert p99.after == pytest.approx(1000)
    assert not p99.beyond_noise


def test_settings_machines_and_loads_that_differ_are_noted() -> None:
    other = load_result(outcomes_of(0.1), documents=50)
    other = other.model_copy(update={"machine": other.machine.model_copy(update={"processor": "another"})})
    notes = compare_results(load_result(outcomes_of(0.1), documents=5), other).notes
    assert [(note.code, note.name) for note in notes] == [("setting", "documents"), ("machine", "")]
    one = load_result(outcomes_of(0.1))
    more = one.model_copy(update={"loads": [*one.loads, one.loads[0].model_copy(update={"settings": {"rate": 2.0}})]})
    assert [(note.code, note.name) for note in compare_results(one, more).notes] == [("only_after", "rate 2")]
    assert [(note.code, note.name) for note in compare_results(more, one).notes] == [("only_before", "rate 2")]


def test_results_that_cannot_be_compared(tmp_path: Path) -> None:
    for before, after in (
        (quality_result(0.0), load_result(outcomes_of(0.1))),
        (LoadTestResult(**this_run({}), loads=[]), load_result(outcomes_of(0.1))),
        (quality_result(0.0), quality_result(0.0, queries=40)),
    ):
        with pytest.raises(UsageError):
            compare_results(before, after)
    older = quality_result(0.0).model_dump() | {"schema_version": 2}
    (tmp_path / "old.json").write_text(json.dumps(older))
    for name in ("old.json", "none.json"):
        with pytest.raises(UsageError, match=name):
            read_result(tmp_path / name, RESULTS)
