"""The client for asyncio; see `crossrank.client`."""

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Literal, Self

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from crossrank.client.channel import DEFAULT_TARGET, OPTIONS, TIMEOUT
from crossrank.client.messages import (
    feedback_request,
    raise_typed,
    rank_request,
    ranking,
    score_requests,
    stream_outcome,
    stream_requests,
)
from crossrank.errors import CrossrankError, FeedbackTargetNotFound
from crossrank.results import RankedDocument
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc


class AsyncRankClient:
    """As `RankClient`, for asyncio."""

    def __init__(self, target: str = DEFAULT_TARGET, *, model: str = "", timeout: float = TIMEOUT) -> None:
        self._target, self._model, self._timeout = target, model, timeout
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self._stub = ranker_pb2_grpc.RankServiceStub(self._channel)
        self._feedback = ranker_pb2_grpc.FeedbackServiceStub(self._channel)

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
        ids: Sequence[str] | None = None,
        request_id: str = "",
    ) -> list[RankedDocument]:
        """As `RankClient.rank`."""
        request = rank_request(self._model, query, documents, top_n, ids, request_id)
        response = await self.call_rank(request)
        return ranking(response, documents, return_documents)

    async def rank_many(
        self,
        queries: Sequence[tuple[str, Sequence[str]]],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
    ) -> AsyncGenerator[tuple[int, list[RankedDocument] | CrossrankError]]:
        """As `RankClient.rank_many`."""
        requests = stream_requests(self._model, queries, top_n)
        replies = self._stub.RankStream(iter(requests), timeout=self._timeout * max(1, len(requests)))
        try:
            async for reply in replies:
                yield stream_outcome(reply, queries, return_documents)
        except grpc.RpcError as error:
            raise_typed(error, self._target)
        finally:
            replies.cancel()

    async def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """As `RankClient.predict`."""
        scores: list[float] = []
        for request in score_requests(self._model, pairs):
            try:
                scores.extend((await self._stub.Score(request, timeout=self._timeout)).scores)
            except grpc.RpcError as error:
                raise_typed(error, self._target)
        return np.array(scores, dtype=np.float32)

    async def call_rank(self, request: ranker_pb2.RankRequest) -> ranker_pb2.RankResponse:
        """As `RankClient.call_rank`."""
        try:
            return await self._stub.Rank(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise_typed(error, self._target)

    async def models(self) -> list[ranker_pb2.Model]:
        """As `RankClient.models`."""
        try:
            response = await self._stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=self._timeout)
        except grpc.RpcError as error:
            raise_typed(error, self._target)
        return list(response.models)

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
        try:
            return (await self._feedback.RecordFeedback(request, timeout=self._timeout)).feedback_id
        except grpc.RpcError as error:
            raise_typed(error, self._target, not_found=FeedbackTargetNotFound)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
