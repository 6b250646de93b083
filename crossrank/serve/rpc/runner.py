"""RPCs of the server: each is received, counted and logged, and its error becomes a gRPC status."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from traceback import clear_frames
from typing import Any, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from grpc.aio import AbortError, ServicerContext

from crossrank.errors import Cancelled, CrossrankError, DeadlineExceeded, Overloaded
from crossrank.serve.access.gate import CALLER
from crossrank.serve.access.limits import CallerLimits
from crossrank.serve.engine.budget import Budget
from crossrank.serve.engine.memory import MemoryReturn
from crossrank.serve.engine.requests import ensure_request_id
from crossrank.serve.rpc.messages import parse_message
from crossrank.serve.rpc.receiving import Receiver
from crossrank.serve.settings import ServerSettings
from crossrank.serve.telemetry.metrics import Metrics, Refusal
from crossrank.serve.telemetry.tracing import Headers, Traces

PUSHBACK = "grpc-retry-pushback-ms"
# Seconds that a call may travel: by so much is the caller's deadline earlier than the server's.
_TRAVEL = 0.05

_log = structlog.get_logger()
Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


@dataclass(slots=True)
class RpcCall:
    """One call, or one query of a stream.

    Attributes:
        identifier: its request id.
        pairs: number of its pairs, for the log.
        time_remaining: gives the seconds until its deadline; None where it has none.
    """

    time_remaining: Callable[[], float | None]
    identifier: str = ""
    pairs: int = 0

    def identify(self, given: str, pairs: int) -> None:
        """Takes the caller's request id, or a new one where it gave none.

        Raises:
            InvalidRequest: as `ensure_request_id` raises it.
        """
        self.identifier, self.pairs = given[:32], pairs
        self.identifier = ensure_request_id(given)


class RpcRunner:
    """Runs the handlers of all servicers of a server; for one event loop.

    Args:
        settings: limits of messages and of what is in flight.
        metrics: counts the calls.
        limits: of callers.
        traces: of the calls; None where nothing is traced.

    Attributes:
        metrics: the same.
        limits: the same.
        receiver: gives requests their turns to be read.
    """

    def __init__(self, settings: ServerSettings, metrics: Metrics, limits: CallerLimits, traces: Traces | None) -> None:
        self._settings, self._traces = settings, traces
        self.metrics, self.limits = metrics, limits
        self.receiver = Receiver(settings.max_requests_in_flight)
        self._memory = MemoryReturn()
        self._budget = Budget(settings.max_requests_in_flight, settings.max_bytes_in_flight)
        metrics.show_budget(self._budget)

    def unary(
        self,
        method: str,
        kind: type[_Request],
        handler: Callable[[_Request, RpcCall], Awaitable[_Response]],
    ) -> "grpc.RpcMethodHandler[bytes, _Response]":
        """Makes the gRPC handler of a unary method; an error ends the call with its status.

        Args:
            method: name of the RPC.
            kind: class of the request.
            handler: gets the request and the call, which it identifies.
        """

        async def run(_: object, context: ServicerContext[bytes, _Response]) -> _Response:
            try:
                with self.observe(method, context.time_remaining, context.invocation_metadata) as call:
                    return await self._answer(context, kind, handler, call)
            except CrossrankError as error:
                if isinstance(error, Overloaded) and error.retry_after is not None:
                    context.set_trailing_metadata(((PUSHBACK, str(max(1, round(error.retry_after * 1000)))),))
                await context.abort(grpc.StatusCode[error.status], str(error))

        # To gRPC it is a stream of requests: else it would wait for the one of a unary call without any limit.
        made: Any = grpc.stream_unary_rpc_method_handler(run, response_serializer=_serialized)
        return made  # type: ignore[no-any-return]

    def stream(
        self,
        method: str,
        handler: Callable[[ServicerContext[bytes, _Response]], Awaitable[None]],
        serializer: Callable[[_Response], bytes],
    ) -> "grpc.RpcMethodHandler[bytes, _Response]":
        """Makes the gRPC handler of a method of two streams, which reads and writes by its context.

        Args:
            method: name of the RPC.
            handler: what it raises is a fault of the server.
            serializer: of its responses.
        """

        async def run(_: object, context: ServicerContext[bytes, _Response]) -> None:
            try:
                await handler(context)
            except (asyncio.CancelledError, AbortError):
                raise
            except Exception as error:
                # gRPC would send its message to the caller.
                _log.error("fault", method=method, exc_info=error)
                await context.abort(grpc.StatusCode.INTERNAL, "internal error")

        made: Any = grpc.stream_stream_rpc_method_handler(run, response_serializer=serializer)
        return made  # type: ignore[no-any-return]

    async def _answer(
        self,
        context: ServicerContext[bytes, _Response],
        kind: type[_Request],
        handler: Callable[[_Request, RpcCall], Awaitable[_Response]],
        call: RpcCall,
    ) -> _Response:
        with self.refusals("receiving"):
            data = await self.receiver.read(context)
        with self.accepted(len(data)):
            request = self.parse(kind, data)
            del data
            with self.refusals("queue", Overloaded):
                return await handler(request, call)

    def parse(self, kind: type[_Request], data: bytes) -> _Request:
        """Parses a message, as `parse_message` does; what it refuses is counted."""
        with self.refusals("message"):
            return parse_message(kind, data, self._settings.max_documents)

    async def waited(self, size: int) -> AsyncExitStack:
        """Waits for room in the budget for a query of a stream; closing what it returns gives it back."""
        async with AsyncExitStack() as room:
            await room.enter_async_context(self._budget.wait(size))
            room.callback(self._memory.freed, size)
            return room.pop_all()

    @contextmanager
    def accepted(self, size: int) -> Iterator[None]:
        """Holds room in the budget within the block, for a unary request of that many bytes.

        Raises:
            Overloaded: there is none.
        """
        with ExitStack() as room:
            with self.refusals("budget"):
                room.enter_context(self.limits.hold(CALLER.get()))
                room.enter_context(self._budget.take(size))
            room.callback(self._memory.freed, size)
            yield

    @contextmanager
    def observe(
        self,
        method: str,
        time_remaining: Callable[[], float | None],
        headers: Callable[[], Headers | None],
        route: str = "",
    ) -> Iterator[RpcCall]:
        """Counts and traces what runs within the block as a call, and logs one line without texts.

        Args:
            method: name of the RPC.
            time_remaining: gives the seconds until the deadline; None where there is none.
            headers: gives the headers or the metadata of the call.
            route: path of the HTTP route; empty for gRPC.

        Raises:
            CrossrankError: safe to send to the caller; a fault of the server gets a message without details.
        """
        started = time.monotonic()
        call = RpcCall(time_remaining)
        trace = None if self._traces is None else self._traces.begin(method, headers() or (), route)
        status = CrossrankError.status
        try:
            yield call
            status = "OK"
        except asyncio.CancelledError as error:
            clear_frames(error.__traceback__)
            # gRPC cancels at the deadline as well.
            left = time_remaining()
            status = Cancelled.status if left is None or left > _TRAVEL else DeadlineExceeded.status
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
                raise
            # Its frames hold the request, until the garbage collector comes by.
            clear_frames(error.__traceback__)
            # INTERNAL is a fault of the server: its message may hold paths.
            if isinstance(error, CrossrankError) and error.status != CrossrankError.status:
                status = error.status
                raise
            _log.error("fault", request_id=call.identifier, exc_info=error)
            raise CrossrankError(f"internal error; request id {call.identifier}") from None
        finally:
            seconds = time.monotonic() - started
            self.metrics.count(method, status, seconds)
            traced = {} if trace is None else {"trace_id": trace.end(status, call.identifier, call.pairs)}
            _log.info(
                "call",
                method=method,
                request_id=call.identifier,
                pairs=call.pairs,
                caller=CALLER.get(),
                status=status,
                ms=round(seconds * 1000, 1),
                **traced,
            )

    @contextmanager
    def refusals(self, reason: Refusal, kind: type[CrossrankError] = CrossrankError) -> Iterator[None]:
        """Counts what fails within the block with an error of that kind as refused for that reason."""
        try:
            yield
        except kind:
            self.metrics.refused(reason)
            raise


def _serialized(response: Message) -> bytes:
    return response.SerializeToString()
