"""Health (`grpc.health.v1`) and reflection: streams that end when the server drains."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

import grpc
from grpc.aio import ServicerContext
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

_Message = TypeVar("_Message")
_Queries = AsyncIterator[reflection_pb2.ServerReflectionRequest]
_Answers = AsyncIterator[reflection_pb2.ServerReflectionResponse]
_Context = ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


class Health(health_pb2_grpc.HealthServicer):
    """Answers Check and Watch: one status for all services.

    grpc's own servicer holds a lock while it writes to a watcher, and forgets the other watchers of a service when one
    of them goes.

    Args:
        services: full names.

    Attributes:
        serving: whether calls are answered.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self.serving = False
        self._ended = False
        # Set, and replaced, at every change.
        self._changed = asyncio.Event()

    def set(self, serving: bool) -> None:
        """Tells every watcher whether calls are answered."""
        self.serving = serving
        self._tell()

    def end(self) -> None:
        """Ends all watches, which would else keep a server that drains."""
        self._ended = True
        self._tell()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> health_pb2.HealthCheckResponse:  # noqa: N802
        """Answers with the status of a service."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:  # noqa: N802
        """Answers with the status of a service, and again whenever it changes."""
        last = None
        while not self._ended:
            changed = self._changed
            if (status := self._status(request.service)) != last:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                last = status
            await changed.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")

    def _status(self, service: str) -> int:
        if service not in self._services:
            return _UNKNOWN
        return _SERVING if self.serving else _NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Reflection(reflection.aio.ReflectionServicer):
    """Answers reflection until the server drains.

    Args:
        services: full names.
    """

    def __init__(self, services: Iterable[str]) -> None:
        super().__init__(services)
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Ends all streams, which would else keep a server that drains."""
        self._ended.set()

    # The stubs take its generator for a coroutine.
    async def ServerReflectionInfo(self, requests: _Queries, context: Any) -> _Answers:  # type: ignore[override]  # noqa: N802
        """Describes the services."""
        answers: Any = super().ServerReflectionInfo(until(self._ended, requests), context)
        async for answer in answers:
            yield answer


async def until(ended: asyncio.Event, messages: AsyncIterator[_Message]) -> AsyncIterator[_Message]:
    """The messages of a stream; it ends where `ended` is set first."""
    while (message := await next_unless(ended, messages)) is not None:
        yield message


async def next_unless(ended: asyncio.Event, messages: AsyncIterator[_Message]) -> _Message | None:
    """The next message of a stream; None at its end, or where `ended` is set first."""
    reading, ending = asyncio.ensure_future(anext(messages, None)), asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else None
    finally:
        reading.cancel()
        ending.cancel()
