"""Protobuf's wire format: the fields of a message in a file, found without parsing or copying what they hold."""

import mmap
from collections.abc import Iterator

# A number, or the place of the bytes of a field in the file.
Value = int | slice


class Wire:
    """The fields of the messages in a file.

    Args:
        data: the file.
        most: fields that are read before the file is refused.
    """

    def __init__(self, data: mmap.mmap, most: int) -> None:
        self._data = data
        self._left = most

    def bytes(self, value: Value) -> bytes:
        """What a field of bytes holds.

        Raises:
            ValueError: it is a number.
        """
        return self._data[place(value)]

    def fields(self, place: slice) -> Iterator[tuple[int, Value]]:
        """The number of each field of a message, and its value.

        Raises:
            OverflowError: the file has too many fields.
            ValueError, IndexError: the bytes are not of the wire format.
        """
        at, stop = place.start, place.stop
        while at < stop:
            self._left -= 1
            if self._left < 0:
                raise OverflowError
            tag, at = self._varint(at)
            wire = tag & 7
            if wire == 0:
                value, at = self._varint(at)
                yield tag >> 3, value
                continue
            if wire == 2:
                length, at = self._varint(at)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            else:
                raise ValueError("a group")
            if at + length > stop:
                raise ValueError("cut off")
            yield tag >> 3, slice(at, at + length)
            at += length

    def numbers(self, value: Value, most: int) -> list[int]:
        """The signed number of a field, or the first of several that are packed."""
        if isinstance(value, int):
            return [_signed(value)]
        numbers: list[int] = []
        at = value.start
        while at < value.stop and len(numbers) < most:
            number, at = self._varint(at)
            numbers.append(_signed(number))
        return numbers

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (2**64 - 1), at
            shift += 7
        raise ValueError("a number of more than ten bytes")


def place(value: Value) -> slice:
    """Where the bytes of a field are.

    Raises:
        ValueError: it is a number.
    """
    if isinstance(value, int):
        raise ValueError("a number where bytes are expected")
    return value


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
