"""What changed between two results of a benchmark, and what is noise."""

import json
from pathlib import Path

import pytest

from crossrank.bench.alternate import ratio
from crossrank.bench.compare import compare_results
from crossrank.bench.outcomes import Outcome
from crossrank.bench.result import Result, new_result, read_result
from crossrank.bench.size import replicas_for
from crossrank.errors import UsageError
from tests.made_results import calls, engine_result, load_result, quality_result


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
