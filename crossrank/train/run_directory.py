"""The directory of a run that is not finished: its data as Arrow files, its checkpoints, its curves.

It stands beside the result as `.NAME.crossrank-run`. Whoever starts the same recipe on the same data again resumes
from the last checkpoint, and the result is that of a run that was never stopped.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossrank.atomic import try_lock
from crossrank.data.formats.files import write_json
from crossrank.errors import UsageError
from crossrank.models.location import model_digest
from crossrank.train.recipe import Recipe

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
    def collected(self) -> Path:
        """Where the examples of all sources lie."""
        return self.path / "collected"

    @property
    def split(self) -> Path:
        """The file that keeps what is held out."""
        return self.path / "split.json"

    @property
    def data(self) -> Path:
        """Where the training set lies, in the shape of the loss."""
        return self.path / "data"

    @property
    def folds(self) -> Path:
        """The file that keeps the scores of a cross-validation."""
        return self.path / "cross-validation.json"

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


def run_of(out: Path) -> RunDirectory:
    """Where the run that will write `out` lives."""
    out = out.resolve()
    return RunDirectory(out.parent / f".{out.name}.crossrank-run")


@contextmanager
def open_run(out: Path, recipe: Recipe, *, force: bool) -> Iterator[RunDirectory]:
    """Opens the run that will write `out`: a new one, or one that was stopped. No other process can, meanwhile.

    Its directory is removed when the block ends well, or with a UsageError before the first checkpoint.

    Args:
        out: the result's directory.
        recipe: what is run.
        force: whether the unfinished run of another recipe is thrown away.

    Raises:
        UsageError: the unfinished run is another's, or is being run, or the place cannot be written.
    """
    run = run_of(out)
    identity = _identity(recipe)
    try:
        known = json.loads((run.path / _RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    if known != identity and run.path.exists() and known is not None and not force:
        raise UsageError(
            f"{run.path} holds an unfinished run of another recipe, of other data or models, or of other versions; "
            "finish that one, or give --force to throw it away"
        )
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {run.path}: {error.strerror}") from None
    lock = try_lock(run.path)
    if lock is None and os.name == "posix":
        raise UsageError(f"{run.path} is being run by another process; wait for it, or write elsewhere")
    try:
        if known != identity:
            for path in run.path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            write_json(run.path / _RUN_FILE, identity)
        try:
            yield run
        except UsageError:
            if run.checkpoint() is None:
                run.remove()  # there is nothing to resume
            raise
        run.remove()
    finally:
        if lock is not None:
            os.close(lock)


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
    data = recipe.data
    places = [recipe.data.dev, *data.regression_sets]
    for source in data.train:
        places += [
            source.path,
            source.corpus,
            source.run,
            *source.corpora,
            Path(source.dataset) if source.dataset else None,
        ]
    files = sorted(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for place in places
        if place is not None and place.exists()
        for file in ([place] if place.is_file() else place.rglob("*"))
    )
    scorers = [each.scorer for each in (data.negatives, *(source.negatives for source in data.train)) if each]
    models = [model_digest(name) for name in (recipe.base, recipe.distillation.teacher, *scorers) if name]
    digest = hashlib.sha256(json.dumps([told, files, models]).encode()).hexdigest()
    return {"recipe": recipe.name, "digest": digest, "tools": {tool: version(tool) for tool in _TOOLS}}
