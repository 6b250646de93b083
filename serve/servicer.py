"""RankService: a request in, at most six hops, a reply out."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc
import structlog
from grpc.aio import ServicerContext

from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from serve.errors import CallCancelled, CrossrankError, InvalidRequest, NotServing, Overloaded
from serve.metrics import Metrics
from serve.models import Models
from serve.replies import rank_response, score_response, stream_error
from serve.settings import ServerSettings
from serve.validation import rank_work, request_id, score_work

PUSHBACK = "grpc-retry-pushback-ms"

# Queries of one stream that are answered at once; the next are read when one of these is done.
_STREAM_QUERIES = 64

_log = structlog.get_logger()
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_StreamContext = ServicerContext[ranker_pb2.RankStreamRequest, ranker_pb2.RankStreamResponse]


class RankServicer(ranker_pb2_grpc.RankServiceServicer):
    """Answers Rank, Score, RankStream and ListModels.

    Args:
        models: the rankers; may still be empty.
        settings: limits and the default deadline.
        metrics: counts the calls.
    """

    def __init__(self, models: Models, settings: ServerSettings, metrics: Metrics) -> None:
        self._models = models
        self._settings = settings
        self._metrics = metrics
        self._draining = asyncio.Event()

    async def Rank(  # noqa: N802
        self,
        request: ranker_pb2.RankRequest,
        context: ServicerContext[ranker_pb2.RankRequest, ranker_pb2.RankResponse],
    ) -> ranker_pb2.RankResponse:
        """Orders documents, best first."""

        async def answer(identifier: str) -> ranker_pb2.RankResponse:
            return await self._rank(request, identifier, context.time_remaining())

        return await self._unary("Rank", request.request_id, len(request.documents), context, answer)

    async def Score(  # noqa: N802
        self,
        request: ranker_pb2.ScoreRequest,
        context: ServicerContext[ranker_pb2.ScoreRequest, ranker_pb2.ScoreResponse],
    ) -> ranker_pb2.ScoreResponse:
        """Scores pairs in their order."""

        async def answer(identifier: str) -> ranker_pb2.ScoreResponse:
            work = score_work(request, self._settings)
            name, engine = self._models.get(work.model)
            scores = await engine.score(work, self._seconds(context.time_remaining()))
            return score_response(identifier, name, engine.scorer.ranker.manifest.version, scores)

        return await self._unary("Score", request.request_id, len(request.pairs), context, answer)

    # grpc.aio takes a coroutine that writes as well as the generator that its stubs know.
    async def RankStream(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[ranker_pb2.RankStreamRequest], context: _StreamContext
    ) -> None:
        """Answers each query of a stream when it is ready; a fault of one leaves the others."""
        unanswered: set[str] = set()
        room = asyncio.Semaphore(_STREAM_QUERIES)
        writing = asyncio.Lock()

        async def write(reply: ranker_pb2.RankStreamResponse) -> None:
            async with writing:  # gRPC takes one message of a stream at a time
                await context.write(reply)

        async def answer(request: ranker_pb2.RankRequest) -> None:
            try:
                await write(await self._stream_reply(request, context.time_remaining()))
            finally:
                unanswered.discard(request.request_id)
                room.release()

        async with asyncio.TaskGroup() as tasks:
            while await room.acquire() and (message := await self._next(request_iterator)) is not None:
                identifier = message.request.request_id
                if identifier and identifier not in unanswered:
                    unanswered.add(identifier)
                    tasks.create_task(answer(message.request))
                    continue
                what = "is that of an unanswered query" if identifier else "is empty"
                error = InvalidRequest(f"request.request_id: {what}; it tells the answers of a stream apart")
                await write(stream_error(identifier, error))
                room.release()
        if self._draining.is_set():
            await context.abort(NotServing.status, "the server is draining; send what is unanswered to another")

    async def ListModels(  # noqa: N802
        self,
        request: ranker_pb2.ListModelsRequest,
        context: ServicerContext[ranker_pb2.ListModelsRequest, ranker_pb2.ListModelsResponse],
    ) -> ranker_pb2.ListModelsResponse:
        """Lists the rankers."""

        async def answer(identifier: str) -> ranker_pb2.ListModelsResponse:
            self._models.get("")
            return ranker_pb2.ListModelsResponse(models=self._models.describe())

        return await self._unary("ListModels", "", 0, context, answer)

    def drain(self) -> None:
        """Streams read no further query, and end when what they have read is answered."""
        self._draining.set()

    async def _rank(
        self, request: ranker_pb2.RankRequest, identifier: str, time_remaining: float | None
    ) -> ranker_pb2.RankResponse:
        work = rank_work(request, self._settings)
        name, engine = self._models.get(work.model)
        scores = await engine.score(work, self._seconds(time_remaining))
        return rank_response(request, identifier, name, engine.scorer.ranker.manifest.version, scores)

    async def _next(self, requests: AsyncIterator[ranker_pb2.RankStreamRequest]) -> ranker_pb2.RankStreamRequest | None:
        """The next query of a stream; None at its end, or where the server drains."""
        reading = asyncio.ensure_future(anext(requests, None))
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({reading, draining}, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else None
        finally:
            reading.cancel()
            draining.cancel()

    async def _stream_reply(
        self, request: ranker_pb2.RankRequest, time_remaining: float | None
    ) -> ranker_pb2.RankStreamResponse:
        async def answer(identifier: str) -> ranker_pb2.RankResponse:
            # A stream may live long; a query of it has no longer than a call.
            longest = self._settings.default_deadline
            return await self._rank(
                request, identifier, longest if time_remaining is None else min(longest, time_remaining)
            )

        try:
            response = await self._recorded("RankStream", request.request_id, len(request.documents), answer)
        except CrossrankError as error:
            return stream_error(request.request_id, error)
        return ranker_pb2.RankStreamResponse(response=response)

    async def _unary(
        self,
        method: str,
        given_id: str,
        pairs: int,
        context: ServicerContext[_Request, _Response],
        answer: Callable[[str], Awaitable[_Response]],
    ) -> _Response:
        """Turns errors into statuses."""
        try:
            return await self._recorded(method, given_id, pairs, answer)
        except CrossrankError as error:
            if isinstance(error, Overloaded) and error.retry_after is not None:
                context.set_trailing_metadata(((PUSHBACK, str(max(1, round(error.retry_after * 1000)))),))
            await context.abort(error.status, str(error))

    async def _recorded(
        self, method: str, given_id: str, pairs: int, answer: Callable[[str], Awaitable[_Response]]
    ) -> _Response:
        """Runs `answer`, counts it and logs one line without texts; what it raises may be handed out."""
        started = time.monotonic()
        identifier = given_id[:32]
        status = grpc.StatusCode.INTERNAL
        try:
            identifier = request_id(given_id)
            response = await answer(identifier)
            status = grpc.StatusCode.OK
            return response
        except asyncio.CancelledError:
            status = CallCancelled.status
            raise
        except Exception as error:
            if isinstance(error, CrossrankError) and error.status is not status:
                status = error.status
                raise
            _log.error("fault", request_id=identifier, exc_info=error)
            raise CrossrankError(f"internal error; request id {identifier}") from None
        finally:
            seconds = time.monotonic() - started
            self._metrics.count(method, status.name, seconds)
            _log.info(
                "call",
                method=method,
                request_id=identifier,
                pairs=pairs,
                status=status.name,
                ms=round(seconds * 1000, 1),
            )

    def _seconds(self, time_remaining: float | None) -> float:
        return self._settings.default_deadline if time_remaining is None else time_remaining
