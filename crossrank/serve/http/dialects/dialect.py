"""Dialect: what every adapter has, and the fields that most of them share."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from crossrank.errors import CrossrankError, InvalidRequest
from crossrank.v1 import ranker_pb2

# Python writes no integers of more than 4300 digits.
_LARGEST_ID = 10**100

# Numbers of the contract are no larger.
_LARGEST = 2**32 - 1

# A text, or an object that holds one.
Document = str | dict[str, JsonValue]

Request = ranker_pb2.RankRequest | ranker_pb2.ScoreRequest
Response = ranker_pb2.RankResponse | ranker_pb2.ScoreResponse

_KINDS = {"logit": ranker_pb2.SCORE_KIND_LOGIT, "probability": ranker_pb2.SCORE_KIND_PROBABILITY}
_STRATEGIES = {
    "truncate": ranker_pb2.LONG_DOCUMENT_STRATEGY_TRUNCATE,
    "chunk": ranker_pb2.LONG_DOCUMENT_STRATEGY_CHUNK,
}


class Options(BaseModel):
    """The request field `crossrank`: what the contract offers beyond the dialects; with it the answer has one too."""

    model_config = ConfigDict(extra="forbid")

    score_kind: Literal["logit", "probability"] | None = Field(None, description="What the scores mean.")
    long_document_strategy: Literal["truncate", "chunk"] | None = Field(
        None, description="What happens to documents that do not fit; `chunk` names the winning span of each."
    )
    max_length: int | None = Field(None, ge=1, description="Longest pair in tokens.")
    request_id: str | None = Field(None, description="Name of the request, in logs and in feedback.")


class Body(BaseModel):
    """A request body. Unknown fields are ignored, and null counts as absent."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str | None = Field(None, description="Name of the ranker, or `name@version`. Default: the default ranker.")
    crossrank: Options | None = Field(None, description="Options beyond this dialect.")

    def must_fit(self) -> bool:
        """Whether texts that are too long are refused instead of cut."""
        return False

    def length_field(self) -> str:
        """The name under which the client gives the longest pair."""
        return "crossrank.max_length"

    def refusal(self, message: str) -> CrossrankError:
        """The error for a field that is invalid, with the status that the dialect has for it."""
        return InvalidRequest(message)


class CutBody(Body):
    """A body with vLLM's fields on how pairs are cut."""

    truncate_prompt_tokens: int | None = Field(
        None, description="Longest pair in tokens. Default, and 0 or less: the ranker's."
    )
    truncation_side: Literal["left", "right"] | None = Field(
        None, description="The side that is cut off. Texts that are too long are refused where it is the left one."
    )

    def must_fit(self) -> bool:
        return self.truncation_side == "left"

    def length_field(self) -> str:
        own = self.crossrank and self.crossrank.max_length
        return super().length_field() if own else "truncate_prompt_tokens"

    def longest(self) -> int | None:
        """The longest pair in tokens that these fields ask for."""
        return max(self.truncate_prompt_tokens or 0, 0) or None


B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Request, covariant=True)
R = TypeVar("R", bound=Response)


class Answer(Generic[B, R]):
    """What an answer is made from.

    Attributes:
        body: what the client sent.
        response: the response of the contract.
        created: Unix time in seconds.
    """

    __slots__ = ("body", "created", "response")

    def __init__(self, body: B, response: R, created: int) -> None:
        self.body = body
        self.response = response
        self.created = created

    def extension(self) -> dict[str, Any]:
        """`{"crossrank": ...}` where the request has that field."""
        if self.body.crossrank is None:
            return {}
        response = self.response
        timings, usage = response.timings, response.usage
        content: dict[str, Any] = {
            "request_id": response.request_id,
            "model": response.model,
            "version": response.version,
            "truncated_documents": usage.truncated_documents,
            "cache_hits": usage.cache_hits,
            "timings_ms": {
                name: getattr(timings, name).ToNanoseconds() / 1e6 for name in ("tokenize", "queue", "compute")
            },
        }
        if isinstance(response, ranker_pb2.RankResponse):
            content["chunks"] = [
                {"index": result.index, "start": result.chunk.start, "end": result.chunk.end}
                for result in response.results
                if result.HasField("chunk")
            ]
        return {"crossrank": content}

    def usage(self) -> dict[str, int]:
        """The tokens, as OpenAI's APIs name them."""
        tokens = self.response.usage.tokens
        return {"prompt_tokens": tokens, "total_tokens": tokens}


class Dialect(Protocol[B, Q, R]):
    """One way of asking for an order or for scores.

    Attributes:
        body: what its clients send.
        field: what it calls the documents.
    """

    body: type[B]
    field: str

    def request(self, body: B) -> Q:
        """The request of the contract.

        Raises:
            InvalidRequest: a field is invalid.
        """

    def answer(self, answer: Answer[B, R]) -> JsonValue:
        """The body of the answer."""


def rank_request(
    body: Body,
    query: str,
    texts: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    top_n: int | None = None,
    raw: bool | None = None,
    max_length: int | None = None,
) -> ranker_pb2.RankRequest:
    """Builds a RankRequest; scores are probabilities unless raw ones are asked for.

    Args:
        body: its `model` and `crossrank` count.
        query: what is asked.
        texts: what is ranked.
        ids: of the texts, for feedback. Default: their places.
        top_n: None and 0 for all.
        raw: whether the dialect's own field asks for logits.
        max_length: of a pair in tokens.
    """
    request = ranker_pb2.RankRequest(query=query, top_n=min(top_n or 0, _LARGEST))
    for index, text in enumerate(texts):
        request.documents.add(id=ids[index] if ids else str(index), text=text)
    common(request, body, raw=raw, max_length=max_length)
    return request


def common(
    request: Request,
    body: Body,
    *,
    raw: bool | None,
    max_length: int | None = None,
) -> None:
    """Sets what all dialects share: model, score kind, length, strategy, request id."""
    options = body.crossrank or Options()
    request.model = body.model or ""
    request.score_kind = _KINDS[options.score_kind or ("logit" if raw else "probability")]
    request.max_length = min(options.max_length or max_length or 0, _LARGEST)
    if options.long_document_strategy:
        request.long_document_strategy = _STRATEGIES[options.long_document_strategy]
    request.request_id = options.request_id or ""


# Each is looked for in every document.
RankFields = Annotated[
    list[str], Field(max_length=32, description="Fields of an object that are its text. Default: `text`.")
]


def texts_of(documents: Sequence[Document], fields: Sequence[str] | None = None) -> list[str]:
    """The texts of documents that are strings or objects.

    Args:
        documents: as they came.
        fields: names of the fields of an object that are its text, joined by line feeds, each once. Default:
            `text`.

    Raises:
        InvalidRequest: an object has none of the fields, or one that is no string.
    """
    names = tuple(dict.fromkeys(fields or ("text",)))
    texts = []
    for index, document in enumerate(documents):
        if isinstance(document, str):
            texts.append(document)
            continue
        found = [(name, document[name]) for name in names if document.get(name) is not None]
        if not found:
            raise InvalidRequest(f"documents[{index}]: has no {' or '.join(map(repr, names))}")
        for name, value in found:
            if not isinstance(value, str):
                raise InvalidRequest(f"documents[{index}].{name}: is not a string")
        texts.append("\n".join(str(value) for _, value in found))
    return texts


def ids_of(documents: Sequence[Document]) -> list[str]:
    """The ids of documents that are objects with a string or integer `id`; of others their places."""
    return [_id_of(document, index) for index, document in enumerate(documents)]


def _id_of(document: Document, place: int) -> str:
    given = document.get("id") if isinstance(document, dict) else None
    return str(given) if isinstance(given, str) or (isinstance(given, int) and abs(given) < _LARGEST_ID) else str(place)


Count = Annotated[int, Field(ge=0)]
