"""The webhook's paths: from a body to the body that answers it.

Called by `serve`. Each path takes reviews of its own kinds and no others, within a size; whatever
goes wrong is a sentence that the API server shows to the user.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog
from fastapi import FastAPI, Request, Response

from controllers.webhook.access import may_decide
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.packing.admission import advice, approvals, pods, review
from fairstow.packing.admission.review import Reply
from fairstow.packing.admission.world import World

MAX_BODY = 8 << 20
"""Most bytes of a review: a plan before and after, 1.5 MiB each as the API server stores them."""

PLANS, POLICIES, PODS = "packingplans.fairstow.dev", "packingpolicies.fairstow.dev", "pods"

Decide = Callable[[review.Request], Awaitable[Reply]]
log = structlog.get_logger(__name__)


class Known(Protocol):
    """Who knows the cluster."""

    def world(self) -> World:
        """Return what is known now."""


class Readiness:
    """Whether requests are welcome. Attributes: draining: about to end."""

    draining = False


def build(api: Api, known: Known, readiness: Readiness) -> FastAPI:
    """Return the application."""
    app = FastAPI(openapi_url=None)

    async def stamp(request: review.Request) -> Reply:
        return approvals.stamp(request)

    async def decisions(request: review.Request) -> Reply:
        question = approvals.question(request)
        if question is None:
            return Reply()
        allowed, said = await may_decide(api, question)
        judged = approvals.judge(request, allowed=allowed, said=said)
        return judged if judged.denied else advice.advise_plan(request, known.world())

    async def advise(request: review.Request) -> Reply:
        if request.plural == PLANS:
            return advice.advise_plan(request, known.world())
        return advice.advise_policy(request, known.world())

    async def admit_pod(request: review.Request) -> Reply:
        return pods.admit_pod(request, known.world())

    paths: dict[str, tuple[frozenset[str], Decide]] = {
        "/stamp": (frozenset({PLANS}), stamp),
        "/decisions": (frozenset({PLANS}), decisions),
        "/advice": (frozenset({PLANS, POLICIES}), advise),
        "/pods": (frozenset({PODS}), admit_pod),
    }
    for path, (kinds, decide) in paths.items():
        app.add_api_route(path, _endpoint(kinds, decide), methods=["POST"])

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response("ok\n")

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response("draining\n", 503) if readiness.draining else Response("ok\n")

    return app


def _endpoint(kinds: frozenset[str], decide: Decide) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(http: Request) -> Response:
        began = time.perf_counter()
        body = await _body(http)
        if body is None:
            return _problem(413, f"a review has at most {MAX_BODY:,} bytes")
        try:
            request = review.read(body)
        except InputError as error:
            return _problem(400, str(error))
        if request.plural not in kinds:
            return _problem(400, f"{http.url.path} takes no reviews of {request.plural}")
        try:
            reply = await decide(request)
        except (ApiError, InputError) as error:
            log.error("can't decide", path=http.url.path, error=str(error))
            return _problem(500, f"can't ask the API server: {error}")
        log.info(
            "reviewed",
            path=http.url.path,
            operation=request.operation,
            name=review.name_of(request),
            user=request.user_info.username,
            allowed=not reply.denied,
            warnings=len(reply.warnings),
            seconds=round(time.perf_counter() - began, 4),
        )
        return Response(review.write(request, reply), media_type="application/json")

    return endpoint


async def _body(http: Request) -> bytes | None:
    """Return the body, None if it is too large."""
    parts, size = [], 0
    async for part in http.stream():
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


def _problem(status: int, message: str) -> Response:
    return Response(
        msgspec.json.encode({"message": message}), status, media_type="application/json"
    )
