"""Records of JSON Lines, CSV and Parquet files, streamed, each with the file and line that it comes from."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from crossrank.data.files import OnBad, all_lines, json_records, raise_it
from crossrank.errors import InvalidData

# The module's own limit of 128 KiB is less than long documents have.
_LONGEST_CELL = 1 << 30

Record = tuple[str, Mapping[str, object]]


def read_records(path: Path, on_bad: OnBad = raise_it) -> Iterator[Record]:
    """Yield each record of a .jsonl, .csv (commas) or .parquet file as (`path:line`, columns).

    In a Parquet file the row is counted. Memory does not grow with the file.

    Args:
        path: The file.
        on_bad: Called with each invalid line; unless it raises, the line is left out.

    Raises:
        InvalidData: The file as a whole cannot be read: a suffix that is none of these, no UTF-8, a header of one
            column or with a name twice, or no content.
        OSError: The file cannot be read.
    """
    readers = {".jsonl": json_records, ".csv": _csv_records, ".parquet": _parquet_records}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidData(path, "rows are read from .jsonl, .csv or .parquet; convert the file to one of them")
    yield from reader(path, on_bad)


def _csv_records(path: Path, on_bad: OnBad) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_CELL)
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
                on_bad(
                    InvalidData(
                        where, f"{len(fields)} columns, not the header's {len(header)}; put texts with commas in quotes"
                    )
                )
            else:
                yield where, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InvalidData(f"{path}:{begins}", f"not CSV ({error}); put texts in quotes, or give .jsonl") from None


def _check_header(where: str, header: list[str]) -> None:
    if len(header) == 1:
        raise InvalidData(where, f"only one column found, {header[0]!r}; separate the columns with commas")
    if len(set(header)) < len(header):
        raise InvalidData(where, "a column's name occurs twice; name each column once")


def _parquet_records(path: Path, on_bad: OnBad) -> Iterator[Record]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InvalidData(path, "reading Parquet needs pyarrow; run pip install 'crossrank[train]'") from None
    number = 0
    with path.open("rb") as raw:
        try:
            file = parquet.ParquetFile(raw)
            _check_header(str(path), file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", record
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InvalidData(path, "cannot be read as Parquet; write it anew") from error
