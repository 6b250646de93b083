"""Atomic replacement of directories: nobody ever sees half of the old one or half of the new one.

The old one is renamed to `.NAME.crossrank-old`, a name that no person's backup has, and the new one to NAME; whoever
opens NAME next undoes a swap that was interrupted between the two. What a killed process was making stands beside it
as `.NAME.crossrank-new-…`, and whoever makes NAME next removes it.
"""

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crossrank.errors import UsageError


@contextmanager
def replace_directory(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Gives an empty directory beside `target` that takes its place when the block ends well.

    Args:
        target: where the directory shall be.
        force: whether an existing directory is replaced.

    Raises:
        UsageError: `target` exists and `force` is not given, is not a directory, or cannot be written.
    """
    target = target.resolve()
    recover(target)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is not a directory")
    if target.exists() and not force:
        raise UsageError(f"{target} exists; choose another place or give --force to replace it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        made = Path(tempfile.mkdtemp(prefix=_making(target), dir=target.parent))
    except OSError as error:
        raise UsageError(f"cannot write to {target.parent}: {error.strerror}") from None
    # As long as this process lives, however it ends.
    lock = try_lock(made)
    try:
        made.chmod(0o755)
        yield made
        publish(made, target, force=force)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def publish(made: Path, target: Path, *, force: bool) -> None:
    """Moves the directory `made` to `target` and removes what was there.

    Raises:
        UsageError: there is something and `force` is not given; it may have come while `made` was being made.
    """
    _sync(made)
    if not force or not target.exists():
        try:
            made.rename(target)
        except OSError as error:
            raise UsageError(f"cannot move the result to {target}: {error.strerror}") from None
        return
    old = _old(target)
    while True:
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        try:
            made.rename(target)
            break
        except OSError as error:
            # Whoever opened the name between the two renames has put the old one back.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                recover(target)
                raise
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Undoes a swap of `target` that was interrupted between its two renames."""
    target = target.resolve()
    if not target.exists() and _old(target).is_dir():
        # Another process may have been faster; whoever opens the directory next sees what is there.
        with suppress(OSError):
            _old(target).rename(target)


def _making(target: Path) -> str:
    return f".{target.name}.crossrank-new-"


def _sweep(target: Path) -> None:
    """Removes what killed processes left unfinished; what a living one is making is locked."""
    for left in target.parent.glob(f"{glob.escape(_making(target))}*"):
        lock = try_lock(left)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def try_lock(directory: Path) -> int | None:
    """A lock on a directory, that the system gives back with the process; None where another one holds it."""
    if os.name != "posix":
        return None
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.crossrank-old")


def _sync(directory: Path) -> None:
    """Makes the files durable before a name points to them."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
