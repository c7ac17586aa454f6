"""The second port: health for the kubelet, metrics and reservations for who may see them.

`/healthz` and `/readyz` need no token and tell nothing but "ok" or which watch is behind;
`/metrics` and `/reservations` are as the API server decides (`review.py`). FastAPI does here, far
from the scheduler's calls. Run by `service.py` in the same event loop.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from fairstow.cluster.errors import InputError
from fairstow.cluster.quantity import render
from fairstow.kube.problems import ApiError
from fairstow.packing.reservations import arrived
from scheduler_plugins import metrics
from scheduler_plugins.index import Index
from scheduler_plugins.review import Access, Reviewer

Next = Callable[[Request], Awaitable[Response]]

_OPEN = ("/healthz", "/readyz")


def application(
    index: Index,
    reviewer: Reviewer,
    *,
    unready: Callable[[], str],
    measure: Callable[[], None],
) -> FastAPI:
    """Return the application; `unready` says why we aren't ready, `measure` sets the gauges."""
    app = FastAPI(title="Fairstow scheduler extender", docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def authorized(request: Request, call_next: Next) -> Response:
        path = request.url.path
        if path in _OPEN:
            return await call_next(request)
        return await _refusal(reviewer, request, path) or await call_next(request)

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        return "ok"

    @app.get("/readyz")
    def readyz() -> PlainTextResponse:
        why = unready()
        return PlainTextResponse(why or "ok", 503 if why else 200)

    @app.get("/metrics")
    async def metrics_page() -> Response:
        measure()
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @app.get("/reservations")
    async def reservations() -> dict[str, Any]:
        return _reservations(index)

    return app


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


def _reservations(index: Index) -> dict[str, Any]:
    """Return what is kept now, plan by plan."""
    plans = []
    for plan in index.reservations.plans:
        filled, _ = arrived(plan, index.assumed)
        holds = [
            {
                "node": hold.node,
                "for": hold.beneficiary,
                "requests": {name: render(name, amount) for name, amount in hold.requests},
                "step": hold.step,
                "filled": hold in filled,
            }
            for hold in plan.holds
        ]
        plans.append({"name": plan.name, "uid": plan.plan, "step": plan.step, "holds": holds})
    return {"operatorAlive": index.operator.alive, "plans": plans}


class AdminServer(uvicorn.Server):
    """Uvicorn in our event loop: our certificates, and signals are ours."""

    def __init__(self, app: FastAPI, context: ssl.SSLContext) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=100,
            timeout_graceful_shutdown=2,
            ssl_context_factory=lambda _config, _default: context,
        )
        super().__init__(config)

    async def run_on(self, listener: socket.socket) -> None:
        """Serve until `should_exit` is set."""
        await self.serve(sockets=[listener])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
