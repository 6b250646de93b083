"""The page at `/`: plain files, no build and nothing from elsewhere."""

from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

HERE = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page_routes() -> APIRouter:
    """The page for browsers; for balancers that ask for `/`, an empty object."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def page(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return FileResponse(HERE / "index.html", headers=_HEADERS)
        return JSONResponse({})

    @routes.get("/page/{name}")
    async def part(name: Literal["page.css", "page.js"]) -> Response:
        return FileResponse(HERE / name, headers=_HEADERS)

    return routes
