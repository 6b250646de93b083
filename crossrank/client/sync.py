"""The client with blocking calls; see `crossrank.client`."""

from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

import grpc
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


class RankClient:
    """A `Reranker` on a server, or on several that take turns; safe to share between threads.

    Args:
        target: "host:port", "[ipv6]:port", "unix:path", "dns:///name:port" for all addresses of a name, or a list of
            "ip:port".
        model: "name" or "name@version"; the server's default by default.
        timeout: seconds that a request may take, retries included; `predict` sends one for every 500 pairs.
        credentials: of a TLS channel, as `grpc.ssl_channel_credentials()` makes them; nothing is encrypted by default.
        metadata: sent with every call, such as {"authorization": "Bearer …"}; the keys are in lower case.
        wait_for_ready: whether calls wait within their time for a server that is not there yet, instead of failing.

    Raises:
        UsageError: the target is not an address.
    """

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
        options = options_of(self._target, health_checks=not metadata, wait_for_ready=wait_for_ready)
        self._channel = (
            grpc.insecure_channel(self._target, options)
            if credentials is None
            else grpc.secure_channel(self._target, credentials, options)
        )
        self._stub = ranker_pb2_grpc.RankServiceStub(self._channel)
        self._feedback = ranker_pb2_grpc.FeedbackServiceStub(self._channel)

    def rank(
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
        """As `Reranker.rank`; feedback names the answer by its `request_id` and a document by its id."""
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        texts, names = rank_texts(query, documents, ids)
        request = rank_request(self._model, query, texts, options, names, request_id)
        return ranking(self.call_rank(request), texts, names, options) if texts else []

    def rank_many(
        self,
        queries: Sequence[tuple[str, Sequence[str]]],
        *,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> Generator[tuple[int, list[RankedDocument] | CrossrankError]]:
        """As `Reranker.rank_many`, over one stream.

        Raises:
            CrossrankError: as `rank`, for the stream as a whole; it has `timeout` seconds for each query.
        """
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        stream = RankStream(self._model, queries, options)
        yield from stream.answered
        if not stream.requests:
            return
        timeout = self._timeout * len(stream.requests)
        with typed_errors(self._target):
            # gRPC cancels a stream that nobody holds any more; grpc.aio does not.
            for reply in self._stub.RankStream(
                iter(stream.requests), timeout=timeout, metadata=with_trace(self._metadata)
            ):
                yield stream.outcome(reply)

    def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
    ) -> NDArray[np.float32]:
        """As `Reranker.predict`."""
        options = RankOptions(score_kind=score_kind, max_length=max_length, long_documents=long_documents)
        scores: list[float] = []
        with typed_errors(self._target):
            for request in score_requests(self._model, pairs, options):
                reply = self._stub.Score(request, timeout=self._timeout, metadata=with_trace(self._metadata))
                scores.extend(reply.scores)
        return np.array(scores, dtype=np.float32)

    def call_rank(self, request: ranker_pb2.RankRequest) -> ranker_pb2.RankResponse:
        """The call itself, for replies with model, version, usage and timings.

        Raises:
            CrossrankError: as `rank`.
        """
        with typed_errors(self._target):
            return self._stub.Rank(request, timeout=self._timeout, metadata=with_trace(self._metadata))

    def models(self) -> list[ranker_pb2.Model]:
        """The models of the server, the default one first.

        Raises:
            CrossrankError: as `rank`.
        """
        request = ranker_pb2.ListModelsRequest()
        with typed_errors(self._target):
            return list(
                self._stub.ListModels(request, timeout=self._timeout, metadata=with_trace(self._metadata)).models
            )

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
        with typed_errors(self._target, not_found=FeedbackTargetNotFound):
            reply = self._feedback.RecordFeedback(request, timeout=self._timeout, metadata=with_trace(self._metadata))
            return reply.feedback_id

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
