"""Clients of a crossrank server, with the calls of sentence-transformers' CrossEncoder.

    with RankClient("127.0.0.1:50051") as client:
        client.rank("how do knots hold", ["Friction ...", "The cherry ..."], top_n=1)
        client.predict([("how do knots hold", "Friction ...")])

`AsyncRankClient` is the same with `await` and `async with`. Both may be shared: the first between threads, the second
between tasks. Errors are those of `serve.errors`; every call has a deadline; UNAVAILABLE and overload are tried again
by gRPC, which waits as long as the server asks.
"""

import json
from collections.abc import AsyncGenerator, Generator, Sequence
from types import TracebackType
from typing import Self

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from crossrank.messages import raise_typed, rank_request, ranking, score_requests, stream_outcome, stream_requests
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from serve.errors import CrossrankError
from serve.ranking import RankedDocument

__all__ = ["AsyncRankClient", "RankClient", "RankedDocument"]

DEFAULT_TARGET = "127.0.0.1:50051"

_TIMEOUT = 30.0
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": ranker_pb2.DESCRIPTOR.services_by_name["RankService"].full_name}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
_OPTIONS = (
    # A request that does not fit into this buffer, 256 KiB by default, is never tried again.
    ("grpc.per_rpc_retry_buffer_size", 64 * 1024 * 1024),
    ("grpc.service_config", json.dumps(_RETRIES)),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


class RankClient:
    """Calls a server; safe to share between threads.

    Args:
        target: "host:port".
        model: "name" or "name@version"; the server's default by default.
        timeout: seconds that a request may take, retries included; `predict` sends one for every 500 pairs.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, model: str = "", timeout: float = _TIMEOUT) -> None:
        self._target, self._model, self._timeout = target, model, timeout
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._stub = ranker_pb2_grpc.RankServiceStub(self._channel)

    def rank(
        self, query: str, documents: Sequence[str], *, top_n: int | None = None, return_documents: bool = False
    ) -> list[RankedDocument]:
        """Orders documents by relevance to a query, best first.

        Args:
            query: not empty.
            documents: at least one.
            top_n: how many results; all by default.
            return_documents: whether results hold their text.

        Raises:
            CrossrankError: one of `serve.errors`, InvalidRequest (a ValueError) for texts that are no valid Unicode.
        """
        request = rank_request(self._model, query, documents, top_n)
        response = self.call_rank(request)
        return ranking(response, documents, return_documents)

    def rank_many(
        self,
        queries: Sequence[tuple[str, Sequence[str]]],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
    ) -> Generator[tuple[int, list[RankedDocument] | CrossrankError]]:
        """Ranks many queries on one stream, each answered when it is ready.

        Args:
            queries: (query, documents) of each.
            top_n: how many results of each; all by default.
            return_documents: whether results hold their text.

        Yields:
            The place of a query in `queries`, and what `rank` returns for it or the error that it would raise: a
            fault of one leaves the others.

        Raises:
            CrossrankError: as `rank`, for the stream as a whole; it has `timeout` seconds for each query.
        """
        requests = stream_requests(self._model, queries, top_n)
        try:
            # gRPC cancels a stream that nobody holds any more; grpc.aio does not.
            for reply in self._stub.RankStream(iter(requests), timeout=self._timeout * max(1, len(requests))):
                yield stream_outcome(reply, queries, return_documents)
        except grpc.RpcError as error:
            raise_typed(error, self._target)

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Scores (query, document) pairs.

        Returns:
            float32, shape [len(pairs)]: the ranker's own kind of score.

        Raises:
            CrossrankError: as `rank`.
        """
        scores: list[float] = []
        for request in score_requests(self._model, pairs):
            try:
                scores.extend(self._stub.Score(request, timeout=self._timeout).scores)
            except grpc.RpcError as error:
                raise_typed(error, self._target)
        return np.array(scores, dtype=np.float32)

    def call_rank(self, request: ranker_pb2.RankRequest) -> ranker_pb2.RankResponse:
        """The call itself, for requests with more than `rank` offers and replies with usage and timings.

        Raises:
            CrossrankError: as `rank`.
        """
        try:
            return self._stub.Rank(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise_typed(error, self._target)

    def models(self) -> list[ranker_pb2.Model]:
        """The models of the server, the default one first.

        Raises:
            CrossrankError: as `rank`.
        """
        try:
            return list(self._stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=self._timeout).models)
        except grpc.RpcError as error:
            raise_typed(error, self._target)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRankClient:
    """As `RankClient`, for asyncio."""

    def __init__(self, target: str = DEFAULT_TARGET, *, model: str = "", timeout: float = _TIMEOUT) -> None:
        self._target, self._model, self._timeout = target, model, timeout
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._stub = ranker_pb2_grpc.RankServiceStub(self._channel)

    async def rank(
        self, query: str, documents: Sequence[str], *, top_n: int | None = None, return_documents: bool = False
    ) -> list[RankedDocument]:
        """As `RankClient.rank`."""
        request = rank_request(self._model, query, documents, top_n)
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

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
