"""Documents to rank, of files, directories and standard input."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from crossrank.data.formats.columns import DOC_ID, TEXT, as_id, column_of, document_text
from crossrank.data.formats.forms import first_of, normalised
from crossrank.data.formats.readers import Record, format_of, json_lines, read_records
from crossrank.data.formats.text import lines_of, read_text
from crossrank.errors import InvalidData, UsageError

# All documents are held, tokenised and scored at once.
MAX_DOCUMENTS = 100_000
MAX_BYTES = 1 << 28

_STANDARD_INPUT = "-"
_LOG = logging.getLogger("crossrank.data")


@dataclass(frozen=True, slots=True)
class Document:
    """A document and the name that it is shown with: its id, its file, or its file and line."""

    name: str
    text: str


def read_documents(paths: Iterable[Path]) -> list[Document]:
    """Read documents, in the order of the paths and, in a directory, of the files' names.

    A table (.jsonl, .csv, .tsv, .parquet or a list in a .json) gives one document a record, every other file is one
    document. A directory gives what the files in it and below it do; those that are hidden, empty, too large or not
    text are passed over with a count. Links to directories are not followed. `-` is standard input: one document a
    line, JSON Lines where it begins with a brace.

    Raises:
        InvalidData: A named file or a record cannot be read, or there are more than `MAX_DOCUMENTS` documents or
            `MAX_BYTES` bytes of text.
        UsageError: There are no documents, or a path cannot be read.
    """
    documents: list[Document] = []
    size = 0
    for path in paths:
        try:
            for document in _of_path(path):
                documents.append(document)
                size += len(document.text.encode())
                if len(documents) > MAX_DOCUMENTS or size > MAX_BYTES:
                    raise InvalidData(
                        path,
                        f"more than {MAX_DOCUMENTS:,} documents or {MAX_BYTES >> 20} MiB of text; name fewer files",
                    )
        except OSError as error:
            raise UsageError(f"{error.filename or path} cannot be read: {error.strerror}") from None
    if not documents:
        raise UsageError("the files hold no documents; name one that does")
    return documents


def _of_path(path: Path) -> Iterator[Document]:
    if str(path) == _STANDARD_INPUT:
        return _of_standard_input()
    return _of_directory(path) if path.is_dir() else _of_file(path)


def _of_file(path: Path) -> Iterator[Document]:
    form = format_of(path)
    if form == ".json":
        # A list is one of documents; any other JSON is a text.
        form = form if read_text(path, MAX_BYTES).lstrip().startswith("[") else None
    if form is None:
        yield Document(_name(path), read_text(path, MAX_BYTES))
    else:
        yield from _of_records(read_records(path))


def _of_records(records: Iterable[Record]) -> Iterator[Document]:
    for where, record in records:
        column = column_of(where, record, TEXT)
        name = first_of(DOC_ID, {normalised(key): key for key in record})
        yield Document(str(as_id(record[name])) if name else where, document_text(where, record, column))


def _of_directory(directory: Path) -> Iterator[Document]:
    passed: dict[str, int] = {"hidden": 0, "empty, too large or not text": 0}
    for root, directories, files in os.walk(directory, onerror=_raise):
        shown = sorted(name for name in directories if not name.startswith("."))
        passed["hidden"] += len(directories) - len(shown)
        directories[:] = shown
        for name in sorted(files):
            path = Path(root, name)
            if name.startswith("."):
                passed["hidden"] += 1
            elif not path.is_file() or _is_binary(path):
                passed["empty, too large or not text"] += 1
            elif format_of(path) in (".jsonl", ".ndjson"):
                yield from _of_records(read_records(path))
            else:
                try:
                    yield Document(_name(path), read_text(path, MAX_BYTES))
                except InvalidData:
                    passed["empty, too large or not text"] += 1
    for what, count in passed.items():
        if count:
            _LOG.info("%s: passed over: %d %s", directory, count, what)


def _is_binary(path: Path) -> bool:
    """Whether the first bytes of a file show that it is binary; UTF-16 and UTF-32 with a byte order mark are text."""
    with path.open("rb") as file:
        head = file.read(1 << 13)
    return b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))


def _of_standard_input() -> Iterator[Document]:
    # The interpreter has none where the process was started without one.
    if sys.stdin is None:
        raise UsageError("standard input is closed; name files")
    lines: Iterator[tuple[str, str]] = (
        (where, line) for where, line in lines_of(sys.stdin.buffer, "standard input") if line.strip()
    )
    first = next(lines, None)
    if first is None:
        return
    lines = chain([first], lines)
    if first[1].lstrip().startswith("{"):
        yield from _of_records(json_lines(lines))
    else:
        yield from (Document(where, line.strip()) for where, line in lines)


def _name(path: Path) -> str:
    """A file's name; what is not UTF-8 in it is escaped, as no id can hold it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _raise(error: OSError) -> None:
    raise error
