"""Responses: scores and errors as protobuf messages."""

import grpc
from google.protobuf.duration_pb2 import Duration

from crossrank.errors import CrossrankError, Overloaded
from crossrank.inference.scores import Scores
from crossrank.results import order
from crossrank.v1 import ranker_pb2


def rank_response(
    request: ranker_pb2.RankRequest, identifier: str, model: str, version: str, scores: Scores
) -> ranker_pb2.RankResponse:
    """Builds the response to a RankRequest: documents ordered by (-logit, index), at most `top_n`."""
    results = []
    for index in order(scores.logits)[: request.top_n or None]:
        document, span = request.documents[index], scores.spans[index]
        results.append(
            ranker_pb2.RankResult(
                index=index,
                id=document.id,
                score=float(scores.values[index]),
                document=document if request.return_documents else None,
                chunk=ranker_pb2.Span(start=span[0], end=span[1]) if span else None,
            )
        )
    return ranker_pb2.RankResponse(
        request_id=identifier,
        model=model,
        version=version,
        results=results,
        usage=_usage(scores),
        timings=_timings(scores),
    )


def score_response(identifier: str, model: str, version: str, scores: Scores) -> ranker_pb2.ScoreResponse:
    """Builds the response to a ScoreRequest: scores in the order of the pairs."""
    return ranker_pb2.ScoreResponse(
        request_id=identifier,
        model=model,
        version=version,
        scores=scores.values,
        usage=_usage(scores),
        timings=_timings(scores),
    )


def stream_error(identifier: str, error: CrossrankError) -> ranker_pb2.RankStreamResponse:
    """Builds the response to a query of a stream that failed: status code, message, and when to try again."""
    code: int = grpc.StatusCode[error.status].value[0]
    reply = ranker_pb2.RankStreamError(request_id=identifier, code=code, message=str(error))
    if isinstance(error, Overloaded) and error.retry_after is not None:
        reply.retry_after.CopyFrom(_duration(error.retry_after))
    return ranker_pb2.RankStreamResponse(error=reply)


def _usage(scores: Scores) -> ranker_pb2.Usage:
    return ranker_pb2.Usage(
        pairs=scores.pairs,
        tokens=scores.tokens,
        truncated_documents=scores.truncated,
        cache_hits=scores.cache_hits,
    )


def _timings(scores: Scores) -> ranker_pb2.Timings:
    return ranker_pb2.Timings(
        tokenize=_duration(scores.tokenize), queue=_duration(scores.queue), compute=_duration(scores.compute)
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
