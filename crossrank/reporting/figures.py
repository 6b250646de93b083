"""Matplotlib, kept from writing its list of fonts below HOME where the user has no directory of it."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


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
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter  # noqa: E402

__all__ = ["Axes", "Figure", "FigureCanvasAgg", "MaxNLocator", "PercentFormatter", "ScalarFormatter"]
