"""`crossrank bench compare`: changes between two results that are beyond noise."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from crossrank.bench.load.load_metrics import LoadMeasurement
from crossrank.bench.resampling import answered_share_change, latency_ratios
from crossrank.bench.results import (
    BenchResult,
    CapacityResult,
    LoadTestResult,
    QualityPoint,
    QualityResult,
)
from crossrank.errors import UsageError
from crossrank.evaluation.significance import paired_bootstrap
from crossrank.intervals import Interval
from crossrank.reporting.tables import Table

# With fewer queries an interval says little, and so does one of a lower level.
_MIN_QUERIES, _MIN_LEVEL = 5, 0.9
# Of two searches on one queue, simulated with 20 seconds and more for each rate, 95% end less than 1.2 times 1.2 apart.
_SEARCH_SPREAD = 1.2
# Settings that differ in every run, or may well be what is compared.
_MAY_DIFFER = ("target", "servers", "ranker", "model", "version")


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both results.

    Attributes:
        name: of the load, variant, setting or engine.
        measure: what was measured.
        before, after: the figures.
        change: from one to the other with its interval, a ratio or a difference.
        none: the value of `change` that means unchanged: 1 for a ratio, 0 for a difference.
    """

    name: str
    measure: str
    before: float
    after: float
    change: Interval
    none: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes that nothing changed, and its level is high enough to say so."""
        return self.change.level >= _MIN_LEVEL and not self.change.low <= self.none <= self.change.high


@dataclass(frozen=True, slots=True)
class Note:
    """A reason why two results compare badly.

    Attributes:
        code: which one.
        name: of the setting, load, variant or engine; empty for the machine.
        text: a clause for people.
    """

    code: Literal["setting", "machine", "only_before", "only_after", "max_rate"]
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The changes between two results, and what makes the results unlike."""

    changes: Sequence[Change]
    notes: Sequence[Note]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        changes = [{**asdict(change), "beyond_noise": change.beyond_noise} for change in self.changes]
        return {"changes": changes, "notes": [asdict(note) for note in self.notes]}

    def table(self) -> Table:
        """A row for each change."""
        rows = [
            (
                f"{change.name}: {change.measure}",
                f"{change.before:.4g}",
                f"{change.after:.4g}",
                f"{change.change:.2f}" if change.none else str(change.change),
                "yes" if change.beyond_noise else "no",
            )
            for change in self.changes
        ]
        columns = ("measure", "before", "after", "ratio, or difference of shares and nDCG@10", "beyond noise")
        return Table("after compared with before", columns, rows)

    def conclusion(self) -> str:
        """How many figures changed, in a sentence."""
        changed = sum(change.beyond_noise for change in self.changes)
        return f"{changed} of {len(self.changes)} figures changed beyond noise; one in twenty would by chance."


def compare_results(
    before: LoadTestResult | QualityResult | CapacityResult, after: LoadTestResult | QualityResult | CapacityResult
) -> Comparison:
    """Compares what both results measured under one name.

    Raises:
        UsageError: they are of different benchmarks, or have nothing in common.
    """
    match before, after:
        case LoadTestResult(), LoadTestResult():
            rates = _max_rates({"": before.max_rate}, {"": after.max_rate}, before.rate_limit or after.rate_limit)
            changes = [*_load_changes(before.loads, after.loads), *rates[0]]
            searched = before.max_rate is not None or after.max_rate is not None
            labels = [[load.label for load in result.loads] if not searched else [] for result in (before, after)]
        case CapacityResult(), CapacityResult():
            first, second = ({entry.variant: entry.max_rate for entry in r.variants} for r in (before, after))
            rates = _max_rates(first, second)
            changes = list(rates[0])
            labels = [list(first), list(second)]
        case QualityResult(), QualityResult():
            rates = ([], [])
            changes = list(_quality_changes(before.points, after.points))
            labels = [[point.label for point in result.points] for result in (before, after)]
        case _:
            raise UsageError(f"one result is of bench {before.benchmark}, the other of bench {after.benchmark}")
    notes = [*differences(before, after), *rates[1], *missing(*labels)]
    if not changes and not rates[1]:
        raise UsageError("the two results have nothing in common to compare")
    return Comparison(changes, notes)


def differences(before: BenchResult, after: BenchResult) -> Iterator[Note]:
    """Settings and machines that differ."""
    for name in {**before.settings, **after.settings}:
        first, second = before.settings.get(name), after.settings.get(name)
        if name not in _MAY_DIFFER and first != second:
            yield Note("setting", name, f"the setting {name} differs: {first} before, {second} after")
    if before.machine != after.machine:
        first, second = before.machine.processor, after.machine.processor
        text = f"the machines differ: {first} before, {second} after; only ratios within a run compare well"
        yield Note("machine", "", text)


def missing(before: Iterable[str], after: Iterable[str]) -> Iterator[Note]:
    """What only one of two results measured."""
    first, second = dict.fromkeys(before), dict.fromkeys(after)
    for name in first.keys() - second.keys():
        yield Note("only_before", name, f"only before: {name}")
    for name in second.keys() - first.keys():
        yield Note("only_after", name, f"only after: {name}")


def ratio_change(name: str, measure: str, before: Interval, after: Interval) -> Change:
    """The ratio of two figures with intervals: as wide as both allow, which errs on the side of no change."""
    change = Interval(
        mean=after.mean / before.mean,
        low=after.low / before.high,
        high=after.high / before.low,
        level=min(before.level, after.level),
    )
    return Change(name, measure, before.mean, after.mean, change, 1.0)


def _load_changes(before: Sequence[LoadMeasurement], after: Sequence[LoadMeasurement]) -> Iterator[Change]:
    for old in before:
        new = next((load for load in after if load.settings == old.settings), None)
        if new is None:
            continue
        first, second, change = answered_share_change(old, new)
        yield Change(old.label, "share of requests answered", first, second, change, 0.0)
        for name, ratio in latency_ratios(old, new).items():
            yield Change(old.label, f"latency {name}, ms", old.latency_ms[name], new.latency_ms[name], ratio, 1.0)


def _max_rates(
    before: Mapping[str, float | None], after: Mapping[str, float | None], limit: str = ""
) -> tuple[list[Change], list[Note]]:
    """Changes of highest rates, which a search knows to some precision only, and notes on those without a ratio."""
    changes, notes = [], []
    for name, old in before.items():
        new = after.get(name)
        if old is None or new is None:
            continue
        label = name or "max rate"
        if bool(old) != bool(new):
            text = f"{label}: {old:.3g} requests/s before, {new:.3g} after, where 0 is that no rate met the objective"
            notes.append(Note("max_rate", name, text))
        elif limit:
            text = f"{label}: not compared, since a search did not come to its end ({limit})"
            notes.append(Note("max_rate", name, text))
        elif old and new:
            known = (Interval(mean=r, low=r / _SEARCH_SPREAD, high=r * _SEARCH_SPREAD) for r in (old, new))
            changes.append(ratio_change(label, "highest rate within the objective, requests/s", *known))
    return changes, notes


def _quality_changes(before: Sequence[QualityPoint], after: Sequence[QualityPoint]) -> Iterator[Change]:
    found = {(point.label, point.data): point for point in after}
    for old in before:
        new = found.get((old.label, old.data))
        if new is not None and new.per_query.keys() == old.per_query.keys():
            gap = paired_bootstrap(new.per_query, old.per_query)
            level = gap.level if len(new.per_query) >= _MIN_QUERIES else 0.0
            change = Interval(mean=gap.mean, low=gap.low, high=gap.high, level=level)
            yield Change(f"{old.label}, {old.data}", "nDCG@10", old.ndcg_10, new.ndcg_10, change, 0.0)
