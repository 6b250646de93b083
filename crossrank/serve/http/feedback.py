"""What users say about answers, over HTTP."""

from typing import Literal, get_args

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from crossrank.errors import CrossrankError, InvalidRequest
from crossrank.feedback.schema import FeedbackKind
from crossrank.serve.http.body import parse_json, read_body
from crossrank.serve.http.endpoint import first_error
from crossrank.serve.http.errors import error_response
from crossrank.serve.rpc.feedback_service import FeedbackServicer
from crossrank.serve.rpc.runner import RpcRunner
from crossrank.v1 import ranker_pb2

_THUMBS = {"up": ranker_pb2.THUMB_UP, "down": ranker_pb2.THUMB_DOWN}
_MOST_BYTES = 64 * 1024


class FeedbackBody(BaseModel):
    """One judgement of one document of an answer: one of thumb, stars and click."""

    model_config = ConfigDict(extra="forbid")

    request_id: str = Field(description="The `id` of the answer.")
    document_id: str = Field(description="The `id` of the document in the request, else its index.")
    thumb: Literal["up", "down"] | None = Field(None, description="A thumb.")
    stars: int | None = Field(None, ge=1, le=5, description="One to five stars.")
    click: bool | None = Field(None, description="True: the user opened the document.")
    comment: str | None = Field(None, description="The user's own words.")


def feedback_routes(servicer: FeedbackServicer, rpc: RpcRunner) -> APIRouter:
    """The routes of a server that keeps feedback.

    Args:
        servicer: stores it.
        rpc: counts and logs.
    """
    routes = APIRouter(tags=["feedback"])
    described = {"required": True, "content": {"application/json": {"schema": FeedbackBody.model_json_schema()}}}

    @routes.post("/v1/feedback", openapi_extra={"requestBody": described})
    async def record(request: Request) -> JSONResponse:
        """Stores one judgement; it is on disk when the answer comes."""
        try:
            with rpc.observe("HTTP feedback", lambda: None, request.headers.items, "/v1/feedback") as call:
                raw = await read_body(request, rpc.receiver, max_bytes=_MOST_BYTES, max_documents=1)
                try:
                    body = FeedbackBody.model_validate(parse_json(raw))
                except ValidationError as error:
                    raise InvalidRequest(first_error(error)) from None
                response = await servicer.record(_message(body), call)
        except CrossrankError as error:
            return error_response(request, error)
        return JSONResponse({"feedback_id": response.feedback_id})

    @routes.get("/v1/feedback")
    async def counts() -> JSONResponse:
        """How much was stored since the server started, by kind."""
        return JSONResponse({"stored": {kind: servicer.store.counts.feedback[kind] for kind in get_args(FeedbackKind)}})

    return routes


def _message(body: FeedbackBody) -> ranker_pb2.RecordFeedbackRequest:
    message = ranker_pb2.RecordFeedbackRequest(
        request_id=body.request_id, document_id=body.document_id, comment=body.comment or ""
    )
    given = [name for name in ("thumb", "stars", "click") if getattr(body, name) is not None]
    if len(given) > 1:
        raise InvalidRequest(f"{given[1]}: one of thumb, stars and click, not several")
    if body.thumb is not None:
        message.thumb = _THUMBS[body.thumb]
    elif body.stars is not None:
        message.stars = body.stars
    elif body.click is not None:
        message.click = body.click
    return message
