"""Plots of benchmark results."""

from collections.abc import Iterator, Sequence

import numpy as np

from crossrank.bench.load.load_metrics import LoadMeasurement
from crossrank.bench.results import RATE, BenchResult, CapacityResult, LoadTestResult, QualityResult
from crossrank.reporting.figures import COLOURS, GREY, Figure, ScalarFormatter, one_plot
from crossrank.reporting.page import Picture

_MARKERS = "osD^vP"


def pictures_of(result: LoadTestResult | QualityResult | CapacityResult) -> Iterator[Picture]:
    """Yields the plots that a result has data for."""
    if isinstance(result, QualityResult):
        yield Picture("quality", "nDCG@10 over documents a second.", lambda: plot_quality(result))
        return
    loads = [load for load in result.loads if load.latency_ms]
    if len(loads) > 1:
        yield Picture(
            "latency-by-load",
            f"Latency percentiles over {len(loads)} loads.",
            lambda: plot_latency_by_load(result, loads),
        )
    if loads:
        yield Picture(
            "latency",
            f"Distribution of the latency of {sum(load.statuses['OK'] for load in loads)} requests.",
            lambda: plot_latency(loads),
        )


def plot_latency_by_load(result: BenchResult, loads: list[LoadMeasurement]) -> Figure:
    """Draws percentiles over the rate that was sent, or that closed loops reached; a colour for each variant."""
    figure, axes = one_plot(4)
    groups: dict[str, list[LoadMeasurement]] = {}
    for load in loads:
        groups.setdefault(str(load.settings.get("variant", "")), []).append(load)
    for (name, group), colour in zip(groups.items(), COLOURS * len(groups), strict=False):
        ordered = sorted(group, key=_rate)
        rates = [_rate(load) for load in ordered]
        for percentile, style in (("p50", "o-"), ("p95", "s--"), ("p99", "^:")):
            if not any(percentile in load.latency_ms for load in ordered):
                continue
            values = [load.latency_ms.get(percentile, np.nan) for load in ordered]
            axes.plot(rates, values, style, color=colour, label=f"{name} {percentile}".strip())
    axes.set(xlabel="requests a second", ylabel="latency, ms", yscale="log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    if slo := result.settings.get("slo"):
        axes.axhline(float(str(slo).partition("=")[2].removesuffix("ms")), color=GREY, linewidth=1)
        axes.set_title(f"objective {slo}")
    axes.legend(fontsize=8)
    return figure


def plot_latency(loads: list[LoadMeasurement]) -> Figure:
    """Draws a histogram of the answered requests' latencies, the loads over one another, on a logarithmic axis."""
    figure, axes = one_plot(3.5)
    columns = [
        np.array(
            [1000 * t for t, status in zip(load.samples.latency, load.samples.status, strict=True) if status == "OK"]
        )
        for load in loads
    ]
    everything = np.concatenate(columns)
    low, high = max(float(everything.min()), 0.01), max(float(everything.max()), 0.02)
    bins = np.geomspace(low, high * 1.001, 40).tolist()
    for load, values, colour in zip(loads, columns, COLOURS * len(loads), strict=False):
        axes.hist(values, bins=bins, histtype="step", color=colour, label=load.label)
    axes.set(xscale="log", xlabel="latency, ms", ylabel="requests")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.legend(fontsize=7)
    return figure


def plot_quality(result: QualityResult) -> Figure:
    """Draws nDCG@10 over pairs a second, a panel for each set; up and to the right is better."""
    sets = list(dict.fromkeys(point.data for point in result.points))
    variants = list(dict.fromkeys(point.variant for point in result.points))
    settings = list(dict.fromkeys((point.max_length, point.long_documents) for point in result.points))
    figure = Figure(figsize=(4.5 * len(sets) + 2.5, 4))
    panels = np.ravel(figure.subplots(1, len(sets)))
    for axes, data in zip(panels, sets, strict=True):
        points = [point for point in result.points if point.data == data]
        for point in points:
            gap = point.ndcg_difference
            axes.errorbar(
                point.pairs_per_second,
                point.ndcg_10,
                yerr=[[gap.mean - gap.low], [gap.high - gap.mean]] if gap else None,
                fmt=_MARKERS[settings.index((point.max_length, point.long_documents)) % len(_MARKERS)],
                color=COLOURS[variants.index(point.variant) % len(COLOURS)],
                label=point.label,
                elinewidth=1,
            )
        front = pareto_front([(point.pairs_per_second, point.ndcg_10) for point in points])
        axes.plot(*zip(*front, strict=True), color=GREY, linewidth=1, zorder=0, label="best of its speed")
        axes.set(title=data, xlabel="documents ranked a second", ylabel="nDCG@10", xlim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    return figure


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (speed, quality) than which none is both faster and better, the fastest first."""
    front: list[tuple[float, float]] = []
    for speed, quality in sorted(points, reverse=True):
        if not front or quality > front[-1][1]:
            front.append((speed, quality))
    return front


def _rate(load: LoadMeasurement) -> float:
    """The rate that an open loop sent: beyond its capacity a server answers fewer in time, not more."""
    return float(load.settings.get(RATE, load.goodput))
