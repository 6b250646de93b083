"""Clients of a crossrank server, with the calls of sentence-transformers' CrossEncoder.

    with RankClient("127.0.0.1:50051") as client:
        client.rank("how do knots hold", ["Friction ...", "The cherry ..."], top_n=1)
        client.predict([("how do knots hold", "Friction ...")])

`AsyncRankClient` is the same with `await` and `async with`. Both may be shared: the first between threads, the second
between tasks. Errors are those of `serve.errors`; every call has a deadline; UNAVAILABLE and overload are tried again
by gRPC, which waits as long as the server asks.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import NoReturn, Self, cast

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from serve.errors import BY_STATUS, CrossrankError, InvalidRequest, NotServing, Overloaded
from serve.ranking import RankedDocument, ranked

__all__ = ["AsyncRankClient", "RankClient", "RankedDocument"]

DEFAULT_TARGET = "127.0.0.1:50051"

_TIMEOUT = 30.0
# `predict` takes any number of pairs; a server takes a limited number in one call.
_PAIRS_PER_CALL = 500
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
        request = _rank_request(self._model, query, documents, top_n)
        response = self.call_rank(request)
        return _ranked(response, documents, return_documents)

    def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Scores (query, document) pairs.

        Returns:
            float32, shape [len(pairs)]: the ranker's own kind of score.

        Raises:
            CrossrankError: as `rank`.
        """
        scores: list[float] = []
        for request in _score_requests(self._model, pairs):
            try:
                scores.extend(self._stub.Score(request, timeout=self._timeout).scores)
            except grpc.RpcError as error:
                _raise(error, self._target)
        return np.array(scores, dtype=np.float32)

    def call_rank(self, request: ranker_pb2.RankRequest) -> ranker_pb2.RankResponse:
        """The call itself, for requests with more than `rank` offers and replies with usage and timings.

        Raises:
            CrossrankError: as `rank`.
        """
        try:
            return self._stub.Rank(request, timeout=self._timeout)
        except grpc.RpcError as error:
            _raise(error, self._target)

    def models(self) -> list[ranker_pb2.Model]:
        """The models of the server, the default one first.

        Raises:
            CrossrankError: as `rank`.
        """
        try:
            return list(self._stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=self._timeout).models)
        except grpc.RpcError as error:
            _raise(error, self._target)

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
        request = _rank_request(self._model, query, documents, top_n)
        response = await self.call_rank(request)
        return _ranked(response, documents, return_documents)

    async def predict(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """As `RankClient.predict`."""
        scores: list[float] = []
        for request in _score_requests(self._model, pairs):
            try:
                scores.extend((await self._stub.Score(request, timeout=self._timeout)).scores)
            except grpc.RpcError as error:
                _raise(error, self._target)
        return np.array(scores, dtype=np.float32)

    async def call_rank(self, request: ranker_pb2.RankRequest) -> ranker_pb2.RankResponse:
        """As `RankClient.call_rank`."""
        try:
            return await self._stub.Rank(request, timeout=self._timeout)
        except grpc.RpcError as error:
            _raise(error, self._target)

    async def models(self) -> list[ranker_pb2.Model]:
        """As `RankClient.models`."""
        try:
            response = await self._stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=self._timeout)
        except grpc.RpcError as error:
            _raise(error, self._target)
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


def _rank_request(model: str, query: str, documents: Sequence[str], top_n: int | None) -> ranker_pb2.RankRequest:
    if top_n is not None and top_n < 1:
        raise InvalidRequest(f"top_n: {top_n} is below 1")
    return ranker_pb2.RankRequest(
        model=model,
        query=_checked("query", query),
        documents=[
            ranker_pb2.Document(text=_checked(f"documents[{index}]", text)) for index, text in enumerate(documents)
        ],
        top_n=top_n or 0,
    )


def _score_requests(model: str, pairs: Sequence[tuple[str, str]]) -> Iterator[ranker_pb2.ScoreRequest]:
    for start in range(0, len(pairs), _PAIRS_PER_CALL):
        yield ranker_pb2.ScoreRequest(
            model=model,
            pairs=[
                ranker_pb2.Pair(
                    query=_checked(f"pairs[{start + offset}].query", query),
                    document=_checked(f"pairs[{start + offset}].document", document),
                )
                for offset, (query, document) in enumerate(pairs[start : start + _PAIRS_PER_CALL])
            ],
        )


def _checked(field: str, text: str) -> str:
    """The text, which must be encodable: protobuf carries UTF-8 and nothing else."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{field}: holds a lone surrogate, which UTF-8 cannot carry") from None
    return text


def _ranked(
    response: ranker_pb2.RankResponse, documents: Sequence[str], return_documents: bool
) -> list[RankedDocument]:
    return [
        ranked(result.index, result.score, documents, return_documents=return_documents) for result in response.results
    ]


def _raise(error: grpc.RpcError, target: str) -> NoReturn:
    """Raises the error of `serve.errors` that stands for a gRPC status."""
    status, message = error.code(), error.details() or ""
    kind = BY_STATUS.get(status, CrossrankError)
    if kind is NotServing:
        message = f"{target} does not answer: {message}"
    if kind is Overloaded:
        trailing = cast("Iterable[tuple[str, str]]", error.trailing_metadata() or ())
        pushback = [int(value) for key, value in trailing if key == "grpc-retry-pushback-ms"]
        raise Overloaded(message, pushback[0] / 1000 if pushback else None) from error
    raise kind(message) from error
