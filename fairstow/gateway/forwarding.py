"""Requests that can't be moved: passed to one engine as they are, but for what is the gateway's.

As long as the client has got no byte, an engine that fails is replaced by another. After that the
stream ends with an error in OpenAI's shape and without [DONE]: what an engine keeps to itself (a
grammar's state, several choices) nobody else can go on with.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from fairstow.gateway import guessing
from fairstow.gateway.engines.protocol import EngineError, Reply
from fairstow.gateway.fleet import Fleet, Instance
from fairstow.serving.model import RequestView
from fairstow.web.errors import ApiError
from fairstow.web.exchange import Exchange

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
ATTEMPTS = 3
_LONGEST_ERROR = 1 << 16

log = structlog.get_logger(__name__)


def view_of(body: Mapping[str, Any], tenant: str) -> RequestView:
    """Return what policies see of a request that nobody has tokenised."""
    return RequestView(
        id=secrets.token_hex(12),
        prompt=guessing.tokens(body),
        limit=int(next((body[name] for name in _LIMITS if body.get(name)), 256)),
        arrived=time.monotonic(),
        tenant=tenant,
        movable=False,
    )


async def forward(
    exchange: Exchange,
    fleet: Fleet,
    place: Callable[[], Awaitable[Instance]],
    view: RequestView,
    body: Mapping[str, Any],
    salt: str,
) -> None:
    """Pass a request on and its answer back. `place` waits for an engine, again after a failure."""
    for attempt in range(ATTEMPTS):
        waits = exchange.trace.span("queue")
        try:
            instance = await exchange.kept_alive(_placed(place))
        finally:
            waits.end()
        leg = exchange.trace.span("leg", engine=instance.name, pinned=True)
        leg.enter()
        try:
            await exchange.kept_alive(_ask(exchange, instance, view, body, salt))
            return
        except EngineError as error:
            log.warning("forwarding broke", engine=instance.name, problem=str(error))
            fleet.suspect(instance)
            if exchange.sent:
                raise ApiError(
                    502, "The model's server broke off, and this request can't go on elsewhere."
                ) from error
            if attempt == ATTEMPTS - 1:
                raise ApiError(502, "The model's server failed several times.") from error
        finally:
            leg.end(tokens_after=view.prompt + view.generated)
            instance.place.remove(view)


async def _ask(
    exchange: Exchange, instance: Instance, view: RequestView, body: Mapping[str, Any], salt: str
) -> None:
    asked = instance.engine.forward(exchange.path, body, salt=salt, priority=view.priority)
    async with asked as reply:
        if reply.status >= 500:
            raise EngineError(reply.status, "it answered so")
        await _pass(exchange, instance, view, reply)


async def _placed(place: Callable[[], Awaitable[Instance]]) -> Instance:
    return await place()


async def _pass(exchange: Exchange, instance: Instance, view: RequestView, reply: Reply) -> None:
    if reply.status >= 400:
        raise await _refused(reply)
    kind = reply.headers.get("content-type", "application/json")
    if exchange.streaming and kind.startswith("text/event-stream"):
        async for data in reply.body():
            instance.place.spoke(view, data.count(b"\ndata:") + data.startswith(b"data:"))
            exchange.sent = True
            await exchange.stream(data)
        await exchange.stream(b"", last=True)
        return
    # Kept until it is whole: an answer that breaks off can still come from another engine.
    parts = [data async for data in reply.body()]
    exchange.sent = True
    await exchange.answer(b"".join(parts), reply.status)


async def _refused(reply: Reply) -> ApiError:
    """Return an engine's refusal, in its own words where they are meant for clients."""
    said = b""
    async for data in reply.body():
        said = (said + data)[:_LONGEST_ERROR]
    try:
        message = msgspec.json.decode(said)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = None
    status = reply.status if reply.status in (400, 404, 413, 422, 429) else 502
    if status == 502 or not isinstance(message, str):
        message = "The model's server refuses this request."
    return ApiError(status, message)
