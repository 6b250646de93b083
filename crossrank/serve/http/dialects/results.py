"""Results object: Cohere's shape, and with it Jina's, vLLM's, Infinity's, Xinference's, Together's and OpenSearch's."""

from typing import Literal

from pydantic import Field, JsonValue

from crossrank.errors import InvalidRequest
from crossrank.serve.http.dialects.dialect import (
    Answer,
    Count,
    CutBody,
    Document,
    RankFields,
    ids_of,
    rank_request,
    texts_of,
)
from crossrank.v1 import ranker_pb2

# Documents that Cohere bills as one search.
_SEARCH_UNIT = 100


class ResultsBody(CutBody):
    """A query and documents."""

    query: str = Field(description="The query.")
    documents: list[Document] | None = Field(None, description="Texts, or objects that hold one.")
    texts: list[str] | None = Field(None, description="The documents, where a client calls them so.")
    top_n: Count | None = Field(None, description="How many results. Default, and 0: all.")
    return_documents: bool | None = Field(None, description="Whether results carry their documents.")
    rank_fields: RankFields | None = None
    raw_scores: bool | None = Field(None, description="Logits instead of probabilities.")
    use_activation: bool | None = Field(None, description="False: logits instead of probabilities.")


class Results:
    """Cohere's v1 and v2 and their kin.

    Args:
        version: of the API, for `meta`.
        data: whether `data` repeats the results, for clients that read it there.
        document: how a result carries its document.
    """

    body = ResultsBody
    field = "documents"

    def __init__(self, version: str, *, data: bool, document: Literal["object", "string"] = "object") -> None:
        self._version = version
        self._data = data
        self._document = document

    def request(self, body: ResultsBody) -> ranker_pb2.RankRequest:
        documents = _documents(body)
        return rank_request(
            body,
            body.query,
            texts_of(documents, body.rank_fields),
            ids=ids_of(documents),
            top_n=body.top_n,
            raw=body.raw_scores or body.use_activation is False,
            max_length=body.longest(),
        )

    def answer(self, answer: Answer[ResultsBody, ranker_pb2.RankResponse]) -> JsonValue:
        body, response = answer.body, answer.response
        documents = _documents(body)
        rows: list[JsonValue] = [
            {"index": result.index, "relevance_score": result.score} for result in response.results
        ]
        results = rows
        if body.return_documents:
            results = [
                {
                    "index": result.index,
                    "relevance_score": result.score,
                    "document": self._shown(documents[result.index]),
                }
                for result in response.results
            ]
        units = -(-len(documents) // _SEARCH_UNIT)
        meta: dict[str, JsonValue] = {
            "api_version": {"version": self._version},
            "billed_units": {"search_units": units},
        }
        if cut := response.usage.truncated_documents:
            meta["warnings"] = [f"{cut} of {len(documents)} documents were cut to the longest pair that is read"]
        return {
            "id": response.request_id,
            "object": "rerank",
            "created": answer.created,
            "model": response.model,
            "results": results,
            **({"data": rows} if self._data else {}),
            "usage": {**answer.usage()},
            "meta": meta,
            **answer.extension(),
        }

    def _shown(self, document: Document) -> JsonValue:
        if self._document == "object":
            return document if isinstance(document, dict) else {"text": document}
        return document if isinstance(document, str) else document.get("text")


def _documents(body: ResultsBody) -> list[Document]:
    if body.documents is not None:
        return body.documents
    if body.texts is not None:
        return [*body.texts]
    raise InvalidRequest("documents: is missing")
