"""Endpoint: takes an HTTP request through its dialect and the engine that serves gRPC too."""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crossrank.errors import Cancelled, CrossrankError, InvalidRequest, Overloaded, UnknownModel
from crossrank.serve.engine.ranking import Ranking
from crossrank.serve.http.body import parse_json, read_body
from crossrank.serve.http.dialects.dialect import Answer, Body, Dialect
from crossrank.serve.http.errors import error_response
from crossrank.serve.rpc.runner import RpcCall, RpcRunner
from crossrank.v1 import ranker_pb2

AnyDialect = Dialect[Any, Any, Any]
# Finds the dialect from the keys of a body and the headers.
Choose = Callable[[Mapping[str, Any], Mapping[str, str]], AnyDialect]

MODEL_HEADER = "x-crossrank-model"
TIMEOUT_HEADER = "x-request-timeout-ms"


class Endpoint:
    """Answers the POST requests of all dialects.

    Args:
        ranking: what ranks and scores.
        rpc: counts and logs.
        strict_models: whether a model that is not there is refused; else the default model answers.
    """

    def __init__(self, ranking: Ranking, rpc: RpcRunner, *, strict_models: bool) -> None:
        self._ranking = ranking
        self._rpc = rpc
        self._strict = strict_models

    def route(self, choose: Choose) -> Callable[[Request], Awaitable[Response]]:
        """The handler of one path."""

        async def handle(request: Request) -> Response:
            # What of a refused body still comes is not read to its end, which it may not have.
            whole = False
            try:
                seconds = _seconds(request.headers.get(TIMEOUT_HEADER))
                with self._rpc.observe(
                    "HTTP", lambda: None, request.headers.items, request.scope["route"].path
                ) as call:
                    raw = await self._body(request)
                    whole = True
                    with self._rpc.accepted(len(raw)):
                        return await _until_gone(request, self._answer(choose, raw, request, call, seconds))
            except CrossrankError as error:
                return error_response(request, error, close=not whole)

        return handle

    async def _body(self, request: Request) -> bytes:
        settings = self._ranking.settings
        with self._rpc.refusals("receiving"):
            return await read_body(
                request,
                self._rpc.receiver,
                max_bytes=settings.max_message_bytes,
                max_documents=settings.max_documents,
            )

    async def _answer(
        self, choose: Choose, raw: bytes, request: Request, call: RpcCall, seconds: float | None
    ) -> Response:
        with self._rpc.refusals("message"):
            given = parse_json(raw)
            dialect = choose(given, request.headers)
            try:
                body: Body = dialect.body.model_validate(given)
            except ValidationError as error:
                raise InvalidRequest(first_error(error)) from None
        try:
            message = dialect.request(body)
            message.model = self._model(message.model)
            with self._rpc.refusals("queue", Overloaded):
                response = await self._asked(message, call, seconds)
            if body.must_fit() and (cut := response.usage.truncated_documents):
                raise InvalidRequest(f"{dialect.field}: {cut} are too long; shorten them, or let them be truncated")
        except InvalidRequest as error:
            raise _in_words_of(dialect, body, error) from None
        content = dialect.answer(Answer(body, response, int(time.time())))
        try:
            return JSONResponse(content, headers={MODEL_HEADER: f"{response.model}@{response.version}"})
        except ValueError:
            # Reading takes 1e999 for infinity.
            raise InvalidRequest(f"{dialect.field}: hold a number that JSON cannot write; send smaller ones") from None

    async def _asked(
        self, message: ranker_pb2.RankRequest | ranker_pb2.ScoreRequest, call: RpcCall, seconds: float | None
    ) -> ranker_pb2.RankResponse | ranker_pb2.ScoreResponse:
        if isinstance(message, ranker_pb2.RankRequest):
            call.identify(message.request_id, len(message.documents))
            return await self._ranking.rank(message, call.identifier, seconds)
        call.identify(message.request_id, len(message.pairs))
        return await self._ranking.score(message, call.identifier, seconds)

    def _model(self, given: str) -> str:
        """The model that is asked for; the default one for the names of other vendors, which many clients fix."""
        if self._strict or not given:
            return given
        try:
            self._ranking.models.get(given)
        except UnknownModel:
            if given.partition("@")[0] in self._ranking.models.names():
                raise
            return ""
        return given


async def _until_gone(request: Request, answer: Awaitable[Response]) -> Response:
    """Ends the work of a client that hangs up."""
    working = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
        if working.cancelled():
            raise Cancelled("the caller went away")
        return working.result()
    finally:
        gone.cancel()
        working.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seconds(given: str | None) -> float | None:
    if given is None:
        return None
    try:
        seconds = float(given) / 1000
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequest(f"{TIMEOUT_HEADER}: is not a positive number of milliseconds")
    return seconds


def first_error(error: ValidationError) -> str:
    """The place and the message of the first error; never what was given."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return f"body: {first['msg']}"
    parts = [part for part in first["loc"] if isinstance(part, int) or re.fullmatch(r"\w+", part)]
    # The last part may name a branch of a union.
    if len(parts) > 1 and parts[-1] in ("str", "dict", "list"):
        parts.pop()
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
    return f"{place or 'body'}: {'is missing' if first['type'] == 'missing' else first['msg']}"


def _in_words_of(dialect: AnyDialect, body: Body, error: InvalidRequest) -> CrossrankError:
    """The error with the fields called as the client calls them."""
    text = str(error)
    if text.startswith("documents"):
        text = dialect.field + text.removeprefix("documents")
    elif text.startswith("max_length:"):
        text = body.length_field() + text.removeprefix("max_length")
    return body.refusal(text)
