"""Body: read within a time and a size, its structure counted as it arrives, so that parsing it costs what it may."""

import re
from typing import Any

import pydantic_core
from starlette.requests import ClientDisconnect, Request

from crossrank.errors import Cancelled, DeadlineExceeded, InvalidRequest
from crossrank.serve.http.errors import HttpError
from crossrank.serve.rpc.receiving import Receiver

# Marks for each document: an object with about twenty fields, or as many as its text has not.
_MARKS_A_DOCUMENT = 20
_MARKS = 1000

# A whole string, which counts for nothing; or one that the piece ends in, which leaves its quote.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(")[^"\\]*+(?:\\.[^"\\]*+)*+\\?\Z', re.DOTALL)


class Marks:
    """Counts the commas and opening brackets of JSON that stand outside of its strings, piece by piece.

    A short body can stand for much: 2 MB of `[],` are as many lists. What is no JSON may be counted wrongly.

    Attributes:
        count: so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._open = b""

    def feed(self, piece: bytes) -> None:
        """Counts the next piece."""
        outside = _STRING.sub(rb"\1", self._open + piece)
        self.count += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if outside.endswith(b'"'):
            escaped = (len(piece) - len(piece.rstrip(b"\\"))) % 2
            self._open = b'"\\' if escaped else b'"'
        else:
            self._open = b""


async def read_body(request: Request, receiver: Receiver, *, max_bytes: int, max_documents: int) -> bytes:
    """Reads a body as it came.

    Args:
        request: not read yet.
        receiver: gives it its turn.
        max_bytes: its largest size.
        max_documents: of a call; the structure is bounded by it.

    Raises:
        HttpError: it is too large, compressed, or too slow.
        InvalidRequest: it has more structure than a request can have.
        Cancelled: the caller hung up.
        Overloaded: as `Receiver.turn` raises it.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpError(415, "body: is compressed; send it as it is")
    too_large = HttpError(413, f"body: is larger than the {max_bytes} bytes of one request")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_large
    marks, most = Marks(), _MARKS + _MARKS_A_DOCUMENT * max_documents
    pieces, size = [], 0
    try:
        async with receiver.turn():
            async for piece in request.stream():
                size += len(piece)
                if size > max_bytes:
                    raise too_large
                marks.feed(piece)
                if marks.count > most:
                    raise InvalidRequest(f"body: has more than {most} commas and brackets; send fewer documents")
                pieces.append(piece)
    except DeadlineExceeded:
        raise HttpError(408, "body: did not arrive in time; send it faster, or less") from None
    except ClientDisconnect:
        raise Cancelled("the caller hung up before the body had arrived") from None
    return b"".join(pieces)


def parse_json(body: bytes) -> dict[str, Any]:
    """Parses a JSON object, whatever its Content-Type.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        parsed = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise InvalidRequest(f"body: is not valid JSON: {_position(error)}") from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("body: is not a JSON object")
    return parsed


def _position(error: ValueError) -> str:
    return str(error).splitlines()[0][:200]
