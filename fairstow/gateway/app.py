"""The gateway's ASGI application: OpenAI's paths, from a client's bytes to a client's bytes.

A request passes these steps; each may end it with an error in OpenAI's shape:

1. whose key is it, and may that tenant ask now (tenants);
2. what is asked for (serving.requests); a priority within the key's;
3. is there an engine of that model; requests wait while they come up;
4. movable: its prompt's ids from the engine's own template, then a stream (streams) whose record
   becomes the answer (openai.answers). Pinned: passed on as it is (forwarding).

Raw ASGI, since frameworks cost more than all of this together; started by `service`.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from fairstow.gateway import metrics
from fairstow.gateway.accounting import CLIENT_LEFT, Told
from fairstow.gateway.dispatching import Ticket
from fairstow.gateway.fleet import Instance
from fairstow.gateway.forwarding import forward, view_of
from fairstow.gateway.generating import Generation, answer_of, parts, prompt, sampling
from fairstow.gateway.loaded import Loaded
from fairstow.gateway.openai.responses import failed
from fairstow.gateway.parsed import ParsedGeneration, Parsers, unmovable
from fairstow.gateway.streams import Pool, Stream
from fairstow.gateway.tenants import LimitError, Tenant, Tenants
from fairstow.gateway.tracing import NO_TRACES, Traces
from fairstow.gateway.urgency import Urgency, urgency
from fairstow.gateway.usage import SharedUsage
from fairstow.serving import prefixes
from fairstow.serving.model import RequestView
from fairstow.serving.requests import Asked, Endpoint, Refusal, read
from fairstow.web.errors import ApiError
from fairstow.web.exchange import (
    MOST_BODIES,
    STALL_SECONDS,
    Bodies,
    ClientLeftError,
    Exchange,
    Receive,
    Scope,
    Send,
)

EMBEDDING_FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """What bounds a request.

    Attributes:
        longest_body: in bytes.
        keep_alive: seconds after which a silent stream says that it lives.
    """

    longest_body: int = 10 << 20
    keep_alive: float = 10.0


class Gateway:
    """The application.

    Attributes:
        streams: movable requests, by id; `pinned` the others.
        asking: requests that wait for an engine to tell their tokens.
        usage: what tenants use here and at the pool's other gateways.
        ending: no new requests are taken.
    """

    def __init__(
        self,
        pool: Pool,
        tenants: Tenants,
        secret: bytes,
        limits: Limits = Limits(),
        traces: Traces = NO_TRACES,
    ) -> None:
        self.pool = pool
        self.fleet, self.dispatcher = pool.fleet, pool.dispatcher
        self.tenants = tenants
        self.usage = SharedUsage(secret)
        self.limits = limits
        self.traces = traces
        self._routes = self._routed()
        self.streams: dict[str, Stream] = {}
        self.pinned: dict[str, tuple[RequestView, str]] = {}
        self.asking = 0
        self.ending = False
        self._last_word: ApiError | None = None
        self._secret = secret
        self._parsers = Parsers(self.fleet)
        self._loaded = Loaded(self.fleet, self.dispatcher, time.monotonic)
        self._bodies = Bodies(max(MOST_BODIES, limits.longest_body))
        self._exchanges: dict[Exchange, asyncio.Task[Any] | None] = {}
        self._came = asyncio.Event()
        self.fleet.changed = self._fleet_changed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        limits = self.limits
        exchange = Exchange(
            scope,
            receive,
            send,
            keep_alive=limits.keep_alive,
            longest=limits.longest_body,
            bodies=self._bodies,
        )
        told, began = Told(), time.monotonic()
        name = exchange.path if exchange.path in self._routes else "other"
        exchange.trace = self.traces.begin(name, exchange.header(b"traceparent"))
        told.trace = exchange.trace.id
        self._exchanges[exchange] = asyncio.current_task()
        try:
            await self._answer(exchange, told)
        except ApiError as error:
            told.status = error.status
            await _last_words(exchange, error)
        except ClientLeftError:
            told.status = CLIENT_LEFT
        except asyncio.CancelledError:
            told.status = CLIENT_LEFT
            if self._last_word is not None:
                told.status = self._last_word.status
                await _last_words(exchange, self._last_word)
        except Exception:
            log.exception("a request failed by a fault of ours")
            told.status = 500
            await _last_words(exchange, ApiError(500, "The gateway failed; please tell us."))
        finally:
            del self._exchanges[exchange]
            exchange.close()
            told.status = told.status or exchange.status
            told.ended(time.monotonic() - began)
            exchange.trace.end(
                route=told.endpoint,
                status=told.status,
                tenant=told.tenant,
                prompt=told.prompt,
                generated=told.generated,
                pinned=told.pinned,
                moves=told.moves,
                legs=told.legs,
            )

    def fail_all(self, error: ApiError) -> None:
        """End all requests with an error."""
        self._last_word = error
        for task in self._exchanges.values():
            if task is not None:
                task.cancel()

    async def drop_stalled(self) -> None:
        """Drop clients that have taken nothing for long; runs until cancelled."""
        before: dict[Exchange, int] = {}
        while True:
            await asyncio.sleep(STALL_SECONDS)
            for exchange in list(self._exchanges):
                # A timer for each part that is sent would cost more than it.
                if exchange.sending and before.get(exchange) == exchange.taken:
                    exchange.drop()
            before = {each: each.taken for each in self._exchanges if each.sending}

    async def keep_alive(self) -> None:
        """Let silent streams say that they live; runs until cancelled."""
        pause = self.limits.keep_alive
        while True:
            await asyncio.sleep(pause / 4)
            now = asyncio.get_running_loop().time()
            for stream in self.streams.values():
                if now - max(stream.spoke, stream.poked) >= pause:
                    stream.poked = now
                    stream.outbox.poke()

    async def _answer(self, exchange: Exchange, told: Told) -> None:
        route = self._routes.get(exchange.path)
        if route is None:
            raise ApiError(404, f"Unknown path {exchange.path[:200]}.", code="unknown_url")
        method, handler = route
        told.endpoint = exchange.path
        if exchange.method != method:
            raise ApiError(405, f"{exchange.path} takes {method}.")
        tenant = await self.tenants.find(exchange.header(b"authorization") or "")
        told.tenant = tenant.name
        exchange.late = self._loaded.head
        if self.ending:
            raise ApiError(503, "This gateway is shutting down.", retry_after=1)
        await handler(exchange, told, tenant)

    def _routed(
        self,
    ) -> Mapping[str, tuple[str, Callable[[Exchange, Told, Tenant], Awaitable[None]]]]:
        return {
            "/v1/chat/completions": ("POST", self._generate),
            "/v1/completions": ("POST", self._generate),
            "/v1/responses": ("POST", self._generate),
            "/v1/embeddings": ("POST", self._embed),
            "/v1/models": ("GET", self._models),
        }

    async def _models(self, exchange: Exchange, _told: Told, _tenant: Tenant) -> None:
        found = sorted({each.facts.model for each in self.fleet.answering() if each.facts})
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "fairstow"} for name in found
        ]
        await exchange.answer(msgspec.json.encode({"object": "list", "data": data}))

    async def _generate(self, exchange: Exchange, told: Told, tenant: Tenant) -> None:
        urgent = urgency(exchange.header, tenant)
        tenant.enter()
        try:
            body = _json(await exchange.body())
            endpoint = Endpoint(exchange.path)
            asked = read(endpoint, body)
            if isinstance(asked, Refusal):
                raise ApiError(400, asked.message, param=asked.param)
            del body
            exchange.streaming = asked.stream
            if endpoint is Endpoint.RESPONSES:
                exchange.failing = failed
            self.dispatcher.check_room(self.asking)
            if asked.ignored:
                exchange.extra.append((b"x-fairstow-ignored", _header(asked.ignored)))
            if asked.pinned:
                told.pinned = asked.pinned[0]
                await self._forward(exchange, told, tenant, urgent, asked.body)
            else:
                await self._stream(exchange, told, tenant, urgent, asked)
        finally:
            tenant.leave(told.prompt + told.generated)

    async def _embed(self, exchange: Exchange, told: Told, tenant: Tenant) -> None:
        urgent = urgency(exchange.header, tenant)
        tenant.enter()
        try:
            body = _json(await exchange.body())
            if not isinstance(body, dict) or not isinstance(body.get("model"), str):
                raise ApiError(400, "model is missing.", param="model")
            if body.get("input") is None:
                raise ApiError(400, "input is missing.", param="input")
            told.pinned = "embeddings end by themselves"
            passed = {name: body[name] for name in EMBEDDING_FIELDS & body.keys()}
            await self._forward(exchange, told, tenant, urgent, passed)
        finally:
            tenant.leave(told.prompt)

    async def _stream(
        self, exchange: Exchange, told: Told, tenant: Tenant, urgent: Urgency, asked: Asked
    ) -> None:
        began = time.monotonic()
        found = prompt(self.fleet, self._serving, asked)
        self.asking += 1
        try:
            instance, rendered = await exchange.kept_alive(found)
        finally:
            self.asking -= 1
        able = instance.facts is not None and instance.facts.parses
        if (why := unmovable(asked, rendered, able=able)) or rendered is None:
            told.pinned = why
            await self._forward(exchange, told, tenant, urgent, asked.body)
            return
        view, record = parts(asked, instance, rendered.tokens, tenant.name, urgent)
        salt = self._salt(tenant)
        if self.dispatcher.policy.prefixes:
            view.keys = prefixes.keys(record.prompt, salt)
        stream = self.streams[view.id] = Stream(
            self.pool,
            view,
            record,
            sampling(asked, rendered, view.limit),
            salt=salt,
            weight=tenant.weight,
            done=self._done,
            trace=exchange.trace,
        )
        if able and (asked.parsed or rendered.reasons):
            parsed = ParsedGeneration(exchange, told, asked, began, self._parsers)
            await parsed.run(stream, answer_of(asked, instance))
        else:
            await Generation(exchange, told, asked, began).run(stream, answer_of(asked, instance))

    async def _forward(
        self,
        exchange: Exchange,
        told: Told,
        tenant: Tenant,
        urgent: Urgency,
        body: Mapping[str, Any],
    ) -> None:
        metrics.PINNED.labels(tenant.name).inc()
        view = view_of(body, tenant.name)
        urgent.mark(view)
        self.pinned[view.id] = (view, told.pinned)

        async def place() -> Instance:
            engine = (await self._serving(str(body["model"]))).place.view
            view.compatibility = engine.compatibility
            # Only the engine knows how long it is: a guess may not keep it from being asked.
            most = engine.capacity - engine.block - view.limit
            view.prompt = max(0, min(view.prompt, most))
            return await self._placed(view, tenant.weight)

        try:
            await forward(exchange, self.fleet, place, view, body, self._salt(tenant))
        finally:
            del self.pinned[view.id]
            told.prompt, told.generated = view.prompt, view.generated

    async def _placed(self, view: RequestView, weight: float) -> Instance:
        """Wait for a place in the queue's order."""
        found: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()

        def placed(instance: Instance) -> None:
            if found.done():
                instance.place.remove(view)
            else:
                found.set_result(instance)

        ticket: Ticket = self.dispatcher.enter(view, weight, placed)
        try:
            return await found
        finally:
            self.dispatcher.leave(ticket)

    async def _serving(self, model: str) -> Instance:
        """Wait for an engine of a model. Raises ApiError where others serve other models only."""
        while True:
            known = self.fleet.answering()
            if known and all(each.facts and each.facts.model != model for each in known):
                raise ApiError(
                    404,
                    f"The model {model[:200]!r} isn't served here; see /v1/models.",
                    code="model_not_found",
                    param="model",
                )
            able = [each for each in self.fleet.serving() if each.facts]
            able = [each for each in able if each.facts and each.facts.model == model]
            if able:
                return min(able, key=lambda each: len(each.place))
            self._came.clear()
            await self._came.wait()

    def _fleet_changed(self) -> None:
        self._came.set()
        self.dispatcher.fleet_changed()

    def _done(self, stream: Stream) -> None:
        self.streams.pop(stream.view.id, None)
        if stream.record.finish is not None:
            self.dispatcher.outputs.append(len(stream.record.generated))
        self.dispatcher.look()

    def _salt(self, tenant: Tenant) -> str:
        return hmac.new(self._secret, tenant.name.encode(), "sha256").hexdigest()[:32]


async def _last_words(exchange: Exchange, error: ApiError) -> None:
    if isinstance(error, LimitError):
        metrics.REFUSED.labels("", error.limit).inc()
    begun = exchange.streaming and bool(exchange.status)
    try:
        await exchange.fail(error)
        if begun:
            metrics.CUT.inc()
    except ClientLeftError:
        return


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "The body isn't JSON, or nests too deep.") from None


def _header(names: Sequence[str]) -> bytes:
    """Return names that a client invented as what a header may hold."""
    text = ",".join(names)[:500]
    return "".join(c if " " <= c <= "~" else "?" for c in text).encode()
