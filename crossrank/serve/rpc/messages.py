"""Messages: protobuf bytes, whose shape is checked before they are parsed.

Parsing makes an object of every field of a message type: a megabyte of empty documents becomes fifty in memory, and
holds the interpreter meanwhile.
"""

from typing import TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from crossrank.errors import InvalidRequest
from crossrank.v1 import ranker_pb2

# Fields of one message beside its repeated ones: ours have nine, a newer client's may have more.
_MOST_FIELDS = 64
# Bytes up to which parsing any fields takes milliseconds: messages without repeated fields are not walked through.
_SMALL = 1024 * 1024
_VARINT, _FIXED64, _BYTES, _START_GROUP, _END_GROUP, _FIXED32 = range(6)

# Types of messages in requests: all, and those that hold further ones.
_NESTED = frozenset(t.DESCRIPTOR for t in (ranker_pb2.RankRequest, ranker_pb2.Document, ranker_pb2.Pair))
_REPEATING = frozenset({ranker_pb2.RankRequest.DESCRIPTOR})

_Message = TypeVar("_Message", bound=Message)


def parse_message(kind: type[_Message], data: bytes, most_repeated: int) -> _Message:
    """Parses the bytes of a message.

    Args:
        kind: the class of the message.
        data: its bytes.
        most_repeated: the largest length of a repeated field.

    Raises:
        InvalidRequest: the bytes are not such a message, or a message in them has too many fields.
    """
    try:
        deep = _NESTED if len(data) > _SMALL else _REPEATING
        _check(cast(Descriptor, kind.DESCRIPTOR), data, 0, len(data), most_repeated, deep)
        return kind.FromString(data)
    except (DecodeError, IndexError):
        raise InvalidRequest(
            f"request: its bytes are not a {kind.DESCRIPTOR.name}; send the message of crossrank.v1"
        ) from None


def _check(descriptor: Descriptor, data: bytes, place: int, end: int, most: int, deep: frozenset[Descriptor]) -> None:
    """Walks over the fields of a message between two places, and into the messages of the types of `deep`.

    Raises:
        InvalidRequest: there are too many fields.
        IndexError: the bytes are cut off or not of the wire format.
    """
    known = descriptor.fields_by_number
    repeated = others = 0
    while place < end:
        tag, place = _varint(data, place)
        wire, field = tag & 7, known.get(tag >> 3)
        if field is not None and field.is_repeated:
            repeated += 1
            if repeated > most:
                raise InvalidRequest(f"{field.name}: more than the {most} of one call")
        else:
            others += 1
            if others > _MOST_FIELDS:
                raise InvalidRequest(f"request: a {descriptor.name} of more than {_MOST_FIELDS} fields")
        if wire == _BYTES:
            length, place = _varint(data, place)
            if field is not None and field.message_type in deep:
                if place + length > end:
                    raise IndexError
                _check(field.message_type, data, place, place + length, most, deep)
            place += length
        elif wire == _VARINT:
            _, place = _varint(data, place)
        elif wire in (_FIXED32, _FIXED64):
            place += 4 if wire == _FIXED32 else 8
        elif wire not in (_START_GROUP, _END_GROUP):
            raise IndexError
    if place > end:
        raise IndexError


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = data[place]
    place += 1
    if value < 128:
        return value, place
    value &= 127
    for shift in range(7, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise IndexError
