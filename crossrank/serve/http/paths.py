"""Paths: what base URLs of clients make of a route becomes that route, without a redirect."""

import asyncio
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Anything may stand before these, and a base URL without its last slash runs into them.
_ROUTE = re.compile(
    r"/(?P<version>v[12]/?)?(?P<route>rerank|reranks|reranking|ranking|score)$"
    r"|/infinity/(?P<infinity>rerank)$"
    r"|/(?P<retrieval>v1/retrieval/.+/reranking)$"
)


def canonical_path(path: str) -> str:
    """The route that a path means.

    Double slashes and a last slash do not count, and a prefix of a rerank route does not either: LiteLLM asks for
    /v1/v2/rerank, LangChain4j for /v1rerank.
    """
    path = re.sub("/{2,}", "/", path)
    path = path.rstrip("/") or "/"
    found = _ROUTE.search(path)
    if found is None:
        return path
    if found["infinity"]:
        return "/infinity/rerank"
    if found["retrieval"]:
        return "/v1/ranking"
    version = (found["version"] or "").rstrip("/")
    return f"/{version}/{found['route']}" if version else f"/{found['route']}"


class CanonicalPaths:
    """Middleware that routes by `canonical_path`, and lets no reader of an answer take for ever.

    Args:
        app: what answers.
        seconds: for each piece of an answer.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            async with asyncio.timeout(self._seconds):
                await send(message)

        if scope["type"] == "http":
            scope = {**scope, "path": canonical_path(scope["path"])}
        await self._app(scope, receive, sent)
