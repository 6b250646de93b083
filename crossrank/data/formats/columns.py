"""Texts and ids of a record, under the names that tools give their columns."""

from collections.abc import Mapping

from crossrank.data.formats.forms import columns_of, first_of, normalised
from crossrank.errors import InvalidData

QUERY_ID = ("query_id", "_id", "id", "qid", "queryid")
DOC_ID = ("doc_id", "_id", "id", "docid", "corpus_id", "pid", "docno", "passage_id", "document_id")
QUERY_TEXT = ("text", "query", "question", "query_text", "contents")
TEXT = ("text", "contents", "passage", "document", "body")


def text_of(where: str, record: Mapping[str, object], column: str) -> str:
    """The text of a column.

    Raises:
        InvalidData: It is missing, not a text, or blank.
    """
    text = string_of(where, record, column)
    if not text.strip():
        raise InvalidData(where, f"{column!r} is blank; give its text or drop the line")
    return text


def document_text(where: str, record: Mapping[str, object], column: str, *, blank: bool = False) -> str:
    """The text of a document's column; what is called `text` has its title before it, on a line of its own.

    Args:
        where: The file and line.
        record: The document's.
        column: That of the text.
        blank: Whether a text may be blank, as some of public corpora are.

    Raises:
        InvalidData: As `text_of`; also a title that is not a text.
    """
    title = record.get("title") if normalised(column) == "text" else None
    if title is not None and not isinstance(title, str):
        raise InvalidData(where, f"'title' is {_kind(title)}, not a text; put it in quotes")
    text = string_of(where, record, column) if blank else text_of(where, record, column)
    return f"{title}\n{text}" if title and title.strip() else text


def string_of(where: str, record: Mapping[str, object], column: str) -> str:
    """The string of a column, which may be empty.

    Raises:
        InvalidData: It is missing or not a text.
    """
    if column not in record:
        raise InvalidData(where, f"{column!r} is missing; add it")
    value = record[column]
    if not isinstance(value, str):
        raise InvalidData(where, f"{column!r} is {_kind(value)}, not a text; give its text or drop the line")
    return value


def column_of(where: str, record: Mapping[str, object], names: tuple[str, ...]) -> str:
    """The column of a record that has the first of some names.

    Raises:
        InvalidData: There is none.
    """
    found = first_of(names, {normalised(name): name for name in reversed(list(record))})
    if not found:
        raise InvalidData(where, f"{names[0]!r} is missing; add it (the columns are {columns_of(record)})")
    return found


def as_id(value: object) -> object:
    """An id as it is; an integer as its decimal digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _kind(value: object) -> str:
    """What a value of JSON or Parquet is, for a message."""
    kinds: tuple[tuple[type, str], ...] = (
        (type(None), "null"),
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((kind for type_, kind in kinds if isinstance(value, type_)), type(value).__name__)
