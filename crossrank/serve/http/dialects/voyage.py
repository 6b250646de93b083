"""Voyage: `top_k` instead of `top_n`, `data` instead of `results`, documents as strings."""

from pydantic import Field, JsonValue

from crossrank.serve.http.dialects.dialect import Answer, Body, Count, Document, ids_of, rank_request, texts_of
from crossrank.v1 import ranker_pb2


class VoyageBody(Body):
    """A query and documents."""

    query: str = Field(description="The query.")
    documents: list[Document] = Field(description="Texts, or objects that hold one.")
    top_k: Count | None = Field(None, description="How many results. Default, and 0: all.")
    truncation: bool | None = Field(None, description="False: documents that do not fit are refused. Default: true.")
    return_documents: bool | None = Field(None, description="Whether results carry their documents.")

    def must_fit(self) -> bool:
        return self.truncation is False


class Voyage:
    """POST /rerank and /v1/rerank with `top_k` or `truncation`."""

    body = VoyageBody
    field = "documents"

    def request(self, body: VoyageBody) -> ranker_pb2.RankRequest:
        return rank_request(
            body, body.query, texts_of(body.documents), ids=ids_of(body.documents), top_n=body.top_k, raw=False
        )

    def answer(self, answer: Answer[VoyageBody, ranker_pb2.RankResponse]) -> JsonValue:
        body, response = answer.body, answer.response
        texts = texts_of(body.documents) if body.return_documents else None
        return {
            "object": "list",
            "data": [
                {
                    "index": result.index,
                    "relevance_score": result.score,
                    **({"document": texts[result.index]} if texts else {}),
                }
                for result in response.results
            ],
            "model": response.model,
            "usage": {"total_tokens": response.usage.tokens},
            **answer.extension(),
        }
