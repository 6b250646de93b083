"""Weaviate's reranker-transformers: scores in the order of the documents, since it pairs them by position."""

from pydantic import Field, JsonValue

from crossrank.serve.http.dialects.dialect import Answer, Body, rank_request
from crossrank.v1 import ranker_pb2


class WeaviateBody(Body):
    """A query and documents."""

    query: str = Field(description="The query.")
    documents: list[str] = Field(description="The texts to score.")
    property: str | None = Field(None, description="Returned as it came.")


class Weaviate:
    """POST /rerank with `property`."""

    body = WeaviateBody
    field = "documents"

    def request(self, body: WeaviateBody) -> ranker_pb2.RankRequest:
        return rank_request(body, body.query, body.documents, raw=False)

    def answer(self, answer: Answer[WeaviateBody, ranker_pb2.RankResponse]) -> JsonValue:
        body = answer.body
        return {
            "query": body.query,
            "property": body.property or "",
            "scores": [
                {"document": body.documents[result.index], "score": result.score}
                for result in sorted(answer.response.results, key=lambda result: result.index)
            ],
            **answer.extension(),
        }
