"""The webhook's paths: from a body to the body that answers it.

Called by `serve`. Each path takes reviews of its own kinds and no others, within a size; whatever
goes wrong is a sentence that the API server shows to the user.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from controllers.webhook import metrics, queueing
from controllers.webhook.access import may_decide
from controllers.webhook.evicting import Serving, hold_back
from fairstow.api import SemanticCache
from fairstow.cluster import review
from fairstow.cluster.errors import InputError
from fairstow.cluster.review import MalformedError, Reply
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.packing.admission import advice, approvals, pods
from fairstow.packing.admission.world import World
from fairstow.semantic_cache import injection
from fairstow.serving import engine_pods, slot_carriers
from fairstow.spark.submitted import KINDS as KINDS_OF_SPARK

MAX_BODY = 8 << 20
"""Most bytes of a review: a plan before and after, 1.5 MiB each as the API server stores them."""

PLANS, POLICIES, PODS = "packingplans.fairstow.dev", "packingpolicies.fairstow.dev", "pods"
EVICTIONS = "pods/eviction"
SPARK = frozenset(
    {PODS, *(f"{each}.sparkoperator.k8s.io" for each in KINDS_OF_SPARK if each != PODS)}
)

Decide = Callable[[review.Request], Awaitable[Reply]]
log = structlog.get_logger(__name__)


class Known(Serving, queueing.Queues, Protocol):
    """Who knows the cluster."""

    def world(self) -> World:
        """Return what is known now."""

    def caches(self) -> list[SemanticCache]:
        """Return semantic caches; none where they aren't known."""


def build(api: Api, known: Known, helper_image: str = "") -> FastAPI:
    """Return the application. Args: helper_image: of what pods get beside them; "": nothing."""
    app = FastAPI(openapi_url=None)

    async def stamp(request: review.Request) -> Reply:
        return approvals.stamp(request)

    async def decisions(request: review.Request) -> Reply:
        question = approvals.question(request)
        if question is None:
            return Reply()
        allowed, said = await may_decide(api, question)
        judged = approvals.judge(request, question, allowed=allowed, said=said)
        if judged.denied or request.plural != PLANS:
            return judged
        return advice.advise_plan(request, known.world())

    async def advise(request: review.Request) -> Reply:
        if request.plural == PLANS:
            return advice.advise_plan(request, known.world())
        return advice.advise_policy(request, known.world())

    async def admit_pod(request: review.Request) -> Reply:
        return pods.admit_pod(request, known.world())

    async def hold(request: review.Request) -> Reply:
        return await hold_back(api, known, request)

    async def admit_engine(request: review.Request) -> Reply:
        if not helper_image:
            return Reply()
        pools, _ = known.serving()
        return engine_pods.admit(request, pools, helper_image, secrets.token_urlsafe(24))

    async def admit_carrier(request: review.Request) -> Reply:
        pools, _ = known.serving()
        return slot_carriers.admit(request, pools, helper_image) if helper_image else Reply()

    async def queue(request: review.Request) -> Reply:
        return await queueing.queue(api, known, request)

    async def executor(request: review.Request) -> Reply:
        return await queueing.executor(api, known, request)

    async def guard(request: review.Request) -> Reply:
        return await queueing.guard(api, request)

    async def admit_client(request: review.Request) -> Reply:
        return injection.admit(request, known.caches(), helper_image) if helper_image else Reply()

    paths: dict[str, tuple[frozenset[str], Decide]] = {
        "/stamp": (frozenset({PLANS}), stamp),
        "/decisions": (frozenset({PLANS, POLICIES}), decisions),
        "/advice": (frozenset({PLANS, POLICIES}), advise),
        "/pods": (frozenset({PODS}), admit_pod),
        "/engines": (frozenset({PODS}), admit_engine),
        "/slots": (frozenset({PODS}), admit_carrier),
        "/caches": (frozenset({PODS}), admit_client),
        "/evictions": (frozenset({EVICTIONS}), hold),
        "/spark/queue": (SPARK, queue),
        "/spark/executors": (frozenset({PODS}), executor),
        "/spark/guard": (SPARK, guard),
    }
    for path, (kinds, decide) in paths.items():
        app.add_api_route(path, _endpoint(kinds, decide), methods=["POST"])

    return app


def _endpoint(kinds: frozenset[str], decide: Decide) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(http: Request) -> Response:
        path, began = http.url.path, time.perf_counter()
        outcome, response = await _answer(http, kinds, decide)
        metrics.REVIEWS.labels(path, outcome).inc()
        metrics.REVIEW_SECONDS.labels(path).observe(time.perf_counter() - began)
        return response

    return endpoint


async def _answer(http: Request, kinds: frozenset[str], decide: Decide) -> tuple[str, Response]:
    """Return the outcome as metrics call it, and the response."""
    path = http.url.path
    try:
        body = await _body(http)
    except ClientDisconnect:
        return "refused", _problem(400, "the request broke off")
    if body is None:
        return "refused", _problem(413, f"a review has at most {MAX_BODY:,} bytes")
    try:
        request = review.read(body)
        if request.plural not in kinds:
            return "refused", _problem(400, f"{path} takes no reviews of {request.plural}")
        name, reply = review.name_of(request), await decide(request)
    except MalformedError as error:
        return "refused", _problem(400, str(error))
    except (ApiError, InputError) as error:
        log.error("can't decide", path=path, error=str(error))
        return "failed", _problem(500, f"can't ask the API server: {error}")
    outcome = "denied" if reply.denied else "warned" if reply.warnings else "allowed"
    log.info(
        "reviewed",
        path=path,
        operation=request.operation,
        name=name,
        user=request.user_info.username,
        outcome=outcome,
    )
    return outcome, Response(review.write(request, reply), media_type="application/json")


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
