"""Records of JSON, CSV, TSV and Parquet files, streamed, each with the file and line that it comes from."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from crossrank.data.formats.files import OnBad, raise_it
from crossrank.data.formats.tables import csv_rows, tsv_rows
from crossrank.data.formats.text import read_text, text_lines
from crossrank.errors import InvalidData

Record = tuple[str, Mapping[str, object]]

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
# Row groups are what is decompressed at once.
_MAX_ROW_GROUP_BYTES = 1 << 30


def format_of(path: Path) -> str | None:
    """The format that a file's name says, one of `FORMATS` in lower case; None for any other file."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
        return suffixes[-1] if suffixes and suffixes[-1] in FORMATS[:-1] else None
    return suffixes[-1] if suffixes and suffixes[-1] in FORMATS else None


def name_of(path: Path) -> str:
    """A file's name without the suffixes of its format."""
    without_gz = Path(path.name[:-3]) if path.suffix.lower() == ".gz" else path
    return without_gz.stem


def find_table(directory: Path, name: str) -> Path | None:
    """The file of a name in a directory, in whichever format it is.

    Raises:
        InvalidData: It is there in two formats.
    """
    if not directory.is_dir():
        return None
    found = sorted(path for path in directory.iterdir() if path.is_file() and format_of(path) and name_of(path) == name)
    if len(found) > 1:
        raise InvalidData(
            directory, f"holds {' and '.join(path.name for path in found)}, and only one can be meant; remove the other"
        )
    return found[0] if found else None


def read_records(
    path: Path, on_bad: OnBad = raise_it, headless: Callable[[list[str]], list[str] | None] = lambda cells: None
) -> Iterator[Record]:
    """Yield each record of a file as (`path:line`, columns).

    The format is the suffix's, in upper or lower case, and all but Parquet may be compressed (.gz): .jsonl (.ndjson),
    .json (a list of objects, or objects one after the other), .csv (commas, semicolons or tabs), .tsv or .parquet.
    In a Parquet file the row is counted. Memory does not grow with the file, but for .json.

    Args:
        path: The file.
        on_bad: Called with each invalid line; unless it raises, the line is left out.
        headless: Names the columns of a .tsv whose first line is a record already; None where it is a header.

    Raises:
        InvalidData: The file as a whole cannot be read: a suffix that is none of these, text that is not UTF-8, a
            header with a name twice, or no content.
        OSError: The file cannot be read.
    """
    match format_of(path):
        case ".jsonl" | ".ndjson":
            yield from json_lines(text_lines(path), on_bad)
        case ".json":
            yield from _json_values(path, on_bad)
        case ".csv":
            yield from csv_rows(path, on_bad)
        case ".tsv":
            yield from tsv_rows(path, on_bad, headless)
        case ".parquet":
            yield from _parquet_rows(path)
        case _:
            raise InvalidData(
                path, "records are read from .jsonl, .json, .csv, .tsv or .parquet; convert the file to one of them"
            )


def json_lines(lines: Iterable[tuple[str, str]], on_bad: OnBad = raise_it) -> Iterator[Record]:
    """Yield the object of each line that is not blank; `on_bad` is called with each line that is not an object."""
    for where, line in lines:
        if line.strip():
            try:
                record = _object(where, json.loads(line, parse_constant=_refuse_constant))
            except (ValueError, RecursionError) as error:
                on_bad(_not_json(where, error))
                continue
            yield where, record


def _json_values(path: Path, on_bad: OnBad) -> Iterator[Record]:
    # A string of JSON holds no line ends, so that those of other systems can become ours.
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    start = _after_space(text, 0)
    is_list = text.startswith("[", start)
    start = _after_space(text, start + is_list)
    line = text.count("\n", 0, start) + 1
    while start < len(text) and not (is_list and text.startswith("]", start)):
        where = f"{path}:{line}"
        try:
            value, end = decoder.raw_decode(text, start)
            # What follows is checked before the record is given away.
            end = _after_space(text, end)
            if is_list and not text.startswith("]", end):
                if not text.startswith(",", end):
                    raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
                end = _after_space(text, end + 1)
        except (ValueError, RecursionError) as error:
            at = f"{path}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else where
            raise _not_json(at, error) from None
        line += text.count("\n", start, end)
        start = end
        try:
            record = _object(where, value)
        except (ValueError, RecursionError) as error:
            on_bad(_not_json(where, error))
            continue
        yield where, record
    if is_list and (start >= len(text) or text[start + 1 :].strip()):
        raise InvalidData(f"{path}:{line}", "not JSON (the list does not end the file); write one list of objects")


def _after_space(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    return start


def _object(where: str, value: object) -> dict[str, object]:
    try:
        # An escaped half of a surrogate pair is legal JSON, but no UTF-8 file can hold it.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidData(where, "holds half of a surrogate pair; write whole characters") from None
    if not isinstance(value, dict):
        raise InvalidData(where, "not a JSON object; write one JSON object per line")
    return value


def _not_json(where: str, error: Exception) -> InvalidData:
    if isinstance(error, InvalidData):
        return error
    return InvalidData(where, f"not JSON ({error}); write one JSON object per line")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _parquet_rows(path: Path) -> Iterator[Record]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InvalidData(path, "reading Parquet needs pyarrow; run pip install 'crossrank[train]'") from None
    number = 0
    with path.open("rb") as raw:
        try:
            file = parquet.ParquetFile(raw)
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise InvalidData(path, "a column's name occurs twice; name each column once")
            largest = max((file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)), default=0)
            if largest > _MAX_ROW_GROUP_BYTES:
                raise InvalidData(
                    path, f"a row group of {largest >> 20} MiB; write row groups of {_MAX_ROW_GROUP_BYTES >> 20} MiB"
                )
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", record
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError, MemoryError) as error:
            raise InvalidData(path, "cannot be read as Parquet; write it anew") from error
