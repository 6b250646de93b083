"""Pinecone: documents are objects, scores are called `score`."""

from pydantic import Field, JsonValue

from crossrank.serve.http.dialects.dialect import (
    Answer,
    Body,
    Count,
    Document,
    RankFields,
    ids_of,
    rank_request,
    texts_of,
)
from crossrank.v1 import ranker_pb2


class PineconeBody(Body):
    """A query and documents."""

    query: str = Field(description="The query.")
    documents: list[Document] = Field(description="Objects that hold a text, or texts.")
    rank_fields: RankFields | None = None
    top_n: Count | None = Field(None, description="How many results. Default, and 0: all.")
    return_documents: bool | None = Field(None, description="Whether results carry their documents. Default: true.")


class Pinecone:
    """POST /rerank with the header X-Pinecone-API-Version."""

    body = PineconeBody
    field = "documents"

    def request(self, body: PineconeBody) -> ranker_pb2.RankRequest:
        texts = texts_of(body.documents, body.rank_fields)
        return rank_request(body, body.query, texts, ids=ids_of(body.documents), top_n=body.top_n, raw=False)

    def answer(self, answer: Answer[PineconeBody, ranker_pb2.RankResponse]) -> JsonValue:
        body, response = answer.body, answer.response
        return {
            "model": response.model,
            "data": [
                {
                    "index": result.index,
                    "score": result.score,
                    **({} if body.return_documents is False else {"document": _shown(body.documents[result.index])}),
                }
                for result in response.results
            ],
            "usage": {"rerank_units": 1},
            **answer.extension(),
        }


def _shown(document: Document) -> JsonValue:
    return document if isinstance(document, dict) else {"text": document}
