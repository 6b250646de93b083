"""What every method does around its answer: errors become statuses, and each call is counted and logged."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import structlog
from grpc.aio import ServicerContext

from crossrank.errors import Cancelled, CrossrankError, Overloaded
from crossrank.serve.metrics import Metrics
from crossrank.serve.requests import request_id

PUSHBACK = "grpc-retry-pushback-ms"

_log = structlog.get_logger()
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class Answering:
    """Runs answers, for all servicers of a server.

    Args:
        metrics: counts the calls.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def unary(
        self,
        method: str,
        given_id: str,
        pairs: int,
        context: ServicerContext[_Request, _Response],
        answer: Callable[[str], Awaitable[_Response]],
    ) -> _Response:
        """As `recorded`; an error ends the call with its status."""
        try:
            return await self.recorded(method, given_id, pairs, answer)
        except CrossrankError as error:
            if isinstance(error, Overloaded) and error.retry_after is not None:
                context.set_trailing_metadata(((PUSHBACK, str(max(1, round(error.retry_after * 1000)))),))
            await context.abort(grpc.StatusCode[error.status], str(error))

    async def recorded(
        self, method: str, given_id: str, pairs: int, answer: Callable[[str], Awaitable[_Response]]
    ) -> _Response:
        """Runs `answer`, counts it and logs one line without texts.

        Args:
            method: its name.
            given_id: the caller's request id; where empty one is made.
            pairs: of the request.
            answer: gets the request id.

        Raises:
            CrossrankError: may be handed out as it is.
        """
        started = time.monotonic()
        identifier = given_id[:32]
        status = CrossrankError.status
        try:
            identifier = request_id(given_id)
            response = await answer(identifier)
            status = "OK"
            return response
        except asyncio.CancelledError:
            status = Cancelled.status
            raise
        except Exception as error:
            if isinstance(error, CrossrankError) and error.status != status:
                status = error.status
                raise
            _log.error("fault", request_id=identifier, exc_info=error)
            raise CrossrankError(f"internal error; request id {identifier}") from None
        finally:
            seconds = time.monotonic() - started
            self._metrics.count(method, status, seconds)
            _log.info(
                "call",
                method=method,
                request_id=identifier,
                pairs=pairs,
                status=status,
                ms=round(seconds * 1000, 1),
            )
