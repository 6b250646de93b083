"""Where a run lives while it is not finished: its data as Arrow files, its checkpoints, its curves.

It stands beside the result as `.NAME.crossrank-run`. Whoever starts the same recipe on the same data again goes on
from the last checkpoint, and the result is that of a run that was never stopped.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from serve.errors import UsageError
from train.recipe import Recipe

_RUN_FILE = "run.json"
# Of a checkpoint: seconds of training until it.
ELAPSED_FILE = "elapsed.json"
# What changes numbers when it changes.
_TOOLS = ("torch", "transformers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of a run that is under way."""

    path: Path

    @property
    def data(self) -> Path:
        """Where the training set lies."""
        return self.path / "data"

    @property
    def curves(self) -> Path:
        """Where TensorBoard's files go."""
        return self.path / "runs"

    def checkpoint(self) -> Path | None:
        """The newest checkpoint that was written to its end; one that a kill cut short is passed over."""
        found = sorted(self.path.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        return next((path for path in reversed(found) if _is_complete(path)), None)

    def remove(self) -> None:
        """Removes it, when the result is in its place."""
        shutil.rmtree(self.path, ignore_errors=True)


def open_run(out: Path, recipe: Recipe, *, force: bool) -> RunDirectory:
    """Opens the run that will write `out`: a new one, or one that was stopped.

    Args:
        out: the result's directory.
        recipe: what is run.
        force: whether the unfinished run of another recipe is thrown away.

    Raises:
        UsageError: the unfinished run is another's, or the place cannot be written.
    """
    out = out.resolve()
    run = RunDirectory(out.parent / f".{out.name}.crossrank-run")
    identity = _identity(recipe)
    try:
        known = json.loads((run.path / _RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if known != identity and run.path.exists() and known is not None and not force:
        raise UsageError(
            f"{run.path} holds an unfinished run of another recipe, of other data or other versions; finish that one, "
            "or give --force to throw it away"
        )
    try:
        if known != identity:
            run.remove()
        run.path.mkdir(parents=True, exist_ok=True)
        (run.path / _RUN_FILE).write_text(json.dumps(identity), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {run.path}: {error.strerror}") from None
    return run


def _is_complete(checkpoint: Path) -> bool:
    # Ours is written after the trainer's last one.
    try:
        json.loads((checkpoint / ELAPSED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    told = recipe.model_dump_json(exclude={"training": {"save_steps", "report_to"}})
    files = sorted(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for source in recipe.data.train
        for place in (source.path, source.run)
        if place is not None and place.exists()
        for file in ([place] if place.is_file() else place.rglob("*"))
    )
    digest = hashlib.sha256(json.dumps([told, files]).encode()).hexdigest()
    return {"recipe": recipe.name, "digest": digest, "tools": {tool: version(tool) for tool in _TOOLS}}
