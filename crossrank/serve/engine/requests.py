"""Requests: parsed and validated, each error names the field."""

from dataclasses import dataclass
from uuid import uuid4

from crossrank.errors import InvalidRequest
from crossrank.feedback.schema import Feedback, FeedbackKind
from crossrank.reranker import LongDocumentStrategy, ScoreKind
from crossrank.serve.settings import ServerSettings
from crossrank.v1 import ranker_pb2

_MAX_REQUEST_ID = 200
_MAX_COMMENT = 10_000
# Characters of a document's id: URLs are as long as browsers take them.
_MAX_DOCUMENT_ID = 2_000

_KINDS: dict[int, ScoreKind | None] = {
    ranker_pb2.SCORE_KIND_UNSPECIFIED: None,
    ranker_pb2.SCORE_KIND_LOGIT: "logit",
    ranker_pb2.SCORE_KIND_PROBABILITY: "probability",
}
_STRATEGIES: dict[int, LongDocumentStrategy] = {
    ranker_pb2.LONG_DOCUMENT_STRATEGY_UNSPECIFIED: "truncate",
    ranker_pb2.LONG_DOCUMENT_STRATEGY_TRUNCATE: "truncate",
    ranker_pb2.LONG_DOCUMENT_STRATEGY_CHUNK: "chunk",
}
_THUMBS: dict[int, int] = {ranker_pb2.THUMB_UP: 1, ranker_pb2.THUMB_DOWN: 0}


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A valid request, free of its wire format.

    Attributes:
        model: "name", "name@version", or empty for the default ranker.
        pairs: (query, document).
        sizes: UTF-8 bytes of each pair.
        kind: of the scores; None for the ranker's own.
        max_length: of a pair in tokens; None for the ranker's own.
        strategy: what is done with documents longer than that.
    """

    model: str
    pairs: list[tuple[str, str]]
    sizes: list[int]
    kind: ScoreKind | None
    max_length: int | None
    strategy: LongDocumentStrategy


def parse_rank(request: ranker_pb2.RankRequest, settings: ServerSettings) -> ScoringRequest:
    """Parses a RankRequest.

    Raises:
        InvalidRequest: a field is invalid.
    """
    query = request.query  # each access makes another string
    query_bytes = _text("query", query, settings)
    if not query.strip():
        raise InvalidRequest("query: must not be empty")
    _count("documents", len(request.documents), settings)
    sizes = []
    for index, document in enumerate(request.documents):
        _document_id(f"documents[{index}].id", document.id)
        sizes.append(query_bytes + _text(f"documents[{index}].text", document.text, settings))
    return _scoring_request(request, [(query, document.text) for document in request.documents], sizes)


def parse_score(request: ranker_pb2.ScoreRequest, settings: ServerSettings) -> ScoringRequest:
    """Parses a ScoreRequest.

    Raises:
        InvalidRequest: a field is invalid.
    """
    _count("pairs", len(request.pairs), settings)
    sizes = []
    for index, pair in enumerate(request.pairs):
        if not pair.query.strip():
            raise InvalidRequest(f"pairs[{index}].query: must not be empty")
        query_bytes = _text(f"pairs[{index}].query", pair.query, settings)
        sizes.append(query_bytes + _text(f"pairs[{index}].document", pair.document, settings))
    return _scoring_request(request, [(pair.query, pair.document) for pair in request.pairs], sizes)


def parse_feedback(request: ranker_pb2.RecordFeedbackRequest) -> Feedback:
    """Parses a RecordFeedbackRequest.

    Raises:
        InvalidRequest: a field is invalid.
    """
    for field, text in (("request_id", request.request_id), ("document_id", request.document_id)):
        if not text:
            raise InvalidRequest(f"{field}: must not be empty")
    _document_id("document_id", request.document_id)
    if len(request.comment) > _MAX_COMMENT:
        raise InvalidRequest(f"comment: {len(request.comment)} characters, at most {_MAX_COMMENT}")
    return Feedback(request.request_id, request.document_id, *_judgement(request), request.comment)


def ensure_request_id(given: str) -> str:
    """Returns the caller's request id, or a new one where it gave none.

    Raises:
        InvalidRequest: it is longer than a log line should carry.
    """
    if len(given) > _MAX_REQUEST_ID:
        raise InvalidRequest(f"request_id: {len(given)} characters, at most {_MAX_REQUEST_ID}")
    return given or uuid4().hex


def _scoring_request(
    request: ranker_pb2.RankRequest | ranker_pb2.ScoreRequest, pairs: list[tuple[str, str]], sizes: list[int]
) -> ScoringRequest:
    if request.score_kind not in _KINDS:
        raise InvalidRequest(f"score_kind: {request.score_kind} is unknown")
    if request.long_document_strategy not in _STRATEGIES:
        raise InvalidRequest(f"long_document_strategy: {request.long_document_strategy} is unknown")
    return ScoringRequest(
        model=request.model,
        pairs=pairs,
        sizes=sizes,
        kind=_KINDS[request.score_kind],
        max_length=request.max_length or None,
        strategy=_STRATEGIES[request.long_document_strategy],
    )


def _judgement(request: ranker_pb2.RecordFeedbackRequest) -> tuple[FeedbackKind, int]:
    kind = request.WhichOneof("judgement")
    if kind is None:
        raise InvalidRequest("judgement: is missing; give thumb, stars or click")
    if kind == "thumb" and request.thumb not in _THUMBS:
        raise InvalidRequest(f"thumb: {request.thumb} is neither THUMB_UP nor THUMB_DOWN")
    if kind == "stars" and not 1 <= request.stars <= 5:
        raise InvalidRequest(f"stars: {request.stars} is not between 1 and 5")
    if kind == "click" and not request.click:
        raise InvalidRequest("click: is false; give feedback only where there was a click")
    return kind, _THUMBS[request.thumb] if kind == "thumb" else int(getattr(request, kind))


def _document_id(field: str, identifier: str) -> None:
    if len(identifier) > _MAX_DOCUMENT_ID:
        raise InvalidRequest(f"{field}: {len(identifier)} characters, at most {_MAX_DOCUMENT_ID}")


def _count(field: str, number: int, settings: ServerSettings) -> None:
    if number == 0:
        raise InvalidRequest(f"{field}: must not be empty")
    if number > settings.max_documents:
        raise InvalidRequest(f"{field}: more than the {settings.max_documents} of one call")


def _text(field: str, text: str, settings: ServerSettings) -> int:
    size = len(text.encode())
    if size > settings.max_text_bytes:
        raise InvalidRequest(f"{field}: {size} bytes are more than the {settings.max_text_bytes} of one text")
    return size
