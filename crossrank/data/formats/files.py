"""Writing beside a path before taking its place, and what happens to an invalid line."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crossrank.errors import InvalidData

# What happens to an invalid line: it is raised, or noted and left out.
OnBad = Callable[[InvalidData], None]


def raise_it(error: InvalidData) -> None:
    """Refuse the first invalid line."""
    raise error


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a path in a hidden directory beside `path`; what was made there takes its place unless an error is raised.

    Missing parents are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One level below, because the temporary directory itself is readable by its owner only.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        staged = Path(scratch) / path.name
        yield staged
        staged.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file beside its path, and then in its place."""
    with written_beside(path) as staged:
        staged.write_text(json.dumps(value), encoding="utf-8")
