"""Rows of a query, a document and how well the document answers: labels, star ratings or thumbs.

The columns are `query`, `document` and one of `label` (0 to 1), `stars` (1 to 5) and `thumbs` ("up" or "down");
other columns are ignored. A file may give stars in some rows and thumbs in others, but labels only throughout.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from judgements.errors import JudgementsError
from judgements.text_files import all_lines, json_records

_TEXTS = ("query", "document")
_RATINGS = ("label", "stars", "thumbs")
_THUMBS = {"up": 1.0, "down": 0.0}

_Record = tuple[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Row:
    """How well a document answers a query: `label` in [0, 1], 1 for fully."""

    query: str
    document: str
    label: float


def read_rows(path: Path) -> list[Row]:
    """Read a .jsonl, .csv (commas) or .parquet file, in file order.

    Raises:
        JudgementsError: The file or a row is not what it should be; the message names file and line, in a Parquet
            file the row, both counted from 1. A pair of query and document may occur once only.
        OSError: The file cannot be read.
    """
    readers = {".jsonl": json_records, ".csv": _csv_records, ".parquet": _parquet_records}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise JudgementsError(f"{path}: rows are read from .jsonl, .csv or .parquet; convert the file to one of them.")
    rows: list[Row] = []
    seen: dict[tuple[str, str], tuple[str, float]] = {}
    labelled: bool | None = None
    for where, record in reader(path):
        query, document = (_text(where, record, column) for column in _TEXTS)
        column, value = _rating(where, record)
        if labelled not in (None, column == "label"):
            raise JudgementsError(f"{where}: labels and ratings are mixed; give 'label' in every row or in none.")
        labelled = column == "label"
        label = _to_label(where, column, value)
        first, first_label = seen.setdefault((query, document), (where, label))
        if first != where:
            advice = "drop one of the two" if label == first_label else "their labels contradict; keep the right one"
            raise JudgementsError(f"{where}: the same query and document as {first}; {advice}.")
        rows.append(Row(query, document, label))
    if not rows:
        raise JudgementsError(f"{path}: holds no rows; give at least one.")
    return rows


def rating_to_label(rating: int | str) -> float:
    """Turn 1 to 5 stars into (stars - 1) / 4, and "up" and "down" into 1.0 and 0.0.

    Raises:
        JudgementsError: Any other rating.
    """
    if isinstance(rating, str) and rating in _THUMBS:
        return _THUMBS[rating]
    if isinstance(rating, int) and not isinstance(rating, bool) and 1 <= rating <= 5:
        return (rating - 1) / 4
    raise JudgementsError(f"rating {rating!r} is neither 1 to 5 stars nor 'up' or 'down'.")


def _text(where: str, record: Mapping[str, object], column: str) -> str:
    if column not in record:
        raise JudgementsError(f"{where}: {column!r} is missing; add it.")
    value = record[column]
    if not isinstance(value, str) or not value.strip():
        raise JudgementsError(f"{where}: {column!r} is not a text or is blank; give its text or drop the row.")
    return value


def _rating(where: str, record: Mapping[str, object]) -> tuple[str, object]:
    given = [(column, record[column]) for column in _RATINGS if record.get(column) not in (None, "")]
    if len(given) != 1:
        raise JudgementsError(f"{where}: {len(given)} of 'label', 'stars' and 'thumbs' are given; give exactly one.")
    return given[0]


def _to_label(where: str, column: str, value: object) -> float:
    if column == "thumbs":
        if isinstance(value, str) and value in _THUMBS:
            return rating_to_label(value)
        raise JudgementsError(f"{where}: thumbs {value!r} is neither 'up' nor 'down'; write one of them.")
    number = _number(value)
    if column == "label":
        if 0 <= number <= 1:
            return number
        raise JudgementsError(f"{where}: label {value!r} is not a number from 0 to 1; scale it.")
    # A column of whole numbers with gaps comes out of many tools as floats.
    if number.is_integer() and 1 <= number <= 5:
        return rating_to_label(int(number))
    raise JudgementsError(f"{where}: stars {value!r} is not a whole number from 1 to 5; correct it.")


def _number(value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    return math.nan


def _csv_records(path: Path) -> Iterator[_Record]:
    reader = csv.reader((line for _, line in all_lines(path)), strict=True)
    header: list[str] = []
    begins = 1
    try:
        for fields in reader:
            where = f"{path}:{begins}"
            begins = reader.line_num + 1
            if not fields:
                continue
            if not header:
                header = fields
                _check_header(where, header)
            elif len(fields) != len(header):
                raise JudgementsError(
                    f"{where}: {len(fields)} columns, not the header's {len(header)}; put texts with commas in quotes."
                )
            else:
                yield where, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise JudgementsError(f"{path}:{begins}: not CSV ({error}); put texts in quotes, or give .jsonl.") from None


def _check_header(where: str, header: list[str]) -> None:
    if len(header) == 1:
        raise JudgementsError(f"{where}: only one column found, {header[0]!r}; separate the columns with commas.")
    if len(set(header)) < len(header):
        raise JudgementsError(f"{where}: a column's name occurs twice; name each column once.")
    missing = [column for column in _TEXTS if column not in header]
    if missing or not set(_RATINGS) & set(header):
        raise JudgementsError(
            f"{where}: the columns are {', '.join(map(repr, header))}; name 'query', 'document' and one of 'label', "
            "'stars' and 'thumbs'."
        )


def _parquet_records(path: Path) -> Iterator[_Record]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise JudgementsError(f"{path}: reading Parquet needs pyarrow; run pip install 'crossrank[train]'.") from None
    number = 0
    with path.open("rb") as raw:
        try:
            file = parquet.ParquetFile(raw)
            names = file.schema_arrow.names
            _check_header(str(path), names)
            columns = [name for name in names if name in (*_TEXTS, *_RATINGS)]
            for batch in file.iter_batches(columns=columns):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", record
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise JudgementsError(f"{path}: cannot be read as Parquet; write it anew.") from error
