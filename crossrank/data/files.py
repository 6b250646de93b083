"""Lines of UTF-8 files with their numbers, and writing beside a path before taking its place."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crossrank.errors import InvalidData

# What happens to an invalid line: it is raised, or noted and left out.
OnBad = Callable[[InvalidData], None]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def all_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line, its line feed kept, as (`path:line`, text).

    Lines end at line feeds only: U+2028 and its like are legal inside of JSON strings. A byte order mark at the
    beginning is dropped.

    Raises:
        InvalidData: The file is not UTF-8, or all of it is blank.
        OSError: The file cannot be read.
    """
    blank = True
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}:{number}"
            try:
                line = (raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw).decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidData(where, "not UTF-8; save the file as UTF-8") from None
            blank = blank and not line.strip()
            yield where, line
    if blank:
        raise InvalidData(path, "is empty; give at least one line")


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what `all_lines` does, less the blank lines."""
    return ((where, line) for where, line in all_lines(path) if line.strip())


def raise_it(error: InvalidData) -> None:
    """Refuse the first invalid line."""
    raise error


def json_records(path: Path, on_bad: OnBad = raise_it) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each line of a JSON Lines file as (`path:line`, object).

    Args:
        path: The file.
        on_bad: Called with each line that is no JSON object; what it does not raise is left out.

    Raises:
        InvalidData: The file is empty or not UTF-8, and what `on_bad` raises.
        OSError: The file cannot be read.
    """
    for where, line in numbered_lines(path):
        try:
            record = _json_object(where, line)
        except InvalidData as error:
            on_bad(error)
            continue
        yield where, record


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a path in a hidden directory beside `path`; what was made there takes its place unless an error is raised.

    Missing parents are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # One level below, because the temporary directory itself is readable by its owner only.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        staged = Path(scratch) / path.name
        yield staged
        staged.replace(path)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file beside its path, and then in its place."""
    with written_beside(path) as staged:
        staged.write_text(json.dumps(value), encoding="utf-8")


def _json_object(where: str, line: str) -> dict[str, object]:
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
        # An escaped half of a surrogate pair is legal JSON, but no UTF-8 file can hold it.
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidData(where, "holds half of a surrogate pair; write whole characters") from None
    except (ValueError, RecursionError) as error:
        raise InvalidData(where, f"not JSON ({error}); write one JSON object per line") from None
    if not isinstance(record, dict):
        raise InvalidData(where, "not a JSON object; write one JSON object per line")
    return record


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
