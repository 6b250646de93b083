"""RankService: Rank, Score, RankStream and ListModels."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from grpc.aio import ServicerContext

from crossrank.errors import CrossrankError, InvalidRequest
from crossrank.feedback.store import FeedbackStore
from crossrank.serve.registry import ModelRegistry
from crossrank.serve.requests import parse_rank, parse_score
from crossrank.serve.responses import rank_response, score_response, stream_error
from crossrank.serve.rpc import RpcRunner
from crossrank.serve.settings import ServerSettings
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

# Queries of one stream that are answered at once; the next are read when one of these is done.
_STREAM_QUERIES = 64

_StreamContext = ServicerContext[ranker_pb2.RankStreamRequest, ranker_pb2.RankStreamResponse]


class RankServicer(ranker_pb2_grpc.RankServiceServicer):
    """Answers Rank, Score, RankStream and ListModels.

    Args:
        models: the rankers; may still be empty.
        settings: limits and the default deadline.
        rpc: runs the handlers.
        feedback: keeps what was shown; None where nothing is kept.
    """

    def __init__(
        self, models: ModelRegistry, settings: ServerSettings, rpc: RpcRunner, feedback: FeedbackStore | None
    ) -> None:
        self._models = models
        self._settings = settings
        self._rpc = rpc
        self._feedback = feedback
        self._draining = asyncio.Event()

    async def Rank(  # noqa: N802
        self,
        request: ranker_pb2.RankRequest,
        context: ServicerContext[ranker_pb2.RankRequest, ranker_pb2.RankResponse],
    ) -> ranker_pb2.RankResponse:
        """Orders documents, best first."""

        async def handle(identifier: str) -> ranker_pb2.RankResponse:
            return await self._rank(request, identifier, context.time_remaining())

        return await self._rpc.run_unary("Rank", request.request_id, len(request.documents), context, handle)

    async def Score(  # noqa: N802
        self,
        request: ranker_pb2.ScoreRequest,
        context: ServicerContext[ranker_pb2.ScoreRequest, ranker_pb2.ScoreResponse],
    ) -> ranker_pb2.ScoreResponse:
        """Scores pairs in their order."""

        async def handle(identifier: str) -> ranker_pb2.ScoreResponse:
            scoring = parse_score(request, self._settings)
            name, engine = self._models.get(scoring.model)
            scores = await engine.score(scoring, self._seconds(context.time_remaining()))
            return score_response(identifier, name, engine.scorer.version, scores)

        return await self._rpc.run_unary("Score", request.request_id, len(request.pairs), context, handle)

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
                what = "must not be that of an unanswered query" if identifier else "must not be empty"
                error = InvalidRequest(f"request.request_id: {what}; it tells the answers of a stream apart")
                await write(stream_error(identifier, error))
                room.release()
        if self._draining.is_set():
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the server is draining; send what is unanswered to another"
            )

    async def ListModels(  # noqa: N802
        self,
        request: ranker_pb2.ListModelsRequest,
        context: ServicerContext[ranker_pb2.ListModelsRequest, ranker_pb2.ListModelsResponse],
    ) -> ranker_pb2.ListModelsResponse:
        """Lists the rankers."""

        async def handle(identifier: str) -> ranker_pb2.ListModelsResponse:
            self._models.require_loaded()
            return ranker_pb2.ListModelsResponse(models=self._models.describe())

        return await self._rpc.run_unary("ListModels", "", 0, context, handle)

    def drain(self) -> None:
        """Streams read no further query, and end when what they have read is answered."""
        self._draining.set()

    async def _rank(
        self, request: ranker_pb2.RankRequest, identifier: str, time_remaining: float | None
    ) -> ranker_pb2.RankResponse:
        scoring = parse_rank(request, self._settings)
        name, engine = self._models.get(scoring.model)
        scores = await engine.score(scoring, self._seconds(time_remaining))
        response = rank_response(request, identifier, name, engine.scorer.version, scores)
        if self._feedback is not None:
            self._feedback.show(request, response)
        return response

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
        async def handle(identifier: str) -> ranker_pb2.RankResponse:
            # A stream may live long; a query of it has no longer than a call.
            longest = self._settings.default_deadline
            return await self._rank(
                request, identifier, longest if time_remaining is None else min(longest, time_remaining)
            )

        try:
            response = await self._rpc.observe("RankStream", request.request_id, len(request.documents), handle)
        except CrossrankError as error:
            return stream_error(request.request_id, error)
        return ranker_pb2.RankStreamResponse(response=response)

    def _seconds(self, time_remaining: float | None) -> float:
        return self._settings.default_deadline if time_remaining is None else time_remaining
