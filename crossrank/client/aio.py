"""The client for asyncio; see `crossrank.client`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from crossrank.client.channel import DEFAULT_TARGET, TIMEOUT, options_of, uri_of
from crossrank.client.messages import (
    RankStream,
    feedback_request,
    rank_request,
    ranking,
    score_requests,
    typed_errors,
)
from crossrank.errors import CrossrankError, FeedbackTargetNotFound
from crossrank.reranker import LongDocumentStrategy, RankOptions, ScoreKind
from crossrank.results import RankedDocument
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc


class AsyncRankClient:
    """As `RankClient`, for asyncio; safe to share between tasks of one event loop."""

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        model: str = "",
        timeout: float = TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._target, self._model, self._timeout = uri_of(target), model, timeout
        self._metadata = tuple((metadata or {}).items())
        # gRPC checks the health without the metadata, and who asks for metadata would refuse that.
        options = options_of(self._target, health_checks=not metadata)
        self._channel = (
            grpc.aio.insecure_channel(self._target, options)
            if credentials is None
            else grpc.aio.secure_channel(self._target, credentials, options)
        )
        self._stub = ranker_pb2_grpc.RankServiceStub(self._channel)
        self._feedback = ranker_pb2_grpc.FeedbackServiceStub(self._channel)

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
        request = rank_request(self._model, query, documents, options, ids, request_id)
        return ranking(await self.call_rank(request), documents, ids, options) if documents else []

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
        replies = self._stub.RankStream(iter(stream.requests), timeout=timeout, metadata=self._metadata)
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
                reply = await self._stub.Score(request, timeout=self._timeout, metadata=self._metadata)
                scores.extend(reply.scores)
        return np.array(scores, dtype=np.float32)

    async def call_rank(self, request: ranker_pb2.RankRequest) -> ranker_pb2.RankResponse:
        """As `RankClient.call_rank`."""
        with typed_errors(self._target):
            return await self._stub.Rank(request, timeout=self._timeout, metadata=self._metadata)

    async def models(self) -> list[ranker_pb2.Model]:
        """As `RankClient.models`."""
        request = ranker_pb2.ListModelsRequest()
        with typed_errors(self._target):
            return list((await self._stub.ListModels(request, timeout=self._timeout, metadata=self._metadata)).models)

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
            reply = await self._feedback.RecordFeedback(request, timeout=self._timeout, metadata=self._metadata)
            return reply.feedback_id

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
