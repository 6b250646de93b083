"""text-embeddings-inference: texts in, a bare list of ranks out."""

from typing import Literal

from pydantic import Field, JsonValue

from crossrank.errors import CrossrankError
from crossrank.serve.http.dialects.dialect import Answer, Body, Count, rank_request
from crossrank.serve.http.errors import HttpError
from crossrank.v1 import ranker_pb2


class TeiBody(Body):
    """A query and texts."""

    query: str = Field(description="The query.")
    texts: list[str] = Field(description="The texts to rank.")
    raw_scores: bool | None = Field(None, description="Logits instead of probabilities.")
    return_text: bool | None = Field(None, description="Whether ranks carry their text.")
    truncate: bool | None = Field(None, description="False: texts that do not fit are refused. Default: true.")
    truncation_direction: Literal["Right", "right", "Left", "left"] | None = Field(
        None, description="The side that is cut off. Texts that are too long are refused where it is the left one."
    )
    top_n: Count | None = Field(None, description="How many ranks. Default, and 0: all.")

    def must_fit(self) -> bool:
        return self.truncate is False or self.truncation_direction in ("Left", "left")

    def refusal(self, message: str) -> CrossrankError:
        return HttpError(400, message, "Empty") if "must not be empty" in message else HttpError(422, message)


class Tei:
    """POST /rerank with `texts`."""

    body = TeiBody
    field = "texts"

    def request(self, body: TeiBody) -> ranker_pb2.RankRequest:
        return rank_request(body, body.query, body.texts, top_n=body.top_n, raw=body.raw_scores)

    def answer(self, answer: Answer[TeiBody, ranker_pb2.RankResponse]) -> JsonValue:
        body = answer.body
        return [
            {
                "index": result.index,
                "score": result.score,
                **({"text": body.texts[result.index]} if body.return_text else {}),
            }
            for result in answer.response.results
        ]
