"""Gate of the HTTP port: asks every request for its key, but for what is open."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from crossrank.errors import Unauthenticated
from crossrank.serve.access.gate import CALLER, Access
from crossrank.serve.http.errors import error_response
from crossrank.serve.settings import Guarded

_OPEN: dict[str, Guarded] = {
    "/health": "health",
    "/ping": "health",
    "/.well-known/ready": "health",
    "/.well-known/live": "health",
    "/metrics": "metrics",
    "/info": "info",
    "/meta": "info",
    "/": "docs",
    "/page/page.css": "docs",
    "/page/page.js": "docs",
    "/docs": "docs",
    "/openapi.json": "docs",
}


class Gate:
    """Middleware that asks for keys; behind `CanonicalPaths`, whose paths it reads.

    Args:
        app: what answers.
        access: what is asked.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._asks(scope["method"], scope["path"]):
            # Of several headers of a name the first counts.
            headers = dict(reversed(Headers(scope=scope).items()))
            try:
                CALLER.set(self._access.keys.caller(headers))
            except Unauthenticated as error:
                await error_response(Request(scope), error, close=True)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _asks(self, method: str, path: str) -> bool:
        if method not in ("GET", "HEAD"):
            return True
        part = "docs" if path.startswith("/static-offline-docs/") else _OPEN.get(path)
        return part is None or part in self._access.guarded
