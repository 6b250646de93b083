"""Application: routes, errors and the description of the API."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from crossrank.errors import CrossrankError
from crossrank.serve.access.gate import Access
from crossrank.serve.engine.ranking import Ranking
from crossrank.serve.http.endpoint import AnyDialect, Endpoint
from crossrank.serve.http.errors import HttpError, error_response
from crossrank.serve.http.feedback import feedback_routes
from crossrank.serve.http.gate import Gate
from crossrank.serve.http.info import info_routes
from crossrank.serve.http.page import page_routes
from crossrank.serve.http.paths import CanonicalPaths
from crossrank.serve.http.routes import ROUTES
from crossrank.serve.rpc.feedback_service import FeedbackServicer
from crossrank.serve.rpc.runner import RpcRunner

# Seconds for each piece of an answer to be taken.
_SEND = 30.0


def build_app(
    ranking: Ranking, rpc: RpcRunner, access: Access, feedback: FeedbackServicer | None, healthy: Callable[[], bool]
) -> ASGIApp:
    """Builds the application.

    Args:
        ranking: what ranks and scores.
        rpc: counts and logs.
        access: what is asked of callers.
        feedback: None where nothing is kept.
        healthy: whether calls are answered.
    """
    app: FastAPI = FastAPIOffline(
        title="crossrank",
        version=version("crossrank"),
        description="Ranks documents for a query, in the dialects of rerank clients.",
        redoc_url=None,
        swagger_ui_oauth2_redirect_url="/docs/oauth2-redirect",
    )
    endpoint = Endpoint(ranking, rpc, strict_models=ranking.settings.strict_models)
    for path, (choose, dialects) in ROUTES.items():
        app.add_api_route(
            path,
            endpoint.route(choose),
            methods=["POST"],
            tags=["ranking"],
            summary=" or ".join(dict.fromkeys(_summary(dialect) for dialect in dialects)),
            openapi_extra={"requestBody": _described(dialects)},
        )
    app.include_router(info_routes(ranking, healthy))
    app.include_router(page_routes())
    if feedback is not None:
        app.include_router(feedback_routes(feedback, rpc))

    @app.get("/metrics", tags=["information"])
    async def metrics(request: Request) -> Response:
        """Counts and times for Prometheus."""
        content, kind = rpc.metrics.exposition(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": kind})

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return error_response(request, HttpError(error.status_code, f"{request.method}: {error.detail}"))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return error_response(request, CrossrankError("internal error"))

    return CanonicalPaths(Gate(app, access), _SEND)


def _summary(dialect: AnyDialect) -> str:
    return (type(dialect).__doc__ or "").splitlines()[0].rstrip(".")


def _described(dialects: tuple[AnyDialect, ...]) -> dict[str, Any]:
    """The bodies of a path, each with its own schema: FastAPI would read the body itself if it knew them."""
    schemas = [_inlined(dialect.body.model_json_schema()) for dialect in dialects]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references: those of pydantic would point into a document that is not there."""
    definitions = schema.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(item) for item in value]
        if not isinstance(value, dict):
            return value
        if reference := value.get("$ref"):
            name = reference.rpartition("/")[2]
            return {} if name == "JsonValue" else inline(definitions[name])
        return {key: inline(item) for key, item in value.items()}

    inlined: dict[str, Any] = inline(schema)
    return inlined
