"""Text of files that people give: lines with their numbers, whatever the byte order mark, line ends or compression."""

import codecs
import gzip
import io
import re
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from crossrank.errors import InvalidData

# The longest line, and the longest text of a cell: far more than any document or list of documents has.
MAX_LINE_BYTES = 1 << 26
# What is read as a whole.
MAX_TEXT_BYTES = 1 << 28
# Limits on decompression: a multiple of the compressed size, and bytes that are always allowed.
_MAX_EXPANSION = 200
_ALWAYS_EXPANDED = 1 << 26

_MARKS = {
    # UTF-32's mark begins as UTF-16's does.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
_GZIP = b"\x1f\x8b"
_LONE_RETURN = re.compile(r"\r(?!\n)")


def text_lines(path: Path, *, may_be_blank: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each line, its end kept, as (`path:line`, text); memory does not grow with the file.

    Lines end at a line feed, a carriage return or both; U+2028 and its like are legal inside of JSON strings. The
    encoding is UTF-8, or UTF-16 or UTF-32 where a byte order mark says so. A gzip file is decompressed.

    Raises:
        InvalidData: The file is not in its encoding, holds a NUL byte or a line of more than `MAX_LINE_BYTES`, cannot
            be decompressed, expands to more than a text does, or all of it is blank where it must not be.
        OSError: The file cannot be read.
    """
    with _opened(path) as raw:
        yield from lines_of(raw, str(path), may_be_blank=may_be_blank)


def lines_of(raw: BinaryIO, name: str, *, may_be_blank: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the lines of a stream of bytes; see `text_lines`."""
    blank, number = not may_be_blank, 0
    stream, offset = _as_utf8(raw, name)
    while line := stream.readline(MAX_LINE_BYTES + 1):
        where = f"{name}:{number + 1}"
        if len(line) > MAX_LINE_BYTES:
            raise InvalidData(where, f"longer than {MAX_LINE_BYTES >> 20} MiB; end each record's line with a line feed")
        text = _decoded(line, where, offset)
        if "\0" in text:
            raise InvalidData(where, "holds a NUL byte, as UTF-16 without a byte order mark does; save it as UTF-8")
        offset += len(line)
        blank = blank and not text.strip()
        for part in _parts(text):
            number += 1
            yield f"{name}:{number}", part
    if blank:
        raise InvalidData(name, "is empty; give at least one line")


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what `text_lines` does, less the blank lines."""
    return ((where, line) for where, line in text_lines(path) if line.strip())


def read_text(path: Path, limit: int = MAX_TEXT_BYTES, *, may_be_blank: bool = False) -> str:
    """The text of a file, at most `limit` bytes of it, with its line ends as they are; raises as `text_lines` does."""
    parts: list[str] = []
    size = 0
    for _, line in text_lines(path, may_be_blank=may_be_blank):
        size += len(line.encode())
        if size > limit:
            raise InvalidData(path, f"larger than {limit >> 20} MiB, which is the most that is read as one text")
        parts.append(line)
    return "".join(parts)


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file, which may be empty.

    Raises:
        InvalidData: As `text_lines`, or it is not TOML.
        OSError: The file cannot be read.
    """
    text = read_text(path, may_be_blank=True)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidData(path, f"not valid TOML: {error}; correct it") from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        # By its content: downloads are often compressed under a plain name, or plain under a compressed one.
        if not file.peek(len(_GZIP)).startswith(_GZIP):
            yield file
            return
        try:
            yield io.BufferedReader(_Inflated(file, path))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InvalidData(path, f"cannot be decompressed ({error}); compress it anew with gzip") from None


def _as_utf8(raw: BinaryIO, name: str) -> tuple[BinaryIO, int]:
    """The stream after its byte order mark, in UTF-8, and the length of the mark."""
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, raw))
    head = buffered.peek(4)[:4]
    mark = next((mark for mark in _MARKS if head.startswith(mark)), b"")
    buffered.read(len(mark))
    encoding = _MARKS.get(mark, "utf-8")
    if encoding != "utf-8":
        buffered = io.BufferedReader(_Recoded(buffered, encoding, len(mark), name))
    return buffered, len(mark)


def _decoded(line: bytes, where: str, offset: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InvalidData(
            where,
            f"not UTF-8 (byte 0x{line[error.start]:02x} at byte {offset + error.start + 1} of the file); save the file "
            "as UTF-8",
        ) from None


def _parts(text: str) -> Iterator[str]:
    """The lines of what ends at a line feed: files of old Macs end theirs at carriage returns."""
    start = 0
    if "\r" in text:
        for end in _LONE_RETURN.finditer(text):
            yield text[start : end.end()]
            start = end.end()
    if start < len(text):
        yield text[start:]


class _Inflated(io.RawIOBase):
    """The bytes of a gzip file, as long as they are no more than a text of its size expands to."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = gzip.GzipFile(fileobj=file), path
        self._left = max(_ALWAYS_EXPANDED, _MAX_EXPANSION * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise InvalidData(self._path, f"expands to more than {_MAX_EXPANSION} times its size; decompress it first")
        buffer[: len(data)] = data
        return len(data)


class _Recoded(io.RawIOBase):
    """The bytes of a UTF-16 or UTF-32 stream as UTF-8."""

    def __init__(self, raw: BinaryIO, encoding: str, offset: int, name: str) -> None:
        self._raw, self._encoding, self._name = raw, encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._offset, self._lines, self._ready = offset, 1, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        while not self._ready:
            # One character has at most 4 bytes in every encoding.
            chunk = self._raw.read(len(buffer))
            held = len(self._decoder.getstate()[0])
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise self._refused(chunk, error, held) from None
            self._offset += len(chunk)
            self._lines += text.count("\n")
            self._ready = text.encode()
            if not chunk:
                break
        given, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)

    def _refused(self, chunk: bytes, error: UnicodeDecodeError, held: int) -> InvalidData:
        before = (self._decoder.getstate()[0] + chunk)[: error.start].decode(self._encoding, errors="replace")
        line, at = self._lines + before.count("\n"), self._offset - held + error.start + 1
        return InvalidData(
            f"{self._name}:{line}", f"not {self._encoding[:6].upper()} (at byte {at}); save the file as UTF-8"
        )
