"""Output of the commands: tables for people, JSON for machines, one sentence for what went wrong."""

import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossrank.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

# A file or a pipe has no width; rich would take 80 columns and fold the tables.
_WIDTH_OF_FILES = 120
# Controls of C0 but the line feed, DEL and C1, which steer a terminal; marks that turn what follows around, so that it
# reads as something else; halves of surrogate pairs, which names of files can have.
_STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_log = logging.getLogger(__name__)


@cache
def console() -> "Console":
    """Standard error, for progress and notes, so that standard output holds the result and nothing else."""
    # Rich is imported by what draws: help texts, whose modules import this one, need none of it.
    from rich.console import Console

    return Console(stderr=True, emoji=False)


def print_json(value: Any) -> None:
    """Prints a result as one JSON document, in ASCII where the stream cannot take its characters."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    # All that is left of these is in strings, where JSON has an escape for them.
    sys.stdout.write(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def print_line(text: str) -> None:
    """Prints a line for people."""
    sys.stdout.write(printable(text) + "\n")


def printable(text: str) -> str:
    """The text with what steers a terminal escaped: neither a document nor a file's name may. Line feeds stay."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def ranker_or_default(ranker: str | None) -> Path:
    """Where a ranker is, by directory or Hugging Face id; the default one where none is named, which is then said.

    Raises:
        UsageError: there is none of that id.
    """
    from crossrank.inference.ranker.hub import DEFAULT_RANKER, DEFAULT_SENTENCE, locate_ranker

    if ranker:
        return locate_ranker(ranker)
    _log.info(DEFAULT_SENTENCE)
    return DEFAULT_RANKER


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: the first column to the left, the others to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # As text it is printed as it is: rich would turn `a:x:b` into an emoji, and brackets into styles.
    table = Table(title=Text(printable(title)), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else _WIDTH_OF_FILES).print(table)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turns a package that is not installed into the sentence that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "crossrank":
            raise
        raise UsageError(f"{error.name}: not installed; pip install 'crossrank[{extra}]'") from None
