"""Paths as people write them."""

import os
from pathlib import Path

from crossrank.errors import UsageError


def from_home(path: Path | str) -> Path:
    """The path with `~` at its beginning expanded; as it is where there is no such home.

    Raises:
        UsageError: It holds a NUL character, which no system takes.
    """
    if "\0" in str(path):
        raise UsageError(f"path {str(path)!r} holds a NUL character; correct it")
    # Path.expanduser raises RuntimeError where the user has none, as in many containers.
    return Path(os.path.expanduser(path))  # noqa: PTH111
