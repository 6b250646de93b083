"""Figures of reports: one palette, one style, and Matplotlib kept from writing below a HOME that has no place for it.

A user without Matplotlib's own directories would else find its list of fonts in their HOME.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _keep_out_of_home() -> None:
    home = Path.home()
    theirs = (
        Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "matplotlib",
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib",
        home / ".matplotlib",
    )
    if "MPLCONFIGDIR" in os.environ or any(directory.exists() for directory in theirs):
        return
    os.environ["MPLCONFIGDIR"] = directory = tempfile.mkdtemp(prefix="crossrank-matplotlib-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)


_keep_out_of_home()

# It reads the environment when it is imported.
from matplotlib import rc_context  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter  # noqa: E402

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "ORANGE",
    "WIDTH",
    "Axes",
    "Figure",
    "MaxNLocator",
    "PercentFormatter",
    "ScalarFormatter",
    "one_plot",
    "save_figure",
]

# Okabe and Ito's palette, which stays distinct for the colour-blind.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8c8c8c"
COLOURS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", GREY)

# Inches.
WIDTH = 8.0

_STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "savefig.dpi": 120,
}


def one_plot(height: float) -> tuple[Figure, Axes]:
    """An empty plot of `WIDTH` by `height` inches."""
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots()


def save_figure(draw: Callable[[], Figure], path: Path) -> None:
    """Draws a figure in the style of the reports and writes it as a PNG."""
    with rc_context(_STYLE):
        draw().savefig(path, format="png")
