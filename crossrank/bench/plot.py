"""Pictures of benchmark results."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from crossrank.bench.load_result import LoadResult
from crossrank.bench.result import Result

# Okabe and Ito's palette, which stays distinct for the colour-blind.
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#8c8c8c"
_COLOURS = (_BLUE, _ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", _GREY)
_MARKERS = "osD^vP"
_DPI = 120

Draw = Callable[[Path], None]


def pictures_of(result: Result) -> Iterator[tuple[str, str, Draw]]:
    """Yields name, gist and drawing of each picture that there is something for."""
    if speeds := [speed for speed in result.speeds if speed.concurrency == 1]:
        gist = "; ".join(f"{speed.name} {speed.ratio}" for speed in speeds)
        yield (
            "speed",
            f"Pairs a second to {speeds[0].name}'s, with {speeds[0].ratio.level:.0%} intervals: {gist}.",
            lambda path: plot_speeds(result, path),
        )
    loads = [load for load in result.loads if load.latency_ms]
    if len(loads) > 1:
        yield (
            "latency-by-load",
            f"Latency percentiles over {len(loads)} loads.",
            lambda path: plot_latency_by_load(result, loads, path),
        )
    if loads:
        yield (
            "latency",
            f"Distribution of the latency of {sum(load.statuses['OK'] for load in loads)} calls.",
            lambda path: plot_latency(loads, path),
        )
    if result.quality:
        yield "quality", "nDCG@10 over pairs a second.", lambda path: plot_quality(result, path)


def plot_speeds(result: Result, path: Path) -> None:
    """Draws each contestant's ratio to the baseline, with its interval, as a PNG."""
    speeds = [speed for speed in result.speeds if speed.concurrency == 1][::-1]
    ratios = [speed.ratio for speed in speeds]
    errors = [[ratio.value - ratio.low for ratio in ratios], [ratio.high - ratio.value for ratio in ratios]]
    figure, axes = _one_plot(0.45 * len(speeds) + 1.2)
    colours = [_BLUE if speed.name.startswith("crossrank") else _GREY for speed in speeds]
    axes.barh([speed.name for speed in speeds], [ratio.value for ratio in ratios], xerr=errors, color=colours)
    axes.set_xlabel(f"pairs a second, {speeds[-1].name} = 1")
    axes.set_title(f"{result.machine.processor}, {result.machine.cores} cores")
    figure.savefig(path, dpi=_DPI)


def plot_latency_by_load(result: Result, loads: list[LoadResult], path: Path) -> None:
    """Draws percentiles over the rate that was sent, or that closed loops reached; a colour for each variant."""
    figure, axes = _one_plot(4)
    groups: dict[str, list[LoadResult]] = {}
    for load in loads:
        groups.setdefault(str(load.settings.get("variant", "")), []).append(load)
    for (name, group), colour in zip(groups.items(), _COLOURS * len(groups), strict=False):
        ordered = sorted(group, key=_rate)
        rates = [_rate(load) for load in ordered]
        for percentile, style in (("p50", "o-"), ("p95", "s--"), ("p99", "^:")):
            if not any(percentile in load.latency_ms for load in ordered):
                continue
            values = [load.latency_ms.get(percentile, np.nan) for load in ordered]
            axes.plot(rates, values, style, color=colour, label=f"{name} {percentile}".strip())
    axes.set(xlabel="calls a second", ylabel="latency, ms", yscale="log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    if objective := result.settings.get("objective"):
        axes.axhline(float(str(objective).partition("=")[2].removesuffix("ms")), color=_GREY, linewidth=1)
        axes.set_title(f"objective {objective}")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=_DPI)


def plot_latency(loads: list[LoadResult], path: Path) -> None:
    """Draws a histogram of the answered calls' latencies, the loads over one another, on a logarithmic axis."""
    figure, axes = _one_plot(3.5)
    columns = [
        np.array(
            [1000 * t for t, status in zip(load.samples.latency, load.samples.status, strict=True) if status == "OK"]
        )
        for load in loads
    ]
    everything = np.concatenate(columns)
    low, high = max(float(everything.min()), 0.01), max(float(everything.max()), 0.02)
    bins = np.geomspace(low, high * 1.001, 40).tolist()
    for load, values, colour in zip(loads, columns, _COLOURS * len(loads), strict=False):
        axes.hist(values, bins=bins, histtype="step", color=colour, label=load.label)
    axes.set(xscale="log", xlabel="latency, ms", ylabel="calls")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=_DPI)


def plot_quality(result: Result, path: Path) -> None:
    """Draws nDCG@10 over pairs a second, a panel for each set; up and to the right is better."""
    sets = list(dict.fromkeys(point.data for point in result.quality))
    variants = list(dict.fromkeys(point.variant for point in result.quality))
    settings = list(dict.fromkeys((point.max_length, point.long_documents) for point in result.quality))
    figure = Figure(figsize=(4.5 * len(sets) + 2.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = np.ravel(figure.subplots(1, len(sets)))
    for axes, data in zip(panels, sets, strict=True):
        points = [point for point in result.quality if point.data == data]
        for point in points:
            gap = point.ndcg_difference
            axes.errorbar(
                point.pairs_per_second,
                point.ndcg_10,
                yerr=[[gap.value - gap.low], [gap.high - gap.value]] if gap else None,
                fmt=_MARKERS[settings.index((point.max_length, point.long_documents)) % len(_MARKERS)],
                color=_COLOURS[variants.index(point.variant) % len(_COLOURS)],
                label=point.label,
                elinewidth=1,
            )
        front = pareto_front([(point.pairs_per_second, point.ndcg_10) for point in points])
        axes.plot(*zip(*front, strict=True), color=_GREY, linewidth=1, zorder=0, label="best of its speed")
        axes.set(title=data, xlabel="documents ordered a second", ylabel="nDCG@10", xlim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(path, dpi=_DPI)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (speed, quality) than which none is both faster and better, the fastest first."""
    front: list[tuple[float, float]] = []
    for speed, quality in sorted(points, reverse=True):
        if not front or quality > front[-1][1]:
            front.append((speed, quality))
    return front


def _rate(load: LoadResult) -> float:
    """Of an open loop the one that was sent: beyond its capacity a server answers fewer in time, not more."""
    return float(load.settings.get("calls/s", load.goodput))


def _one_plot(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()
