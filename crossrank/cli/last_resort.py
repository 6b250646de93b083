"""Last resort of the commands: whatever goes wrong ends in one sentence and an exit code, never in a traceback.

What no command foresaw leaves a report in a private directory: classes of errors, frames and versions. Messages of
errors and values of variables stay out of it, since they can hold texts of users.
"""

import contextlib
import errno
import logging
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from crossrank.errors import CrossrankError

# As sysexits.h numbers them, and as shells number signals: 128 and the signal.
FAULT, UNREADABLE, NO_MEMORY, FILE_FAILED = 70, 65, 71, 74
INTERRUPTED, BROKEN_PIPE = 130, 141

_ADVICE = {
    errno.EACCES: "change its permissions or choose another place",
    errno.EPERM: "change its permissions or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOSPC: "free some or choose another place",
    errno.EDQUOT: "free some or choose another place",
    errno.EFBIG: "raise the limit (`ulimit -f`) or choose another place",
    errno.EMFILE: "raise the limit (`ulimit -n`)",
    errno.ENFILE: "close other programs or raise the system's limit",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a directory",
    errno.ENOENT: "check the path, and that the working directory still exists",
    errno.ELOOP: "remove the links that lead to one another",
    errno.ENOMEM: "use fewer workers or a machine with more memory",
}
_ELSEWHERE = "try again; if it stays, report it with the output of `crossrank doctor`"
_PACKAGES = ("crossrank", "numpy", "onnxruntime", "onnxruntime-gpu", "tokenizers", "grpcio", "torch", "transformers")
# Of a recursion without end the beginning and the end suffice.
_FRAMES = 60


def run(command: Callable[[], object]) -> NoReturn:
    """Runs a command of typer's and exits with its code, or with a sentence and the code of what went wrong."""
    _open_closed_streams()
    # A log line that cannot be written is lost; Python would write a traceback in its place.
    logging.raiseExceptions = False
    threading.excepthook = lambda thread: thread.exc_value and explain(thread.exc_value)
    sys.unraisablehook = lambda _: None
    try:
        code: object = 0
        try:
            command()
        except SystemExit as ended:
            if isinstance(ended.__context__, BrokenPipeError):  # typer ends with 1 then
                raise ended.__context__ from None
            code = ended.code
        _flush_output()
    except BaseException as error:  # the last resort
        code = explain(error)
    _drop_what_cannot_be_written()
    sys.exit(code)  # type: ignore[arg-type]


def explain(error: BaseException) -> int:
    """Writes the sentence for an error to standard error, and a report where no command foresaw it; never fails.

    Returns:
        The exit code.
    """
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE  # the reader has what it wants, as `head` does
    sentence, code, foreseen = _sentence(error)
    report = None if foreseen else _write_report(error)
    if report is not None:
        sentence += f"; details are in {report}"
    try:
        from crossrank.cli.output import printable

        sys.stderr.write(f"crossrank: {printable(sentence)}\n")
        sys.stderr.flush()
    except Exception:  # nobody listens: the exit code has to do
        pass
    return code


def _sentence(error: BaseException) -> tuple[str, int, bool]:
    """The sentence for an error, its exit code, and whether it was foreseen."""
    if isinstance(error, CrossrankError):
        return str(error), error.exit_code, True
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED, True
    if isinstance(error, MemoryError):
        return "out of memory; use fewer workers, smaller batches or a machine with more", NO_MEMORY, False
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename
        where = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""
        what = os.strerror(error.errno)
        return f"{where}{what[0].lower()}{what[1:]}; {_ADVICE.get(error.errno, _ELSEWHERE)}", FILE_FAILED, False
    if isinstance(error, OSError):
        return f"a file or a connection failed ({type(error).__name__}); {_ELSEWHERE}", FILE_FAILED, False
    if isinstance(error, UnicodeError):
        return "a text is not in the encoding that it should be in; give files in UTF-8", UNREADABLE, False
    if isinstance(error, RecursionError):
        return "the data is nested too deeply; flatten it", FAULT, False
    if isinstance(error, ImportError):
        package = (error.name or "a package").split(".")[0]
        return f"{package} cannot be loaded; `crossrank doctor` shows what is installed", FAULT, False
    return f"a fault in crossrank ({type(error).__name__}); {_ELSEWHERE}", FAULT, False


def _write_report(error: BaseException) -> Path | None:
    """Writes the report to a new private directory; returns None if it cannot be written."""
    try:
        report = Path(tempfile.mkdtemp(prefix="crossrank-")) / "report.txt"
        report.write_text("\n".join((*_surroundings(), "", *_frames(error))) + "\n", encoding="utf-8")
    except Exception:  # no space, no memory, no files left
        return None
    return report


def _surroundings() -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    from crossrank.cli.app import COMMANDS

    yield f"command: {next((word for word in sys.argv[1:2] if word in COMMANDS), '')}"
    yield f"python {sys.version.split()[0]} on {sys.platform}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _frames(error: BaseException) -> Iterator[str]:
    """Classes and places of an error and of those that led to it, the last one first."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        number = getattr(following, "errno", None)
        yield type(following).__qualname__ + (f", errno {number}" if isinstance(number, int) else "")
        frames = [
            f"  {frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(following.__traceback__)
        ]
        yield from frames if len(frames) <= 2 * _FRAMES else (*frames[:_FRAMES], "  …", *frames[-_FRAMES:])
        following = following.__cause__ or following.__context__


def _open_closed_streams() -> None:
    """Opens /dev/null for streams that are closed: the next file that is opened would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:
            error.filename = "standard output"
        raise


def _drop_what_cannot_be_written() -> None:
    """Leads streams that fail to /dev/null, or Python would complain of them when it ends."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except Exception:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
