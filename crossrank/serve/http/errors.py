"""Errors: a status, and one body that holds the sentence under every name that a client reads."""

import math
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse

from crossrank.errors import CrossrankError, Overloaded, Unauthenticated, Unavailable

# Paths whose clients read `error` as a string; elsewhere it is an object.
_PLAIN = ("/rerank", "/reranking", "/info", "/")
# By gRPC status: the HTTP status, and TEI's type.
_STATUSES = {
    "INVALID_ARGUMENT": (400, "Validation"),
    "UNAUTHENTICATED": (401, "Validation"),
    "NOT_FOUND": (404, "Validation"),
    "RESOURCE_EXHAUSTED": (429, "Overloaded"),
    "CANCELLED": (499, "Backend"),
    "DEADLINE_EXCEEDED": (504, "Backend"),
    "FAILED_PRECONDITION": (500, "Backend"),
    "UNAVAILABLE": (503, "Unhealthy"),
    "INTERNAL": (500, "Backend"),
}
# Seconds until a server that starts or drains may be asked again.
_SOON = 1.0


class HttpError(CrossrankError):
    """What only HTTP knows: a size, a method, a path.

    Attributes:
        code: the HTTP status.
        kind: TEI's type.
    """

    status = "INVALID_ARGUMENT"

    def __init__(self, code: int, message: str, kind: str = "Validation") -> None:
        super().__init__(message)
        self.code = code
        self.kind = kind


def error_response(request: Request, error: CrossrankError, *, close: bool = False) -> JSONResponse:
    """Builds the answer to a request that failed.

    Args:
        request: its path decides the form.
        error: a sentence that is safe to send.
        close: whether the connection ends with it.
    """
    code, kind = (error.code, error.kind) if isinstance(error, HttpError) else _STATUSES[error.status]
    text = str(error)
    content: dict[str, Any]
    if request.url.path in _PLAIN:
        content = {"error": text, "error_type": kind, "message": text, "detail": text}
    else:
        content = {
            "id": uuid4().hex,
            "message": text,
            "detail": text,
            # A number as `code` would hide the message from some clients.
            "error": {"message": text, "type": kind, "param": None, "code": None},
        }
    return JSONResponse(content, code, {**_headers(error), **({"Connection": "close"} if close else {})})


def _headers(error: CrossrankError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    wait = error.retry_after if isinstance(error, Overloaded) else _SOON if isinstance(error, Unavailable) else None
    return {} if wait is None else {"Retry-After": str(max(1, math.ceil(wait)))}
