"""vLLM's score: pairs, or one query to many texts; scores in their order."""

from pydantic import Field, JsonValue

from crossrank.errors import InvalidRequest
from crossrank.serve.http.dialects.dialect import Answer, CutBody, common, rank_request
from crossrank.v1 import ranker_pb2

Texts = str | list[str]

# The names that a pair of fields may have.
_NAMES = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))


class ScoreBody(CutBody):
    """Two texts, one text and many, or two lists of one length."""

    text_1: Texts | None = Field(None, description="The query or the queries.")
    text_2: Texts | None = Field(None, description="The document or the documents.")
    queries: Texts | None = Field(None, description="As `text_1`.")
    documents: Texts | None = Field(None, description="As `text_2`.")
    items: Texts | None = Field(None, description="As `text_2`.")
    data_1: Texts | None = Field(None, description="As `text_1`.")
    data_2: Texts | None = Field(None, description="As `text_2`.")
    use_activation: bool | None = Field(None, description="False: logits instead of probabilities.")


class Score:
    """POST /score and /v1/score."""

    body = ScoreBody
    field = "pairs"

    def request(self, body: ScoreBody) -> ranker_pb2.RankRequest | ranker_pb2.ScoreRequest:
        for first, second in _NAMES:
            left, right = getattr(body, first), getattr(body, second)
            if left is not None and right is not None:
                break
        else:
            raise InvalidRequest("text_1, text_2: are missing")
        queries = [left] if isinstance(left, str) else left
        documents = [right] if isinstance(right, str) else right
        raw = body.use_activation is False
        if len(queries) == 1:
            # In pairs each would hold the query once more.
            return rank_request(body, queries[0], documents, raw=raw, max_length=body.longest())
        if len(queries) != len(documents):
            raise InvalidRequest(
                f"{first}, {second}: {len(queries)} and {len(documents)} texts; "
                "give one text and many, or as many of each"
            )
        request = ranker_pb2.ScoreRequest()
        for query, document in zip(queries, documents, strict=True):
            request.pairs.add(query=query, document=document)
        common(request, body, raw=raw, max_length=body.longest())
        return request

    def answer(self, answer: Answer[ScoreBody, ranker_pb2.RankResponse | ranker_pb2.ScoreResponse]) -> JsonValue:
        response = answer.response
        scores = (
            [result.score for result in sorted(response.results, key=lambda result: result.index)]
            if isinstance(response, ranker_pb2.RankResponse)
            else response.scores
        )
        return {
            "id": response.request_id,
            "object": "list",
            "created": answer.created,
            "model": response.model,
            "data": [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)],
            "usage": {**answer.usage(), "completion_tokens": 0, "prompt_tokens_details": None},
            **answer.extension(),
        }
