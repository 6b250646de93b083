import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.evaluation import significance
from crossrank.evaluation.significance import paired_bootstrap
from crossrank.intervals import Interval

VALUES = st.dictionaries(st.text(max_size=3), st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30)


@given(VALUES)
@settings(max_examples=50)
def test_the_interval_contains_the_mean(values: dict[str, tuple[float, float]]) -> None:
    a, b = ({key: pair[side] for key, pair in values.items()} for side in (0, 1))
    interval = paired_bootstrap(a, b, samples=500)
    assert interval.low - 1e-9 <= interval.mean <= interval.high + 1e-9
    assert interval == paired_bootstrap(dict(reversed(a.items())), b, samples=500)
    assert paired_bootstrap(a, a, samples=50) == Interval(0.0, 0.0, 0.0, 0.95)


def test_coverage_is_that_of_the_normal_for_many_queries() -> None:
    rng = np.random.default_rng(1)
    a = {str(number): float(value) for number, value in enumerate(rng.normal(0.1, 1.0, 400))}
    b = dict.fromkeys(a, 0.0)
    interval = paired_bootstrap(a, b, samples=4000)
    values = np.array(list(a.values()))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.01)
    narrower = paired_bootstrap(a, b, samples=4000, level=0.5)
    assert interval.low < narrower.low < narrower.high < interval.high


def test_memory_is_bounded_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = {"x": 1.0, "y": 0.0, "z": 0.5}, {"x": 0.0, "y": 0.5, "z": 0.5}
    monkeypatch.setattr(significance, "_CHUNK_VALUES", 2)
    interval = paired_bootstrap(a, b, samples=301)
    assert interval.low <= interval.mean <= interval.high


def test_what_an_interval_says() -> None:
    assert str(Interval(0.0312, 0.0118, 0.0502, 0.95)) == "+0.0312 [+0.0118, +0.0502]"
    assert str(Interval(-0.1, -0.2, 0.0, 0.95)) == "-0.1000 [-0.2000, +0.0000]"
    assert f"{Interval(1.234, 1.2, 1.26, 0.98):.2f}" == "1.23 [1.20, 1.26]"
    assert Interval(0.03, 0.01, 0.05, 0.95).excludes_zero
    assert Interval(-0.03, -0.05, -0.01, 0.95).excludes_zero
    assert not Interval(0.0, 0.0, 0.0, 0.95).excludes_zero


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="2 queries have a value on one side only"):
        paired_bootstrap({"x": 1.0, "y": 1.0}, {"y": 1.0, "z": 1.0})
    with pytest.raises(ValueError, match="no query"):
        paired_bootstrap({}, {})
    with pytest.raises(ValueError, match="not finite"):
        paired_bootstrap({"x": float("nan")}, {"x": 1.0})
    with pytest.raises(ValueError, match="at least 1"):
        paired_bootstrap({"x": 1.0}, {"x": 1.0}, samples=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_bootstrap({"x": 1.0}, {"x": 1.0}, level=1.0)
