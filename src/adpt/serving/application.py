"""The paths of a server: pictures to inspect, its health, its metrics, a page to drop one on."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adpt.inspection.outputs import Format
from adpt.page.render import render, script_of
from adpt.running.names import printable
from adpt.serving.metrics import CONTENT_TYPE
from adpt.serving.service import Service
from adpt.version import __version__

log = logging.getLogger(__name__)

Name = Annotated[str, Query(max_length=255, description="What the picture is called.")]
Heatmap = Annotated[Format | None, Query(description="Adds a heatmap, as a data URI.")]

_POLLED = ("/health", "/metrics")
_GONE = 499
"""Status of a request whose client went away; it goes to nobody."""


def application(service: Service) -> FastAPI:
    """The ASGI application around a service."""

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # FastAPI's own pages of documentation load scripts from elsewhere.
    # A redirect would lead past a proxy, to its plain HTTP, with picture and token.
    app = FastAPI(
        title="adpt", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
        lifespan=living,
    )  # fmt: skip
    app.add_middleware(_Noted, service=service)
    for kind, handler in (
        (StarletteHTTPException, _refused),
        (RequestValidationError, _invalid),
        (ClientDisconnect, _gone),
        (Exception, _failed),
    ):
        app.add_exception_handler(kind, handler)

    @app.post("/inspect")
    async def inspect(
        request: Request, product: str | None = None, name: Name = "", heatmap: Heatmap = None
    ) -> Response:
        _check_query(request, "product", "name", "heatmap")
        return await service.respond(request, product, name, heatmap)

    @app.post("/inspect/{product}")
    async def inspect_product(
        request: Request, product: str, name: Name = "", heatmap: Heatmap = None
    ) -> Response:
        _check_query(request, "name", "heatmap")
        return await service.respond(request, product, name, heatmap)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "adpt": __version__, "queue": service.inside}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        service.authorize(request)
        text = service.metrics.text(service.inside, service.limits.queue)
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    script, script_hash = script_of("serving.js")
    page = render(
        "serving.html.j2",
        title="Inspection",
        products=list(service.products),
        needs_token=service.needs_token,
        megabytes=service.limits.megabytes,
        script=script,
        script_hash=script_hash,
    )

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page)

    return app


class _Noted:
    """Counts every request and writes a line of each, without its query and headers."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()
        # Answered like GET; the socket's side leaves the body out.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(asked, receive, noting)
        finally:
            seconds, path = time.perf_counter() - start, scope["path"]
            self.service.metrics.requests[status] += 1
            told = asked.get("state", {}).get("told")
            if told is not None:
                self.service.metrics.took(seconds)
            client = (scope.get("client") or ("-",))[0]
            log.log(
                logging.DEBUG if path in _POLLED and status == 200 else logging.INFO,
                "%s %s %s %d %.0f ms%s",
                client,
                scope["method"],
                printable(path[:300]),
                status,
                1000 * seconds,
                f" {told}" if told else "",
            )


def _check_query(request: Request, *known: str) -> None:
    """Refuse what would be overlooked: a misspelt `heatmap` is no answer without one."""
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise HTTPException(
            400, f"{printable(unknown[0][:100])}: there is {', '.join(known)} to ask with."
        )


def _refused(_: Request, error: Any) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _invalid(_: Request, error: Any) -> Response:
    told = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
    return JSONResponse({"error": told}, 400)


def _gone(_: Request, error: Any) -> Response:
    return Response(status_code=_GONE)


def _failed(_: Request, error: Any) -> Response:
    return JSONResponse({"error": f"{type(error).__name__}; the server's log says more."}, 500)
