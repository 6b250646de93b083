"""What benchmarks keep where somebody stops them, or a part of them fails."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from crossrank.bench import capacity, quality
from crossrank.bench.load.load_metrics import STOPPED, Load, Outcome
from crossrank.bench.load.slo import LatencySlo, MaxRateSearch
from crossrank.bench.options import CapacityOptions, QualityOptions
from crossrank.bench.results import QualityPoint
from crossrank.errors import CrossrankError
from crossrank.export.pipeline import ExportReport
from tests.conftest import HELDOUT


def test_ctrl_c_keeps_the_points_that_were_measured(tiny: ExportReport, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = quality._point
    taken: list[QualityPoint] = []

    def stopped_at_the_second(*arguments: Any) -> QualityPoint:
        if taken:
            raise KeyboardInterrupt
        taken.append(measure(*arguments))
        return taken[0]

    monkeypatch.setattr(quality, "_point", stopped_at_the_second)
    options = QualityOptions(ranker=tiny.directory, data=(HELDOUT,), max_queries=2)
    result = quality.bench_quality(options)
    assert result.interrupted
    assert result.points == taken
    with pytest.raises(KeyboardInterrupt):
        quality.bench_quality(options)


@pytest.fixture
def searches(tiny: ExportReport, monkeypatch: pytest.MonkeyPatch) -> tuple[CapacityOptions, list[Any]]:
    """Options, and how each variant's search ends in turn: what it finds, or what it raises."""
    ends: list[Any] = []

    def search(target: str, loads: Any) -> MaxRateSearch:
        end = ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        found: MaxRateSearch = end
        return found

    monkeypatch.setattr(capacity, "local_server", lambda *of: nullcontext(SimpleNamespace(target="")))
    monkeypatch.setattr(capacity, "run_load", search)
    return CapacityOptions(ranker=tiny.directory, rate=10.0, slo=LatencySlo(90, 1.0), variants=("fp32", "pruned")), ends


FOUND = MaxRateSearch(5.0, [(5.0, Load([Outcome(0.0, 0.0, 0.1, "OK", 1)], 1.0, 1.0))], "")


@pytest.mark.parametrize("end", [KeyboardInterrupt(), MaxRateSearch(0.0, [], STOPPED), CrossrankError("no answer")])
def test_a_capacity_keeps_the_variants_before(end: Any, searches: tuple[CapacityOptions, list[Any]]) -> None:
    options, ends = searches
    ends += [FOUND, end]
    result = capacity.bench_capacity(options)
    assert [entry.variant for entry in result.variants] == ["fp32"]
    failed = isinstance(end, CrossrankError)
    assert result.interrupted is not failed
    assert result.failed == ({"pruned": "no answer"} if failed else {})


def test_a_capacity_without_any_measurement_ends_in_an_error(searches: tuple[CapacityOptions, list[Any]]) -> None:
    options, ends = searches
    ends += [MaxRateSearch(0.0, [], STOPPED)]
    with pytest.raises(KeyboardInterrupt):
        capacity.bench_capacity(options)
    ends += [CrossrankError("one"), CrossrankError("two")]
    with pytest.raises(CrossrankError, match="fp32: one; pruned: two"):
        capacity.bench_capacity(options)
