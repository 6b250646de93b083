"""NVIDIA NIM: query and passages as objects, logits out."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from crossrank.serve.http.dialects.dialect import Answer, Body, Count, rank_request
from crossrank.v1 import ranker_pb2


class NvidiaText(BaseModel):
    """An object with a text."""

    text: str = Field(description="The text.")


class NvidiaBody(Body):
    """A query and passages."""

    query: NvidiaText = Field(description="The query.")
    passages: list[NvidiaText] = Field(description="The passages to rank.")
    truncate: Literal["NONE", "END"] | None = Field(
        None, description="NONE: passages that do not fit are refused. Default: END."
    )
    top_k: Count | None = Field(None, description="How many rankings. Default, and 0: all.")

    def must_fit(self) -> bool:
        return self.truncate == "NONE"


class Nvidia:
    """POST /v1/ranking and its long forms."""

    body = NvidiaBody
    field = "passages"

    def request(self, body: NvidiaBody) -> ranker_pb2.RankRequest:
        texts = [passage.text for passage in body.passages]
        return rank_request(body, body.query.text, texts, top_n=body.top_k, raw=True)

    def answer(self, answer: Answer[NvidiaBody, ranker_pb2.RankResponse]) -> JsonValue:
        return {
            "rankings": [{"index": result.index, "logit": result.score} for result in answer.response.results],
            "usage": {**answer.usage()},
            **answer.extension(),
        }
