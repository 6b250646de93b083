"""What a request may be: every refusal names the field."""

from dataclasses import dataclass
from uuid import uuid4

from crossrank.errors import InvalidRequest
from crossrank.feedback.schema import Feedback, FeedbackKind
from crossrank.inference.activation import ScoreKind
from crossrank.inference.tokenizer import LongDocumentStrategy
from crossrank.serve.settings import ServerSettings
from crossrank.v1 import ranker_pb2

_MAX_REQUEST_ID = 200
_MAX_COMMENT = 10_000

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
class Work:
    """A valid request, free of its wire format; `sizes` are the UTF-8 bytes of each pair."""

    model: str
    pairs: list[tuple[str, str]]
    sizes: list[int]
    kind: ScoreKind | None
    max_length: int | None
    strategy: LongDocumentStrategy


def rank_work(request: ranker_pb2.RankRequest, settings: ServerSettings) -> Work:
    """The pairs of a RankRequest.

    Raises:
        InvalidRequest: a field is at fault.
    """
    query_bytes = _text("query", request.query, settings)
    if not request.query.strip():
        raise InvalidRequest("query: is empty")
    _count("documents", len(request.documents), settings)
    sizes = [
        query_bytes + _text(f"documents[{index}].text", document.text, settings)
        for index, document in enumerate(request.documents)
    ]
    return _work(request, [(request.query, document.text) for document in request.documents], sizes)


def score_work(request: ranker_pb2.ScoreRequest, settings: ServerSettings) -> Work:
    """The pairs of a ScoreRequest.

    Raises:
        InvalidRequest: a field is at fault.
    """
    _count("pairs", len(request.pairs), settings)
    sizes = []
    for index, pair in enumerate(request.pairs):
        if not pair.query.strip():
            raise InvalidRequest(f"pairs[{index}].query: is empty")
        query_bytes = _text(f"pairs[{index}].query", pair.query, settings)
        sizes.append(query_bytes + _text(f"pairs[{index}].document", pair.document, settings))
    return _work(request, [(pair.query, pair.document) for pair in request.pairs], sizes)


def feedback(request: ranker_pb2.RecordFeedbackRequest) -> Feedback:
    """What a RecordFeedbackRequest says.

    Raises:
        InvalidRequest: a field is at fault.
    """
    for field, text in (("request_id", request.request_id), ("document_id", request.document_id)):
        if not text:
            raise InvalidRequest(f"{field}: is empty")
    if len(request.comment) > _MAX_COMMENT:
        raise InvalidRequest(f"comment: {len(request.comment)} characters, at most {_MAX_COMMENT}")
    return Feedback(request.request_id, request.document_id, *_judgement(request), request.comment)


def request_id(given: str) -> str:
    """The caller's request id, or a new one.

    Raises:
        InvalidRequest: it is longer than a log line should carry.
    """
    if len(given) > _MAX_REQUEST_ID:
        raise InvalidRequest(f"request_id: {len(given)} characters, at most {_MAX_REQUEST_ID}")
    return given or uuid4().hex


def _work(
    request: ranker_pb2.RankRequest | ranker_pb2.ScoreRequest, pairs: list[tuple[str, str]], sizes: list[int]
) -> Work:
    if request.score_kind not in _KINDS:
        raise InvalidRequest(f"score_kind: {request.score_kind} is unknown")
    if request.long_document_strategy not in _STRATEGIES:
        raise InvalidRequest(f"long_document_strategy: {request.long_document_strategy} is unknown")
    return Work(
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


def _count(field: str, number: int, settings: ServerSettings) -> None:
    if number == 0:
        raise InvalidRequest(f"{field}: there are none")
    if number > settings.max_documents:
        raise InvalidRequest(f"{field}: {number} are more than the {settings.max_documents} of one call")


def _text(field: str, text: str, settings: ServerSettings) -> int:
    size = len(text.encode())
    if size > settings.max_text_bytes:
        raise InvalidRequest(f"{field}: {size} bytes are more than the {settings.max_text_bytes} of one text")
    return size
