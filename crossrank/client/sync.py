from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Literal, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from crossrank.client.aio import AsyncRankClient
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

__all__ = ["DEFAULT_TARGET", "AsyncRankClient", "RankClient", "RankedDocument"]


class RankClient:
    """Calls a server; safe to share between threads.

    Args:
        target: "host:port".
        model: "name" or "name@version"; the server's default by default.
        timeout: seconds that a request may take, retries included; `predict` sends one for every 500 pairs.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, model: str = "", timeout: float = TIMEOUT) -> None:
        self._target, self._model, self._timeout = target, model, timeout
        self._channel = grpc.insecure_channel(target, options=OPTIONS)
        self._stub = ranker_pb2_grpc.RankServiceStub(self._channel)
        self._feedback = ranker_pb2_grpc.FeedbackServiceStub(self._channel)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
        ids: Sequence[str] | None = None,
        request_id: str = "",
    ) -> list[RankedDocument]:
        """Orders documents by relevance to a query, best first.

        Args:
            query: not empty.
            documents: at least one.
            top_n: how many results; all by default.
            return_documents: whether results hold their text.
            ids: of the documents, by which feedback names them; none by default.
            request_id: by which feedback names this answer; a new one for each.

        Raises:
            CrossrankError: one of `crossrank.errors`; InvalidRequest (a ValueError) for text that is not valid Unicode.
        """
        request = rank_request(self._model, query, documents, top_n, ids, request_id)
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

    def record_feedback(
        self,
        request_id: str,
        document_id: str,
        *,
        thumb: Literal["up", "down"] | None = None,
        stars: int | None = None,
        click: bool = False,
        comment: str = "",
    ) -> str:
        """Says how good a ranked document was: by a thumb, by stars, or by a click.

        Args:
            request_id: of the answer that showed the document.
            document_id: one of its `ids`.
            thumb: whether the document was good.
            stars: 1 to 5.
            click: whether the user opened it.
            comment: the user's own words, at most 10,000 characters.

        Returns:
            The server's name for this feedback, which is on its disk.

        Raises:
            CrossrankError: one of `crossrank.errors`: FeedbackTargetNotFound where the server keeps no such answer, or
                the document was not in it; InvalidRequest where not exactly one of thumb, stars and click is given.
        """
        request = feedback_request(request_id, document_id, thumb, stars, click, comment)
        try:
            return self._feedback.RecordFeedback(request, timeout=self._timeout).feedback_id
        except grpc.RpcError as error:
            raise_typed(error, self._target, not_found=FeedbackTargetNotFound)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
