"""The port beside a program's work: health for the kubelet, metrics for who may see them.

`/healthz` and `/readyz` need no token and tell nothing but "ok" or what is amiss; everything else
is as the API server decides (`review`). Used by the operator, the webhook and the extender.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from fairstow.cluster.errors import InputError
from fairstow.kube.connections import bounded
from fairstow.kube.loop_server import LoopServer
from fairstow.kube.problems import ApiError
from fairstow.kube.review import Access, Reviewer

Next = Callable[[Request], Awaitable[Response]]

MOST_CONNECTIONS = 100

_OPEN = ("/healthz", "/readyz")


def _nothing() -> None:
    """Measure nothing."""


def _alive() -> str:
    """Live as long as there are answers."""
    return ""


def application(
    title: str,
    reviewer: Reviewer,
    registry: CollectorRegistry,
    *,
    unready: Callable[[], str],
    dead: Callable[[], str] = _alive,
    measure: Callable[[], None] = _nothing,
) -> FastAPI:
    """Return the application.

    Args:
        title: its name.
        reviewer: knows who may read metrics.
        registry: has them.
        unready: says why the program isn't ready, "" if it is.
        dead: says why it is to be started anew, "" if it isn't.
        measure: sets gauges before they are read.
    """
    app = FastAPI(title=title, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def authorized(request: Request, call_next: Next) -> Response:
        path = request.url.path
        if path in _OPEN:
            return await call_next(request)
        return await _refusal(reviewer, request, path) or await call_next(request)

    @app.get("/healthz")
    async def healthz() -> Response:
        return _state(dead())

    @app.get("/readyz")
    async def readyz() -> Response:
        return _state(unready())

    @app.get("/metrics")
    async def metrics_page() -> Response:
        measure()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _state(trouble: str) -> Response:
    return PlainTextResponse(trouble or "ok", 503 if trouble else 200)


async def _refusal(reviewer: Reviewer, request: Request, path: str) -> Response | None:
    """Return what a request is told that isn't let in; None if it is."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return _said(401, "Send a ServiceAccount's token: Authorization: Bearer …")
    try:
        answer = await reviewer.review(token.strip(), path)
    except (ApiError, InputError) as error:
        return _said(503, f"The API server can't be asked whose token that is: {error}")
    match answer.access:
        case Access.UNKNOWN_USER:
            return _said(401, "The API server doesn't know that token.")
        case Access.FORBIDDEN:
            return _said(
                403,
                f"{answer.user} may not get {path}: grant it by a ClusterRole with "
                f"nonResourceURLs: [{path}], verbs: [get].",
            )
    return None


def _said(status: int, sentence: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse({"error": sentence}, status, headers)


class AdminServer(LoopServer):
    """The port's server: with few connections, and soon gone."""

    def __init__(self, app: FastAPI, context: ssl.SSLContext) -> None:
        super().__init__(app, context, http=bounded(MOST_CONNECTIONS), timeout_graceful_shutdown=2)

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until `should_exit` is set."""
        await self.serve(sockets=[listener])
