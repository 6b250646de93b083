"""RankService: Rank, Score, RankStream and ListModels."""

import asyncio
from contextlib import AsyncExitStack

import grpc
from grpc.aio import ServicerContext

from crossrank.errors import CrossrankError, InvalidRequest, Overloaded
from crossrank.serve.access.gate import CALLER
from crossrank.serve.engine.ranking import Ranking
from crossrank.serve.rpc.responses import stream_error
from crossrank.serve.rpc.runner import Handlers, RpcCall, RpcRunner
from crossrank.v1 import ranker_pb2

# Queries of one stream that are answered at once; the next are read when one of these is done.
_STREAM_QUERIES = 64

# Streams that are open at once.
_STREAMS = 100

_StreamContext = ServicerContext[bytes, ranker_pb2.RankStreamResponse]


class RankServicer:
    """Answers Rank, Score, RankStream and ListModels.

    Args:
        ranking: what ranks and scores.
        rpc: runs the handlers.
    """

    def __init__(self, ranking: Ranking, rpc: RpcRunner) -> None:
        self._ranking = ranking
        self._rpc = rpc
        self._draining = asyncio.Event()
        self._streams = 0

    def handlers(self) -> Handlers:
        """The gRPC handlers of the service's methods, by name."""
        return {
            "Rank": self._rpc.unary("Rank", ranker_pb2.RankRequest, self._rank),
            "Score": self._rpc.unary("Score", ranker_pb2.ScoreRequest, self._score),
            "RankStream": self._rpc.stream(
                "RankStream", self._rank_stream, ranker_pb2.RankStreamResponse.SerializeToString
            ),
            "ListModels": self._rpc.unary("ListModels", ranker_pb2.ListModelsRequest, self._list_models),
        }

    def drain(self) -> None:
        """Streams read no further query, and end when what they have read is answered."""
        self._draining.set()

    async def _rank(self, request: ranker_pb2.RankRequest, call: RpcCall) -> ranker_pb2.RankResponse:
        call.identify(request.request_id, len(request.documents))
        return await self._ranking.rank(request, call.identifier, call.time_remaining())

    async def _score(self, request: ranker_pb2.ScoreRequest, call: RpcCall) -> ranker_pb2.ScoreResponse:
        call.identify(request.request_id, len(request.pairs))
        return await self._ranking.score(request, call.identifier, call.time_remaining())

    async def _list_models(self, _: ranker_pb2.ListModelsRequest, call: RpcCall) -> ranker_pb2.ListModelsResponse:
        call.identify("", 0)
        self._ranking.models.require_loaded()
        return ranker_pb2.ListModelsResponse(models=self._ranking.models.describe())

    async def _rank_stream(self, context: _StreamContext) -> None:
        """Answers each query of a stream when it is ready; a fault of one leaves the others."""
        if self._streams >= _STREAMS:
            self._rpc.metrics.refused("budget")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_STREAMS} streams are open; close one first")
        self._streams += 1
        try:
            await self._answer_stream(context)
        finally:
            self._streams -= 1
        if self._draining.is_set():
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the server is draining; send what is unanswered to another"
            )

    async def _answer_stream(self, context: _StreamContext) -> None:
        unanswered: set[str] = set()
        room = asyncio.Semaphore(_STREAM_QUERIES)
        writing = asyncio.Lock()

        async def answer(data: bytes, held: AsyncExitStack) -> None:
            async with held:
                try:
                    reply = await self._stream_reply(data, unanswered, context)
                    async with writing:  # gRPC takes one message of a stream at a time
                        await context.write(reply)
                finally:
                    room.release()

        async with asyncio.TaskGroup() as tasks:
            while await room.acquire() and (data := await self._next(context)) is not None:
                # While there is no room in the budget nothing further is read.
                tasks.create_task(answer(data, await self._rpc.waited(len(data))))

    async def _next(self, context: _StreamContext) -> bytes | None:
        """The next query of a stream; None at its end, or where the server drains."""
        reading = asyncio.ensure_future(context.read())
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({reading, draining}, return_when=asyncio.FIRST_COMPLETED)
            message = reading.result() if reading.done() else None
            return message if isinstance(message, bytes) else None
        finally:
            reading.cancel()
            draining.cancel()

    async def _stream_reply(
        self, data: bytes, unanswered: set[str], context: _StreamContext
    ) -> ranker_pb2.RankStreamResponse:
        """Answers one query, whose id is among the unanswered ones meanwhile."""
        given = ""
        try:
            with self._rpc.observe("RankStream", context.time_remaining, context.invocation_metadata) as call:
                request = self._rpc.parse(ranker_pb2.RankStreamRequest, data).request
                given = request.request_id
                if not given or given in unanswered:
                    what = "must not be that of an unanswered query" if given else "must not be empty"
                    raise InvalidRequest(f"request.request_id: {what}; it tells the answers of a stream apart")
                unanswered.add(given)
                try:
                    return await self._stream_answer(request, call)
                finally:
                    unanswered.discard(given)
        except CrossrankError as error:
            return stream_error(given, error)

    async def _stream_answer(self, request: ranker_pb2.RankRequest, call: RpcCall) -> ranker_pb2.RankStreamResponse:
        call.identify(request.request_id, len(request.documents))
        # A stream may live long; a query of it has no longer than a call.
        longest, left = self._ranking.settings.default_deadline, call.time_remaining()
        with self._rpc.refusals("queue", Overloaded), self._rpc.limits.hold(CALLER.get()):
            response = await self._ranking.rank(
                request, call.identifier, longest if left is None else min(longest, left)
            )
        return ranker_pb2.RankStreamResponse(response=response)
