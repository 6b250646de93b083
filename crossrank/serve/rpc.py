"""RPCs of the server: each is counted and logged, and its error becomes a gRPC status."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import structlog
from grpc.aio import ServicerContext

from crossrank.errors import Cancelled, CrossrankError, Overloaded
from crossrank.serve.metrics import Metrics
from crossrank.serve.requests import ensure_request_id

PUSHBACK = "grpc-retry-pushback-ms"

_log = structlog.get_logger()
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class RpcRunner:
    """Runs the handlers of all servicers of a server.

    Args:
        metrics: counts the calls.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def run_unary(
        self,
        method: str,
        given_id: str,
        pairs: int,
        context: ServicerContext[_Request, _Response],
        handler: Callable[[str], Awaitable[_Response]],
    ) -> _Response:
        """Runs the handler of a unary call as `observe` does; an error ends the call with its status."""
        try:
            return await self.observe(method, given_id, pairs, handler)
        except CrossrankError as error:
            if isinstance(error, Overloaded) and error.retry_after is not None:
                context.set_trailing_metadata(((PUSHBACK, str(max(1, round(error.retry_after * 1000)))),))
            await context.abort(grpc.StatusCode[error.status], str(error))

    async def observe(
        self, method: str, given_id: str, pairs: int, handler: Callable[[str], Awaitable[_Response]]
    ) -> _Response:
        """Runs `handler`, counts the call and logs one line without texts.

        Args:
            method: name of the RPC.
            given_id: the caller's request id; an empty one is replaced by a new one.
            pairs: number of the request's pairs, for the log.
            handler: gets the request id.

        Raises:
            CrossrankError: safe to send to the caller; a fault of the server gets a message without details.
        """
        started = time.monotonic()
        identifier = given_id[:32]
        status = CrossrankError.status
        try:
            identifier = ensure_request_id(given_id)
            response = await handler(identifier)
            status = "OK"
            return response
        except asyncio.CancelledError:
            status = Cancelled.status
            raise
        except Exception as error:
            # INTERNAL is a fault of the server: its message may hold paths.
            if isinstance(error, CrossrankError) and error.status != CrossrankError.status:
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
