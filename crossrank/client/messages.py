"""Messages from the clients' arguments, and results or typed errors from what comes back."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias, cast

import grpc

from crossrank.client.channel import proxy_of
from crossrank.errors import BY_STATUS, CrossrankError, InvalidRequest, Overloaded, Unavailable, UnknownModel
from crossrank.reranker import (
    LongDocumentStrategy,
    RankOptions,
    ScoreKind,
    check_text,
    pair_texts,
    query_texts,
)
from crossrank.results import RankedDocument, ranked_document
from crossrank.v1 import ranker_pb2

# `predict` takes any number of pairs; a server takes a limited number in one call, and of bytes.
_PAIRS_PER_CALL = 500
_BYTES_PER_CALL = 8 * 1024 * 1024
_THUMBS = {"up": ranker_pb2.THUMB_UP, "down": ranker_pb2.THUMB_DOWN}
_KINDS: dict[ScoreKind | None, ranker_pb2.ScoreKind.ValueType] = {
    None: ranker_pb2.SCORE_KIND_UNSPECIFIED,
    "logit": ranker_pb2.SCORE_KIND_LOGIT,
    "probability": ranker_pb2.SCORE_KIND_PROBABILITY,
}
_STRATEGIES: dict[LongDocumentStrategy, ranker_pb2.LongDocumentStrategy.ValueType] = {
    "truncate": ranker_pb2.LONG_DOCUMENT_STRATEGY_TRUNCATE,
    "chunk": ranker_pb2.LONG_DOCUMENT_STRATEGY_CHUNK,
}
_STATUSES = {status.value[0]: status.name for status in grpc.StatusCode}
_Outcome: TypeAlias = tuple[int, list[RankedDocument] | CrossrankError]


def rank_request(
    model: str,
    query: str,
    documents: Sequence[str],
    options: RankOptions,
    ids: Sequence[str] | None = None,
    request_id: str = "",
) -> ranker_pb2.RankRequest:
    """The message of `rank`, of what `rank_texts` gave. The texts of the results do not come over the wire.

    Raises:
        InvalidRequest: the request_id is not a string of valid Unicode.
    """
    check_text("request_id", request_id)
    return ranker_pb2.RankRequest(
        model=model,
        query=query,
        documents=[
            ranker_pb2.Document(id="" if ids is None else ids[index], text=text) for index, text in enumerate(documents)
        ],
        top_n=options.top_k or 0,
        score_kind=_KINDS[options.score_kind],
        max_length=options.max_length or 0,
        long_document_strategy=_STRATEGIES[options.long_documents],
        request_id=request_id,
    )


def score_requests(
    model: str, pairs: Sequence[tuple[str, str]], options: RankOptions
) -> Iterator[ranker_pb2.ScoreRequest]:
    """The messages of `predict`.

    Raises:
        InvalidRequest: as `pair_texts` raises it.
    """
    for part in _parts([ranker_pb2.Pair(query=query, document=document) for query, document in pair_texts(pairs)]):
        yield ranker_pb2.ScoreRequest(
            model=model,
            pairs=part,
            score_kind=_KINDS[options.score_kind],
            max_length=options.max_length or 0,
            long_document_strategy=_STRATEGIES[options.long_documents],
        )


def _parts(pairs: Sequence[ranker_pb2.Pair]) -> Iterator[Sequence[ranker_pb2.Pair]]:
    """Parts of pairs that a server takes in one call; a pair that is larger than that goes alone."""
    start, size = 0, 0
    for place, pair in enumerate(pairs):
        grown = size + pair.ByteSize()
        if place > start and (grown > _BYTES_PER_CALL or place - start == _PAIRS_PER_CALL):
            yield pairs[start:place]
            start, grown = place, pair.ByteSize()
        size = grown
    if start < len(pairs):
        yield pairs[start:]


def feedback_request(
    request_id: str,
    document_id: str,
    thumb: Literal["up", "down"] | None,
    stars: int | None,
    click: bool,
    comment: str,
) -> ranker_pb2.RecordFeedbackRequest:
    """The message of `record_feedback`.

    Raises:
        InvalidRequest: not exactly one of thumb, stars and click is given, one is out of range, or a text is not valid
            Unicode.
    """
    if (thumb is not None) + (stars is not None) + bool(click) != 1:
        raise InvalidRequest("judgement: give exactly one of thumb, stars and click")
    if thumb not in (None, *_THUMBS):
        raise InvalidRequest(f"thumb: {thumb!r} is neither 'up' nor 'down'")
    if stars is not None and stars not in range(1, 6):
        raise InvalidRequest(f"stars: {stars} is not between 1 and 5")
    for field, text in (("request_id", request_id), ("document_id", document_id), ("comment", comment)):
        check_text(field, text)
    request = ranker_pb2.RecordFeedbackRequest(request_id=request_id, document_id=document_id, comment=comment)
    if thumb is not None:
        request.thumb = _THUMBS[thumb]
    elif stars is not None:
        request.stars = stars
    else:
        request.click = True
    return request


class RankStream:
    """The queries of one `rank_many`; the request_id of each on the wire is its index.

    Attributes:
        answered: outcomes that need no server: queries without documents, and invalid ones.
        requests: messages of the others.
    """

    def __init__(self, model: str, queries: Sequence[tuple[str, Sequence[str]]], options: RankOptions) -> None:
        self._documents: dict[int, list[str]] = {}
        self._options = options
        self.answered: list[_Outcome] = []
        self.requests: list[ranker_pb2.RankStreamRequest] = []
        for index, given in query_texts(queries):
            if isinstance(given, InvalidRequest):
                self.answered.append((index, given))
                continue
            query, documents = given
            if not documents:
                self.answered.append((index, []))
                continue
            self._documents[index] = documents
            request = rank_request(model, query, documents, options, request_id=str(index))
            self.requests.append(ranker_pb2.RankStreamRequest(request=request))

    def outcome(self, reply: ranker_pb2.RankStreamResponse) -> _Outcome:
        """The index of a query, and its ranking or the error that took its place.

        Raises:
            CrossrankError: the reply holds neither: a newer server has another outcome.
        """
        outcome = reply.WhichOneof("outcome")
        if outcome is None:
            raise CrossrankError("the server sent an outcome that this client does not know; update crossrank")
        if outcome == "response":
            index = int(reply.response.request_id)
            return index, ranking(reply.response, self._documents[index], None, self._options)
        error = reply.error
        kind = BY_STATUS.get(_STATUSES.get(error.code, ""), CrossrankError)
        retry_after = error.retry_after.ToNanoseconds() / 1e9 if error.HasField("retry_after") else None
        return int(error.request_id), _typed(kind, error.message, retry_after)


def ranking(
    response: ranker_pb2.RankResponse, documents: Sequence[str], ids: Sequence[str] | None, options: RankOptions
) -> list[RankedDocument]:
    """What `rank` returns."""
    texts = documents if options.return_documents else None
    return [
        ranked_document(
            result.index,
            result.score,
            (result.chunk.start, result.chunk.end) if result.HasField("chunk") else None,
            ids,
            texts,
        )
        for result in response.results
    ]


@contextmanager
def typed_errors(target: str, *, not_found: type[CrossrankError] = UnknownModel) -> Iterator[None]:
    """Raises the error of `crossrank.errors` for a gRPC status; `not_found` is the one for NOT_FOUND."""
    try:
        yield
    except grpc.RpcError as error:
        status, message = error.code(), error.details() or ""
        kind = not_found if status is grpc.StatusCode.NOT_FOUND else BY_STATUS.get(status.name, CrossrankError)
        if status is grpc.StatusCode.UNIMPLEMENTED:
            message = f"{target} does not offer this call; feedback needs a server with --feedback"
        if kind is Unavailable:
            message = f"{target} does not answer{proxy_of(target)}: {message}"
        trailing = cast("Iterable[tuple[str, str]]", error.trailing_metadata() or ())
        pushback = [int(value) for key, value in trailing if key == "grpc-retry-pushback-ms"]
        # A negative one says that trying again cannot help.
        raise _typed(kind, message, pushback[0] / 1000 if pushback and pushback[0] >= 0 else None) from error


def _typed(kind: type[CrossrankError], message: str, retry_after: float | None) -> CrossrankError:
    return Overloaded(message, retry_after) if kind is Overloaded else kind(message)
