"""The client for asyncio; see `crossrank.client`."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from crossrank.client.channel import DEFAULT_TARGET, TIMEOUT, options_of, uri_of, with_trace
from crossrank.client.messages import (
    RankStream,
    feedback_request,
    rank_request,
    ranking,
    score_requests,
    typed_errors,
)
from crossrank.errors import CrossrankError, FeedbackTargetNotFound
from crossrank.reranker import LongDocumentStrategy, RankOptions, ScoreKind, rank_texts
from crossrank.results import RankedDocument
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc


class _Connection:
    """A channel and the stubs of its services."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.rank = ranker_pb2_grpc.RankServiceStub(channel)
        self.feedback = ranker_pb2_grpc.FeedbackServiceStub(channel)


class AsyncRankClient:
    """As `RankClient`, for asyncio; safe to share between tasks, and connects anew in another event loop."""

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        model: str = "",
        timeout: float = TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Mapping[str, str] | None = None,
        wait_for_ready: bool = False,
    ) -> None:
        self._target, self._model, self._timeout = uri_of(target), model, timeout
        self._metadata = tuple((metadata or {}).items())
        # gRPC checks the health without the metadata, and who asks for metadata would refuse that.
        self._options = options_of(self._target, health_checks=not metadata, wait_for_ready=wait_for_ready)
        self._credentials = credentials
        self._connections: dict[asyncio.AbstractEventLoop, _Connection] = {}

    @property
    def _connection(self) -> "_Connection":
        """The channel of this event loop: grpc.aio binds each to the loop that it is made in."""
        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            for ended in [known for known in self._connections if known.is_closed()]:
                del self._connections[ended]
            self._connections[loop] = _Connection(
                grpc.aio.insecure_channel(self._target, self._options)
                if self._credentials is None
                else grpc.aio.secure_channel(self._target, self._credentials, self._options)
            )
        return self._connections[loop]

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
        request_id: str = "",
    ) -> list[RankedDocument]:
        """As `RankClient.rank`."""
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        texts, names = rank_texts(query, documents, ids)
        request = rank_request(self._model, query, texts, options, names, request_id)
        return ranking(await self.call_rank(request), texts, names, options) if texts else []

    async def rank_many(
        self,
        queries: Sequence[tuple[str, Sequence[str]]],
        *,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> AsyncGenerator[tuple[int, list[RankedDocument] | CrossrankError]]:
        """As `RankClient.rank_many`."""
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        stream = RankStream(self._model, queries, options)
        for outcome in stream.answered:
            yield outcome
        if not stream.requests:
            return
        timeout = self._timeout * len(stream.requests)
        replies = self._connection.rank.RankStream(
            iter(stream.requests), timeout=timeout, metadata=with_trace(self._metadata)
        )
        try:
            with typed_errors(self._target):
                async for reply in replies:
                    yield stream.outcome(reply)
        finally:
            replies.cancel()

    async def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
    ) -> NDArray[np.float32]:
        """As `RankClient.predict`."""
        options = RankOptions(score_kind=score_kind, max_length=max_length, long_documents=long_documents)
        scores: list[float] = []
        with typed_errors(self._target):
            for request in score_requests(self._model, pairs, options):
                reply = await self._connection.rank.Score(
                    request, timeout=self._timeout, metadata=with_trace(self._metadata)
                )
                scores.extend(reply.scores)
        return np.array(scores, dtype=np.float32)

    async def call_rank(self, request: ranker_pb2.RankRequest) -> ranker_pb2.RankResponse:
        """As `RankClient.call_rank`."""
        with typed_errors(self._target):
            return await self._connection.rank.Rank(request, timeout=self._timeout, metadata=with_trace(self._metadata))

    async def models(self) -> list[ranker_pb2.Model]:
        """As `RankClient.models`."""
        request = ranker_pb2.ListModelsRequest()
        with typed_errors(self._target):
            return list(
                (
                    await self._connection.rank.ListModels(
                        request, timeout=self._timeout, metadata=with_trace(self._metadata)
                    )
                ).models
            )

    async def record_feedback(
        self,
        request_id: str,
        document_id: str,
        *,
        thumb: Literal["up", "down"] | None = None,
        stars: int | None = None,
        click: bool = False,
        comment: str = "",
    ) -> str:
        """As `RankClient.record_feedback`."""
        request = feedback_request(request_id, document_id, thumb, stars, click, comment)
        with typed_errors(self._target, not_found=FeedbackTargetNotFound):
            reply = await self._connection.feedback.RecordFeedback(
                request, timeout=self._timeout, metadata=with_trace(self._metadata)
            )
            return reply.feedback_id

    async def close(self) -> None:
        """Closes the channel of this event loop."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
