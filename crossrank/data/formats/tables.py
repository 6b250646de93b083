"""Rows of CSV and TSV files by their headers."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from crossrank.data.formats.files import OnBad
from crossrank.data.formats.text import MAX_LINE_BYTES, text_lines
from crossrank.errors import InvalidData

_SEPARATORS = ",;\t"
# Excel's first line where another separator than the locale's is meant.
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t])"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


def csv_rows(path: Path, on_bad: OnBad) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the rows of a CSV file; the separator is a comma, semicolon or tab, whichever its header has most of."""
    # The module's own limit of 128 KiB is less than long documents have.
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = text_lines(path)
    separator, passed = None, 0
    for where, first in lines:
        passed += 1
        if named := _SEPARATOR_LINE.fullmatch(first):
            separator = named[1]
        elif first.strip():
            separator = separator or max(_SEPARATORS, key=first.count)
            lines = chain([(where, first)], lines)
            break
    begins, offset = passed, passed - 1
    reader = csv.reader((line for _, line in lines), delimiter=separator or ",", strict=True)
    header: list[str] = []
    try:
        for fields in reader:
            where = f"{path}:{begins}"
            begins = reader.line_num + offset + 1
            if not fields:
                continue
            if not header:
                header = _header(where, fields)
            elif len(fields) != len(header):
                on_bad(_ragged(where, fields, header, "put texts with separators in quotes"))
            else:
                yield where, _row(header, fields)
    except csv.Error as error:
        raise InvalidData(f"{path}:{begins}", f"not CSV ({error}); put texts in quotes, or give .jsonl") from None


def tsv_rows(
    path: Path, on_bad: OnBad, headless: Callable[[list[str]], list[str] | None]
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the rows of a TSV file, each of them a line; a cell that is in quotes as a whole is taken out of them.

    Public sets have quotation marks in their texts, so that quotes cannot mean what they mean in CSV: a text holds
    neither tab nor line end.
    """
    header: list[str] = []
    for where, line in text_lines(path):
        if not line.strip():
            continue
        fields = [_unquoted(field) for field in line.rstrip("\r\n").split("\t")]
        if not header:
            if (names := headless(fields)) is None:
                header = _header(where, fields)
                continue
            header = names
        if len(fields) != len(header):
            on_bad(_ragged(where, fields, header, "texts with tabs or line ends need .csv or .jsonl"))
        else:
            yield where, _row(header, fields)


def _header(where: str, fields: list[str]) -> list[str]:
    header = [field.strip() for field in fields]
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        raise InvalidData(where, "a column's name occurs twice; name each column once")
    return header


def _row(header: list[str], fields: list[str]) -> dict[str, object]:
    # A column without a name is the index of a data frame, or what a spreadsheet has at the end of its lines.
    return {name: field for name, field in zip(header, fields, strict=True) if name}


def _ragged(where: str, fields: list[str], header: list[str], remedy: str) -> InvalidData:
    return InvalidData(where, f"{len(fields)} columns, not the header's {len(header)}; {remedy}")


def _unquoted(field: str) -> str:
    quoted = _QUOTED.fullmatch(field)
    return quoted[1].replace('""', '"') if quoted else field
