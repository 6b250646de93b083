"""Plots of benchmark results."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from crossrank.bench.result import Result


def plot_speeds(result: Result, path: Path) -> None:
    """Draws each contestant's ratio to the baseline, with its interval, as a PNG."""
    speeds = [speed for speed in result.speeds if speed.concurrency == 1][::-1]
    ratios = [speed.ratio for speed in speeds]
    errors = [[ratio.median - ratio.low for ratio in ratios], [ratio.high - ratio.median for ratio in ratios]]
    figure = Figure(figsize=(9, 0.45 * len(speeds) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours = ["tab:blue" if speed.name.startswith("crossrank") else "tab:gray" for speed in speeds]
    axes.barh([speed.name for speed in speeds], [ratio.median for ratio in ratios], xerr=errors, color=colours)
    axes.set_xlabel(f"pairs a second, {speeds[-1].name} = 1")
    axes.set_title(f"{result.machine.processor}, {result.machine.cores} cores")
    figure.savefig(path, dpi=120)
