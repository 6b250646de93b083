"""What a person would rather see than read: the loss, and ranking quality with its intervals."""

from pathlib import Path

from matplotlib.figure import Figure

from train.evaluate import Evaluation
from train.fine_tune import History


def plot_loss(history: History, path: Path) -> None:
    """Draws loss and learning rate over the steps."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    steps = [step for step, _, _ in history.losses]
    left.plot(steps, [loss for _, loss, _ in history.losses], marker=".", color="tab:blue")
    left.set(xlabel="step", ylabel="loss", title="Training loss (blue) and learning rate (grey)", ylim=(0, None))
    right = left.twinx()
    right.plot(steps, [rate for _, _, rate in history.losses], color="tab:gray", alpha=0.6)
    right.set(ylabel="learning rate", ylim=(0, None))
    figure.savefig(path, dpi=120)


def plot_quality(evaluation: Evaluation, path: Path) -> None:
    """Draws nDCG@10 of every system, with the 95% interval of the first one's difference to it."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    systems = list(evaluation.per_query)
    values = [evaluation.means(system)["nDCG@10"] for system in systems]
    axes.barh(systems, values, color=["tab:blue", *["tab:gray"] * (len(systems) - 1)])
    for row, (system, value) in enumerate(zip(systems, values, strict=True)):
        gap = f"   {evaluation.difference(systems[0], system)} to it" if row else ""
        axes.text(value, row, f" {value:.3f}{gap}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.35), xlabel=f"nDCG@10 over {evaluation.queries} queries", title="Ranking quality")
    figure.savefig(path, dpi=120)
