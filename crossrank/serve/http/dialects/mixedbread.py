"""Mixedbread: `input` instead of `documents`."""

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


class MixedbreadBody(Body):
    """A query and documents."""

    query: str = Field(description="The query.")
    input: list[Document] = Field(description="Texts, or objects that hold one.")
    rank_fields: RankFields | None = None
    top_k: Count | None = Field(None, description="How many results. Default, and 0: all.")
    return_input: bool | None = Field(None, description="Whether results carry their documents.")


class Mixedbread:
    """POST /v1/reranking."""

    body = MixedbreadBody
    field = "input"

    def request(self, body: MixedbreadBody) -> ranker_pb2.RankRequest:
        return rank_request(
            body,
            body.query,
            texts_of(body.input, body.rank_fields),
            ids=ids_of(body.input),
            top_n=body.top_k,
            raw=False,
        )

    def answer(self, answer: Answer[MixedbreadBody, ranker_pb2.RankResponse]) -> JsonValue:
        body, response = answer.body, answer.response
        return {
            "object": "list",
            "model": response.model,
            "data": [
                {
                    "index": result.index,
                    "score": result.score,
                    **({"input": body.input[result.index]} if body.return_input else {}),
                    "object": "rank_result",
                }
                for result in response.results
            ],
            "usage": {**answer.usage()},
            "top_k": len(response.results),
            "return_input": bool(body.return_input),
            **answer.extension(),
        }
