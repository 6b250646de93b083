"""Paths as people write them."""

import os
from pathlib import Path


def from_home(path: Path | str) -> Path:
    """The path with `~` at its beginning expanded; as it is where there is no such home."""
    # Path.expanduser raises RuntimeError where the user has none, as in many containers.
    return Path(os.path.expanduser(path))  # noqa: PTH111
