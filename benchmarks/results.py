"""Results of comparisons with others: speeds side by side, checks of the server, and their tables and plot."""

from collections.abc import Iterable
from statistics import median
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from benchmarks.interleave import Rounds, ratio
from crossrank.bench.load.load_metrics import Record
from crossrank.bench.report import Section
from crossrank.bench.results import BenchResult
from crossrank.bench.tables import changes_by_set, title_of
from crossrank.intervals import Interval
from crossrank.reporting.figures import BLUE, GREY, Figure, one_plot
from crossrank.reporting.page import Picture
from crossrank.reporting.tables import Table

PEERS = ("fastembed", "flashrank", "openvino")


class Speed(Record):
    """The speed of one engine or trainer.

    Attributes:
        name: of the engine.
        concurrency: requests at once.
        pairs_per_second: of each round, in order.
        median: of these.
        baseline: the engine that it is compared with, in rounds of the same run.
        ratio: to the baseline in the same round, the median with its exact interval.
    """

    name: str
    concurrency: int
    pairs_per_second: list[float]
    median: float
    baseline: str
    ratio: Interval


class EngineSpeed(Speed):
    """The speed and the ranking of an inference engine.

    Attributes:
        kendall_tau, top_1: its ranking against the baseline's, a mean over the requests; None for the baseline.
        ndcg_change: nDCG@10 minus PyTorch's where the variant was accepted, by set; empty where nothing was judged.
    """

    kendall_tau: float | None
    top_1: float | None
    ndcg_change: dict[str, float]


class Check(Record):
    """One measured property of the server, and its aim.

    Attributes:
        name: what was measured.
        value: the measurement.
        unit: of the value.
        aim: what it should be, in words.
        reached: whether it was.
        details: further figures.
    """

    name: str
    value: float
    unit: str
    aim: str
    reached: bool
    details: dict[str, float]


class EnginesResult(BenchResult):
    """Inference engines side by side, and the server under load."""

    benchmark: Literal["engines"] = "engines"
    speeds: list[EngineSpeed]
    checks: list[Check]


class TrainingResult(BenchResult):
    """Trainers side by side."""

    benchmark: Literal["training"] = "training"
    speeds: list[Speed]


Result: TypeAlias = Annotated[EnginesResult | TrainingResult, Field(discriminator="benchmark")]
RESULTS: TypeAdapter[EnginesResult | TrainingResult] = TypeAdapter(Result)


def speeds_of(rounds: Rounds, pairs: int, concurrency: int = 1) -> list[Speed]:
    """The speed of each engine that finished, relative to the first.

    Args:
        rounds: as measured.
        pairs: of each round.
        concurrency: requests at once.
    """
    baseline, base = next(iter(rounds.seconds.items()))
    found = []
    for name, seconds in rounds.seconds.items():
        speeds = [pairs / taken for taken in seconds]
        found.append(
            Speed(
                name=name,
                concurrency=concurrency,
                pairs_per_second=speeds,
                median=median(speeds),
                baseline=baseline,
                ratio=ratio(base, seconds),
            )
        )
    return found


def section_of(result: EnginesResult | TrainingResult) -> Section:
    """The section of a result in a report."""
    alone = [speed for speed in result.speeds if speed.concurrency == 1]
    listed = "; ".join(f"{speed.name} {speed.ratio:.2f}" for speed in alone)
    alt = f"Pairs a second relative to {alone[0].name}, with {alone[0].ratio.level:.0%} intervals: {listed}."
    picture = Picture("speed", alt, lambda: plot_speeds(result))
    tables = [_speed_table(result)]
    if isinstance(result, EnginesResult) and result.checks:
        tables.append(_check_table(result.checks))
    level = min(speed.ratio.level for speed in result.speeds)
    sentence = f"Ratios are medians over rounds, with intervals that hold the true median at {level:.0%} or more."
    return Section(result.benchmark, result, tables, [picture], sentence)


def plot_speeds(result: EnginesResult | TrainingResult) -> Figure:
    """Draws each engine's ratio to the baseline, with its interval."""
    speeds = [speed for speed in result.speeds if speed.concurrency == 1][::-1]
    ratios = [speed.ratio for speed in speeds]
    errors = [[ratio.mean - ratio.low for ratio in ratios], [ratio.high - ratio.mean for ratio in ratios]]
    figure, axes = one_plot(0.45 * len(speeds) + 1.2)
    colours = [BLUE if speed.name.startswith("crossrank") else GREY for speed in speeds]
    axes.barh([speed.name for speed in speeds], [ratio.mean for ratio in ratios], xerr=errors, color=colours)
    axes.set_xlabel(f"pairs a second, {speeds[-1].name} = 1")
    axes.set_title(f"{result.machine.processor}, {result.machine.cores} cores")
    return figure


def _speed_table(result: EnginesResult | TrainingResult) -> Table:
    first = result.speeds[0].name
    rows = []
    for speed in result.speeds:
        row = [
            speed.name,
            f"{speed.median:.0f}",
            f"{speed.ratio:.2f}" + (f" of {speed.baseline}" if speed.baseline != first else ""),
        ]
        if isinstance(speed, EngineSpeed):
            row.append("" if speed.kendall_tau is None else f"{speed.kendall_tau:.3f}")
            row.append("" if speed.top_1 is None else f"{speed.top_1:.2f}")
            row.append(changes_by_set(speed.ndcg_change))
        rows.append(row)
    columns = ["engine", "pairs/s", "ratio to the first"]
    if isinstance(result, EnginesResult):
        columns += ["Kendall", "top-1", "Δ nDCG@10 to PyTorch"]
    return Table(title_of(result, result.benchmark), columns, rows)


def _check_table(checks: Iterable[Check]) -> Table:
    rows = [
        (
            check.name,
            f"{check.value:.3g} {check.unit}",
            check.aim,
            "yes" if check.reached else "no",
            ", ".join(f"{name} {value:.3g}" for name, value in check.details.items()),
        )
        for check in checks
    ]
    return Table("checks", ("check", "value", "aim", "reached", "details"), rows)
