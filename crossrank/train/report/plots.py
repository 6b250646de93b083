"""Plots of the training report."""

import itertools
from collections.abc import Sequence

import numpy as np

from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.query_changes import Changes
from crossrank.evaluation.systems import label
from crossrank.reporting.distributions import LengthHistogram, Reliability, ScoreHistogram
from crossrank.reporting.figures import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
    Axes,
    Figure,
    MaxNLocator,
    PercentFormatter,
    one_plot,
)


def plot_loss(losses: Sequence[tuple[int, float, float]]) -> Figure:
    """Draws loss and learning rate, each after its step in `losses`, one above the other."""
    figure = Figure(figsize=(WIDTH, 4.2))
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    steps = [step for step, _, _ in losses]
    _line(upper, steps, [loss for _, loss, _ in losses], BLUE)
    _line(lower, steps, [rate for _, _, rate in losses], GREY)
    upper.set(ylabel="loss", ylim=(0, None))
    lower.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    lower.ticklabel_format(axis="y", scilimits=(-2, 3))
    figure.align_ylabels()
    return figure


def plot_quality_by_step(quality: Sequence[tuple[int, float]]) -> Figure:
    """Draws nDCG@10 on the held-out queries over the steps, the best one marked."""
    figure, axes = one_plot(3)
    _line(axes, [step for step, _ in quality], [value for _, value in quality], BLUE)
    step, best = max(quality, key=lambda entry: entry[1])
    axes.plot([step], [best], marker="o", markersize=9, markerfacecolor="none", color=ORANGE, linestyle="none")
    axes.annotate(f"{best:.3f}", (step, best), xytext=(0, 9), textcoords="offset points", ha="center")
    axes.margins(y=0.2)
    axes.set(xlabel="step", ylabel="nDCG@10")
    return figure


def plot_quality(evaluation: SystemComparison) -> Figure:
    """Draws nDCG@10 of every system, with the 95% interval of the first one's difference to it."""
    systems = list(evaluation.per_query)
    figure, axes = one_plot(1 + 0.5 * len(systems))
    values = [evaluation.means(system)["nDCG@10"] for system in systems]
    axes.barh([label(system) for system in systems], values, color=[BLUE, *[GREY] * (len(systems) - 1)])
    for row, (system, value) in enumerate(zip(systems, values, strict=True)):
        gap = f"   Δ of {label(systems[0])}: {evaluation.difference(systems[0], system)}" if row else ""
        axes.text(value, row, f" {value:.3f}{gap}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set(xlim=(0, 1.6), xticks=np.linspace(0, 1, 6), xlabel=f"nDCG@10 over {evaluation.queries} queries")
    return figure


def plot_changes(changes: Changes) -> Figure:
    """Draws each query's difference of nDCG@10 as a bar, the biggest win first."""
    figure, axes = one_plot(3)
    values = np.array(list(changes.differences.values()))
    # One outline for all bars, so that ten thousand queries cost what ten do.
    edges = np.arange(len(values) + 1)
    axes.stairs(np.maximum(values, 0), edges, fill=True, color=BLUE, label=f"{changes.wins:,} won")
    axes.stairs(np.minimum(values, 0), edges, fill=True, color=ORANGE, label=f"{changes.losses:,} lost")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        xlim=(0, len(values)), xlabel="queries, sorted", ylabel=f"nDCG@10 less that of\n{label(changes.reference)}"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def plot_scores(histograms: dict[str, ScoreHistogram]) -> Figure:
    """Draws, for each system, the scores of relevant and of other documents, each as shares of their own number."""
    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * len(histograms)))
    panels = figure.subplots(len(histograms), squeeze=False)[:, 0]
    for axes, (system, histogram) in zip(panels, histograms.items(), strict=True):
        for name, counts, colour in (
            ("other", histogram.other, GREY),
            ("relevant", histogram.relevant, BLUE),
        ):
            total = sum(counts)
            shares = np.array(counts) / max(1, total)
            axes.stairs(shares, histogram.edges, fill=True, alpha=0.3, color=colour)
            axes.stairs(shares, histogram.edges, color=colour, linewidth=1.5, label=f"{name} ({total:,})")
        axes.set_title(label(system), loc="left", fontsize=10)
        axes.set(ylabel="share")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend()
    panels[-1].set(xlabel="score")
    return figure


def plot_lengths(lengths: LengthHistogram) -> Figure:
    """Draws how long the training pairs are, and where they are cut."""
    figure, axes = one_plot(3)
    axes.stairs(lengths.counts, lengths.edges, fill=True, color=BLUE, alpha=0.7)
    axes.axvline(lengths.max_length, color=ORANGE, label=f"max_length {lengths.max_length:,}")
    beyond = f"; the last bar holds all longer ones, up to {lengths.longest:,}"
    label = f"tokens of a pair{beyond if lengths.longest >= lengths.edges[-1] else ''}"
    axes.set(xlabel=label, ylabel="pairs", xlim=(0, max(lengths.edges[-1], lengths.max_length * 1.05)))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def plot_calibration(calibration: dict[str, Reliability]) -> Figure:
    """Draws a reliability diagram: observed shares over predicted ones, and below how many pairs each bin holds."""
    figure = Figure(figsize=(WIDTH, 5))
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="perfect")
    looks = itertools.cycle(((GREY, "s"), (BLUE, "o"), (ORANGE, "^")))
    for (name, side), (colour, marker) in zip(calibration.items(), looks, strict=False):
        predicted = [each.predicted for each in side.bins]
        label = f"{name}, error {side.error:.3f}"
        upper.plot(predicted, [each.observed for each in side.bins], marker=marker, color=colour, label=label)
        lower.plot(predicted, [each.count for each in side.bins], marker=marker, color=colour)
    upper.set(ylabel="share that is relevant", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    upper.legend()
    lower.set(xlabel="predicted probability", ylabel="pairs", ylim=(0, None))
    figure.align_ylabels()
    return figure


def _line(axes: Axes, steps: Sequence[int], values: Sequence[float], colour: str) -> None:
    axes.plot(steps, values, color=colour, marker="." if len(steps) <= 50 else "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
