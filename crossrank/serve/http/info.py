"""What clients and balancers ask before they rank: health, models, TEI's info, Weaviate's probes."""

import time
from collections.abc import Callable
from enum import Enum
from importlib.metadata import version

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crossrank.errors import CrossrankError, UnknownModel
from crossrank.serve.engine.ranking import Ranking
from crossrank.serve.http.errors import error_response
from crossrank.v1 import ranker_pb2

_TAGS: list[str | Enum] = ["information"]


def info_routes(ranking: Ranking, healthy: Callable[[], bool]) -> APIRouter:
    """The GET routes.

    Args:
        ranking: its models and limits are told.
        healthy: whether calls are answered.
    """
    routes = APIRouter()
    started = int(time.time())

    def status(ok: int) -> Response:
        return Response(status_code=ok) if healthy() else JSONResponse({}, 503, {"Retry-After": "1"})

    def described(model: ranker_pb2.Model) -> dict[str, object]:
        return {
            "id": model.name,
            "object": "model",
            "created": started,
            "owned_by": "crossrank",
            "model_type": "rerank",
            "version": model.version,
            "max_length": model.max_length,
        }

    @routes.api_route("/health", methods=["GET", "HEAD"], tags=_TAGS)
    @routes.api_route("/ping", methods=["GET", "HEAD"], tags=_TAGS)
    async def health() -> Response:
        """200 while calls are answered, else 503."""
        return status(200)

    @routes.get("/.well-known/ready", tags=_TAGS)
    async def ready() -> Response:
        """204 while calls are answered, else 503."""
        return status(204)

    @routes.get("/.well-known/live", tags=_TAGS)
    async def live() -> Response:
        """204."""
        return Response(status_code=204)

    @routes.get("/meta", tags=_TAGS)
    async def meta() -> JSONResponse:
        """The default model, for Weaviate."""
        models = ranking.models.describe()
        return JSONResponse({"model": models[0].name if models else None, "version": version("crossrank")})

    @routes.get("/info", tags=_TAGS)
    async def info(request: Request) -> JSONResponse:
        """The default model and the limits, as text-embeddings-inference tells them."""
        try:
            ranking.models.require_loaded()
        except CrossrankError as error:
            return error_response(request, error)
        model, settings = ranking.models.describe()[0], ranking.settings
        return JSONResponse(
            {
                "model_id": model.name,
                "model_sha": model.version,
                "model_dtype": model.precision,
                "served_model_name": model.name,
                "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
                "max_concurrent_requests": settings.max_requests_in_flight,
                "max_input_length": model.max_length,
                "max_batch_tokens": settings.max_queued_tokens,
                "max_batch_requests": None,
                "max_client_batch_size": settings.max_documents,
                "auto_truncate": True,
                "tokenization_workers": 1,
                "version": version("crossrank"),
                "sha": None,
                "docker_label": None,
            }
        )

    @routes.get("/v1/models", tags=_TAGS)
    @routes.get("/models", tags=_TAGS)
    async def models() -> JSONResponse:
        """The models of this server, the default one first."""
        return JSONResponse({"object": "list", "data": [described(model) for model in ranking.models.describe()]})

    @routes.get("/v1/models/{name:path}", tags=_TAGS)
    async def model(name: str, request: Request) -> JSONResponse:
        """One model."""
        for one in ranking.models.describe():
            if name in (one.name, f"{one.name}@{one.version}"):
                return JSONResponse(described(one))
        return error_response(request, UnknownModel("model: is not one of this server"))

    @routes.get("/v1/cluster/auth", include_in_schema=False)
    async def cluster_auth() -> JSONResponse:
        return JSONResponse({"auth": False})

    return routes
