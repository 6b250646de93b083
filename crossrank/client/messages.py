"""Requests from the clients' arguments, and results or typed errors from what comes back."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NoReturn, cast

import grpc

from crossrank.errors import BY_STATUS, CrossrankError, InvalidRequest, Overloaded, Unavailable, UnknownModel
from crossrank.results import RankedDocument, ranked
from crossrank.v1 import ranker_pb2

# `predict` takes any number of pairs; a server takes a limited number in one call.
_PAIRS_PER_CALL = 500
_THUMBS = {"up": ranker_pb2.THUMB_UP, "down": ranker_pb2.THUMB_DOWN}
_STATUSES = {status.value[0]: status.name for status in grpc.StatusCode}


def rank_request(
    model: str,
    query: str,
    documents: Sequence[str],
    top_n: int | None,
    ids: Sequence[str] | None = None,
    request_id: str = "",
) -> ranker_pb2.RankRequest:
    """The message of `rank`.

    Raises:
        InvalidRequest: a text is no valid Unicode, top_n is below 1, or there is not one id for each document.
    """
    if top_n is not None and top_n < 1:
        raise InvalidRequest(f"top_n: {top_n} is below 1")
    if ids is not None and len(ids) != len(documents):
        raise InvalidRequest(f"ids: {len(ids)} for {len(documents)} documents")
    return ranker_pb2.RankRequest(
        model=model,
        query=_checked("query", query),
        documents=[
            ranker_pb2.Document(
                id=_checked(f"ids[{index}]", ids[index]) if ids is not None else "",
                text=_checked(f"documents[{index}]", text),
            )
            for index, text in enumerate(documents)
        ],
        top_n=top_n or 0,
        request_id=_checked("request_id", request_id),
    )


def score_requests(model: str, pairs: Sequence[tuple[str, str]]) -> Iterator[ranker_pb2.ScoreRequest]:
    """The messages of `predict`.

    Raises:
        InvalidRequest: a text is no valid Unicode.
    """
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
        InvalidRequest: not exactly one of thumb, stars and click is given, one is out of range, or a text is no valid
            Unicode.
    """
    if (thumb is not None) + (stars is not None) + bool(click) != 1:
        raise InvalidRequest("judgement: give exactly one of thumb, stars and click")
    if thumb not in (None, *_THUMBS):
        raise InvalidRequest(f"thumb: {thumb!r} is neither 'up' nor 'down'")
    if stars is not None and stars not in range(1, 6):
        raise InvalidRequest(f"stars: {stars} is not between 1 and 5")
    request = ranker_pb2.RecordFeedbackRequest(
        request_id=_checked("request_id", request_id),
        document_id=_checked("document_id", document_id),
        comment=_checked("comment", comment),
    )
    if thumb is not None:
        request.thumb = _THUMBS[thumb]
    elif stars is not None:
        request.stars = stars
    else:
        request.click = True
    return request


def stream_requests(
    model: str, queries: Sequence[tuple[str, Sequence[str]]], top_n: int | None
) -> list[ranker_pb2.RankStreamRequest]:
    """The messages of `rank_many`; the request_id of each is its place.

    Raises:
        InvalidRequest: a text is no valid Unicode, or top_n is below 1.
    """
    requests = []
    for place, (query, documents) in enumerate(queries):
        request = rank_request(model, query, documents, top_n)
        request.request_id = str(place)
        requests.append(ranker_pb2.RankStreamRequest(request=request))
    return requests


def stream_outcome(
    reply: ranker_pb2.RankStreamResponse, queries: Sequence[tuple[str, Sequence[str]]], return_documents: bool
) -> tuple[int, list[RankedDocument] | CrossrankError]:
    """The place of a query, and its ranking or why there is none."""
    if reply.HasField("error"):
        error = reply.error
        kind = BY_STATUS.get(_STATUSES.get(error.code, ""), CrossrankError)
        if kind is Overloaded and error.HasField("retry_after"):
            return int(error.request_id), Overloaded(error.message, error.retry_after.ToNanoseconds() / 1e9)
        return int(error.request_id), kind(error.message)
    place = int(reply.response.request_id)
    return place, ranking(reply.response, queries[place][1], return_documents)


def _checked(field: str, text: str) -> str:
    """The text, which must be encodable: protobuf carries UTF-8 and nothing else."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{field}: holds a lone surrogate, which UTF-8 cannot carry") from None
    return text


def ranking(
    response: ranker_pb2.RankResponse, documents: Sequence[str], return_documents: bool
) -> list[RankedDocument]:
    """What `rank` returns."""
    return [
        ranked(result.index, result.score, documents, return_documents=return_documents) for result in response.results
    ]


def raise_typed(error: grpc.RpcError, target: str, *, not_found: type[CrossrankError] = UnknownModel) -> NoReturn:
    """Raises the error of `crossrank.errors` for a gRPC status; `not_found` is the one for NOT_FOUND."""
    status, message = error.code(), error.details() or ""
    kind = not_found if status is grpc.StatusCode.NOT_FOUND else BY_STATUS.get(status.name, CrossrankError)
    if status is grpc.StatusCode.UNIMPLEMENTED:
        message = f"{target} does not offer this call; feedback needs a server with --feedback"
    if kind is Unavailable:
        message = f"{target} does not answer: {message}"
    if kind is Overloaded:
        trailing = cast("Iterable[tuple[str, str]]", error.trailing_metadata() or ())
        pushback = [int(value) for key, value in trailing if key == "grpc-retry-pushback-ms"]
        raise Overloaded(message, pushback[0] / 1000 if pushback else None) from error
    raise kind(message) from error
