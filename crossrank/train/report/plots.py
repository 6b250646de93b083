"""What a person would rather see than read, each as a PNG of its own."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crossrank.data.files import written_beside
from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.query_changes import Changes
from crossrank.evaluation.systems import label
from crossrank.reporting.distributions import LengthHistogram, Reliability, ScoreHistogram
from crossrank.reporting.figures import Axes, Figure, MaxNLocator, PercentFormatter

# Okabe and Ito's palette, which stays distinct for the colour-blind.
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#8c8c8c"
_DPI = 110
_WIDTH = 7.5


def plot_loss(losses: Sequence[tuple[int, float, float]], path: Path) -> None:
    """Draws loss and learning rate, each after its step in `losses`, one above the other."""
    figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    steps = [step for step, _, _ in losses]
    _line(upper, steps, [loss for _, loss, _ in losses], _BLUE)
    _line(lower, steps, [rate for _, _, rate in losses], _GREY)
    upper.set(ylabel="loss", ylim=(0, None))
    lower.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    lower.ticklabel_format(axis="y", scilimits=(-2, 3))
    figure.align_ylabels()
    _save(figure, path)


def plot_quality_by_step(quality: Sequence[tuple[int, float]], path: Path) -> None:
    """Draws nDCG@10 on the held-out queries over the steps, the best one marked."""
    figure, axes = _one_plot(3)
    _line(axes, [step for step, _ in quality], [value for _, value in quality], _BLUE)
    step, best = max(quality, key=lambda entry: entry[1])
    axes.plot([step], [best], marker="o", markersize=9, markerfacecolor="none", color=_ORANGE, linestyle="none")
    axes.annotate(f"{best:.3f}", (step, best), xytext=(0, 9), textcoords="offset points", ha="center")
    axes.margins(y=0.2)
    axes.set(xlabel="step", ylabel="nDCG@10")
    _save(figure, path)


def plot_quality(evaluation: SystemComparison, path: Path) -> None:
    """Draws nDCG@10 of every system, with the 95% interval of the first one's difference to it."""
    systems = list(evaluation.per_query)
    figure, axes = _one_plot(1 + 0.5 * len(systems))
    values = [evaluation.means(system)["nDCG@10"] for system in systems]
    axes.barh([label(system) for system in systems], values, color=[_BLUE, *[_GREY] * (len(systems) - 1)])
    for row, (system, value) in enumerate(zip(systems, values, strict=True)):
        gap = f"   Δ of {label(systems[0])}: {evaluation.difference(systems[0], system)}" if row else ""
        axes.text(value, row, f" {value:.3f}{gap}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set(xlim=(0, 1.6), xticks=np.linspace(0, 1, 6), xlabel=f"nDCG@10 over {evaluation.queries} queries")
    _save(figure, path)


def plot_changes(changes: Changes, path: Path) -> None:
    """Draws each query's difference of nDCG@10 as a bar, the biggest win first."""
    figure, axes = _one_plot(3)
    values = np.array(list(changes.differences.values()))
    # One outline for all bars, so that ten thousand queries cost what ten do.
    edges = np.arange(len(values) + 1)
    axes.stairs(np.maximum(values, 0), edges, fill=True, color=_BLUE, label=f"{changes.wins:,} won")
    axes.stairs(np.minimum(values, 0), edges, fill=True, color=_ORANGE, label=f"{changes.losses:,} lost")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        xlim=(0, len(values)), xlabel="queries, sorted", ylabel=f"nDCG@10 less that of\n{label(changes.reference)}"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    _save(figure, path)


def plot_scores(histograms: dict[str, ScoreHistogram], path: Path) -> None:
    """Draws, for each system, the scores of relevant and of other documents, each as shares of their own number."""
    figure = Figure(figsize=(_WIDTH, 0.5 + 2.3 * len(histograms)), layout="constrained")
    panels = figure.subplots(len(histograms), squeeze=False)[:, 0]
    for axes, (system, histogram) in zip(panels, histograms.items(), strict=True):
        for name, counts, colour in (
            ("other", histogram.other, _GREY),
            ("relevant", histogram.relevant, _BLUE),
        ):
            total = sum(counts)
            shares = np.array(counts) / max(1, total)
            axes.stairs(shares, histogram.edges, fill=True, alpha=0.3, color=colour)
            axes.stairs(shares, histogram.edges, color=colour, linewidth=1.5, label=f"{name} ({total:,})")
        axes.set_title(label(system), loc="left", fontsize=10)
        axes.set(ylabel="share")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(frameon=False)
        _bare(axes)
    panels[-1].set(xlabel="score")
    _save(figure, path)


def plot_lengths(lengths: LengthHistogram, path: Path) -> None:
    """Draws how long the training pairs are, and where they are cut."""
    figure, axes = _one_plot(3)
    axes.stairs(lengths.counts, lengths.edges, fill=True, color=_BLUE, alpha=0.7)
    axes.axvline(lengths.max_length, color=_ORANGE, label=f"max_length {lengths.max_length:,}")
    beyond = f"; the last bar holds all longer ones, up to {lengths.longest:,}"
    label = f"tokens of a pair{beyond if lengths.longest >= lengths.edges[-1] else ''}"
    axes.set(xlabel=label, ylabel="pairs", xlim=(0, max(lengths.edges[-1], lengths.max_length * 1.05)))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    _save(figure, path)


def plot_calibration(calibration: dict[str, Reliability], path: Path) -> None:
    """Draws a reliability diagram: observed shares over predicted ones, and below how many pairs each bin holds."""
    figure = Figure(figsize=(_WIDTH, 5), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="perfect")
    looks = itertools.cycle(((_GREY, "s"), (_BLUE, "o"), (_ORANGE, "^")))
    for (name, side), (colour, marker) in zip(calibration.items(), looks, strict=False):
        predicted = [each.predicted for each in side.bins]
        label = f"{name}, error {side.error:.3f}"
        upper.plot(predicted, [each.observed for each in side.bins], marker=marker, color=colour, label=label)
        lower.plot(predicted, [each.count for each in side.bins], marker=marker, color=colour)
    upper.set(ylabel="share that is relevant", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    upper.legend(frameon=False)
    lower.set(xlabel="predicted probability", ylabel="pairs", ylim=(0, None))
    for axes in (upper, lower):
        _bare(axes)
    figure.align_ylabels()
    _save(figure, path)


def _one_plot(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    _bare(axes)
    return figure, axes


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, steps: Sequence[int], values: Sequence[float], colour: str) -> None:
    axes.plot(steps, values, color=colour, marker="." if len(steps) <= 50 else "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _bare(axes)


def _save(figure: Figure, path: Path) -> None:
    with written_beside(path) as staged:
        figure.savefig(staged, dpi=_DPI)
