"""The sidecar's ASGI application: OpenAI's API, passed on or answered from the cache.

1. Is it a chat or a completion, in a body of JSON that isn't too long? All else is passed on as it
   is, and so is everything until the cache is ready, or while too many bodies are held.
2. Who asks, what, in which category, how far may it be looked up (`memory.asked`).
3. Look it up (`memory.look_up`), bounded in time; a hit is told in the form that was asked for.
4. Otherwise ask the upstream, once for all who ask the same meanwhile (`flights`); keep what may
   be kept. Its errors pass unchanged; an answer that stops short is cut short for the client too.

Raw ASGI like the gateway's, for the same reason. Started by `service`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, closing
from typing import Any

import msgspec
import structlog

from fairstow.cache_sidecar import answers, metrics
from fairstow.cache_sidecar.answers import Form, Hearing, NotKeptError
from fairstow.cache_sidecar.asked import Asked
from fairstow.cache_sidecar.callers import Callers
from fairstow.cache_sidecar.exchange import Passing
from fairstow.cache_sidecar.flights import Flight, Reply
from fairstow.cache_sidecar.labelling import Watched
from fairstow.cache_sidecar.memory import Found, Memory
from fairstow.cache_sidecar.upstream import Upstream, UpstreamError
from fairstow.semantic_cache.decision import Mode, Outcome, Verdict
from fairstow.semantic_cache.identity import Caller
from fairstow.serving.requests import Endpoint
from fairstow.web.errors import ApiError
from fairstow.web.exchange import Bodies, ClientLeftError, Receive, Scope, Send

CACHED = {each.value: each for each in (Endpoint.CHAT, Endpoint.COMPLETIONS)}
_KINDS = {Form.WHOLE: "application/json"}
_STREAM = "text/event-stream"

log = structlog.get_logger(__name__)

_REASK_SECONDS = 300.0
MOST_BODIES = MOST_HEARD = 64 << 20
"""Bytes of requests that are looked at, and of answers on their way; beyond, they only pass."""

Key = tuple[str, str, Form]


class Sidecar:
    """See the module. Attributes: memory: None until the cache is ready."""

    def __init__(self, upstream: Upstream, callers: Callers) -> None:
        self.memory: Memory | None = None
        self.callers = callers
        self._upstream = upstream
        self._bodies, self._heard = Bodies(MOST_BODIES), Bodies(MOST_HEARD)
        self._flights: dict[Key, Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._aside: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return len(self._tasks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Passing(scope, receive, send, self._bodies)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        exchange.on_gone = lambda: _cancel(task)
        try:
            await self._answer(exchange)
        except ApiError as error:
            await _fail(exchange, error)
        except UpstreamError as error:
            log.warning("the upstream failed", problem=str(error))
            await _fail(exchange, ApiError(502, "The upstream can't be reached, or broke off."))
        except ClientLeftError:
            pass
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
        except Exception:
            log.exception("a request failed by a fault of ours")
            await _fail(exchange, ApiError(500, "The cache failed; please tell us."))
        finally:
            self._tasks.discard(task)
            exchange.close()

    def end_all(self) -> None:
        """End all requests, the cut way."""
        for task in self._tasks:
            task.cancel()

    def end_aside(self) -> None:
        """End what no client waits for."""
        for task in self._aside:
            task.cancel()

    async def _answer(self, exchange: Passing) -> None:
        endpoint = CACHED.get(exchange.path)
        memory = self.memory
        if endpoint is None or exchange.method != "POST" or exchange.query or memory is None:
            await self._pass(exchange, _body(exchange))
            return
        data, whole = await exchange.up_to(memory.rules.said.longest_body)
        caller = self.callers.of(exchange.headers)
        if not whole:
            await self._pass(exchange, exchange.all_of(data), caller)
            return
        asked = self.asked(memory, exchange, endpoint, data, caller)
        if asked is None or caller is None:
            exchange.extra = [(b"x-cache", Outcome.BYPASS.value.encode())]
            await self._pass(exchange, data, caller)
            return
        found = await memory.look_up(asked)
        exchange.extra = told(found.verdict)
        if found.answer is not None:
            if found.watched is not None:
                self._look_into(exchange, memory, asked, data, caller, found.watched)
            await _replay(exchange, found, asked.form)
        elif asked.said.only_if_cached:
            raise ApiError(504, "There is no such answer in the cache.", code="not_cached")
        elif found.verdict.store:
            await self._fly(exchange, memory, asked, data, caller, found)
        else:
            await self._pass(exchange, data, caller)

    def asked(
        self,
        memory: Memory,
        exchange: Passing,
        endpoint: Endpoint,
        data: bytes,
        caller: Caller | None,
    ) -> Asked | None:
        """Return a request as the cache sees it; None where it can't be cached."""
        if caller is None:
            return None
        try:
            body = msgspec.json.decode(data, type=dict[str, Any])
            form = answers.wanted(body)
            if form is None:
                return None
            return memory.asked(
                endpoint,
                body,
                form,
                caller,
                exchange.header,
                trusted=self.callers.trusted(caller),
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None  # the upstream says what is wrong with it
        except Exception:
            log.exception("a request couldn't be read")
            metrics.FAILED_OPEN.labels("fault").inc()
            return None

    async def _pass(
        self,
        exchange: Passing,
        body: bytes | AsyncIterator[bytes] | None,
        caller: Caller | None = None,
    ) -> None:
        """Pass a request on as it is, and its answer back."""
        asking = self._upstream.ask(exchange.method, exchange.target, exchange.headers, body)
        async with asking as (reply, parts):
            self.callers.told(caller, reply.status)
            if self.memory is not None:
                _hear_load(self.memory, reply)
            await exchange.begin(reply.status, reply.headers)
            async for part in parts:
                await exchange.put(part)
        await exchange.put(b"", last=True)

    async def _fly(
        self,
        exchange: Passing,
        memory: Memory,
        asked: Asked,
        data: bytes,
        caller: Caller,
        found: Found,
    ) -> None:
        """Ask the upstream, or listen to one who does."""
        key = (asked.namespace, asked.request.key, asked.form)
        flight = self._flights.get(key)
        # In Shadow every request reaches the upstream.
        shared = found.verdict.outcome is Outcome.MISS and asked.policy.mode is Mode.ENFORCE
        if shared and flight is not None and flight.joinable:
            if await self._listen(exchange, flight, follows=True):
                metrics.SHARED.inc()
                return
            await self._pass(exchange, data, caller)
            return
        watched = found.watched
        flight = Flight(
            lambda flight: self._ask(flight, exchange, memory, asked, data, caller, watched)
        )
        if shared and asked.trusted:
            self._flights[key] = flight
            flight.on_end = lambda: self._landed(key, flight)
        await self._listen(exchange, flight, follows=False)

    def _landed(self, key: Key, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _listen(self, exchange: Passing, flight: Flight, *, follows: bool) -> bool:
        """Pass on what a flight hears; False where one who follows has to ask for itself."""
        async with aclosing(flight.listen()) as parts:
            try:
                await anext(parts)
            except (UpstreamError, OSError):
                if follows:
                    return False
                raise
            reply = flight.reply
            assert reply is not None
            if follows and reply.status != 200:
                return False
            left_out = (b"set-cookie",) if follows else ()
            headers = [each for each in reply.headers if each[0] not in left_out]
            await exchange.begin(reply.status, headers)
            async for part in parts:
                await exchange.put(part)
        await exchange.put(b"", last=True)
        return True

    async def _ask(
        self,
        flight: Flight,
        exchange: Passing,
        memory: Memory,
        asked: Asked,
        data: bytes,
        caller: Caller,
        watched: Watched | None,
    ) -> None:
        """Ask the upstream for all who listen; keep what may be kept."""
        with closing(self._hearing(memory, asked)) as hearing:
            await self._hear(hearing, flight, exchange, memory, asked, data, caller, watched)

    def _hearing(self, memory: Memory, asked: Asked) -> Hearing:
        longest = memory.rules.said.longest_answer
        return Hearing(asked.endpoint, asked.form, longest, self._heard)

    async def _hear(
        self,
        hearing: Hearing,
        flight: Flight,
        exchange: Passing,
        memory: Memory,
        asked: Asked,
        data: bytes,
        caller: Caller,
        watched: Watched | None,
    ) -> None:
        began = time.monotonic()
        asking = self._upstream.ask("POST", exchange.target, exchange.headers, data, plain=True)
        async with asking as (reply, parts):
            self.callers.told(caller, reply.status)
            memory.measured.first_byte(time.monotonic() - began)
            _hear_load(memory, reply)
            flight.head(reply)
            kept = _may_be_kept(reply, asked.form)
            async for part in parts:
                await flight.part(part)
                if kept:
                    hearing.feed(part)
        took = time.monotonic() - began
        if reply.status == 200:
            memory.measured.took("upstream", took)
        if not kept:
            metrics.NOT_STORED.labels("status" if reply.status != 200 else "kind").inc()
            return
        try:
            answer = hearing.answer()
            memory.keep(asked, answer, took)
        except NotKeptError as error:
            metrics.NOT_STORED.labels(str(error)).inc()
        except Exception:
            log.exception("an answer couldn't be read")
            metrics.NOT_STORED.labels("fault").inc()
        else:
            if watched is not None:
                self._behind(memory.judge(asked, watched, answer))

    def _look_into(
        self,
        exchange: Passing,
        memory: Memory,
        asked: Asked,
        data: bytes,
        caller: Caller,
        watched: Watched,
    ) -> None:
        """Ask the upstream what was served from memory, behind the client's back."""
        target, headers = exchange.target, exchange.headers

        async def ask() -> None:
            asking = self._upstream.ask("POST", target, headers, data, plain=True)
            with closing(self._hearing(memory, asked)) as hearing:
                async with asyncio.timeout(_REASK_SECONDS), asking as (reply, parts):
                    self.callers.told(caller, reply.status)
                    if not _may_be_kept(reply, asked.form):
                        return
                    async for part in parts:
                        hearing.feed(part)
                answer = hearing.answer()
            await memory.judge(asked, watched, answer)

        self._behind(ask())

    def _behind(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what no client waits for."""

        async def done() -> None:
            try:
                await work
            except (UpstreamError, NotKeptError, TimeoutError):
                return
            except Exception:
                log.exception("a hit couldn't be looked into")

        task = asyncio.create_task(done())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)


def _hear_load(memory: Memory, reply: Reply) -> None:
    spec = memory.rules.said.load
    if spec is None or spec.header is None:
        return
    wanted = spec.header.lower().encode()
    for name, value in reply.headers:
        if name == wanted:
            memory.measured.told(value.decode("latin-1"))


def told(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return the headers that say what became of a request."""
    said = {
        "x-cache": verdict.outcome.value,
        "x-cache-category": verdict.category,
        "x-cache-entry": verdict.entry,
    }
    if verdict.similarity is not None:
        said["x-cache-similarity"] = f"{verdict.similarity:.3f}"
    if verdict.threshold is not None:
        said["x-cache-threshold"] = f"{verdict.threshold:.3f}"
    if verdict.age is not None:
        said["x-cache-age"] = f"{verdict.age:.0f}"
    return [(name.encode(), value.encode()) for name, value in said.items() if value is not None]


def _body(exchange: Passing) -> AsyncIterator[bytes] | None:
    """Return a body to pass on; a request that says there is none has none."""
    headers = dict(exchange.headers)
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        return exchange.all_of(b"")
    return None


def _may_be_kept(reply: Reply, form: Form) -> bool:
    encoded = any(name == b"content-encoding" for name, _ in reply.headers)
    return reply.status == 200 and not encoded and reply.kind == _KINDS.get(form, _STREAM)


async def _replay(exchange: Passing, found: Found, form: Form) -> None:
    assert found.answer is not None
    if form is Form.WHOLE:
        await exchange.answer(answers.body(found.answer, time.time()))
        return
    exchange.streaming = True
    usage = form is Form.STREAM_WITH_USAGE
    await exchange.stream(answers.events(found.answer, time.time(), usage=usage), last=True)


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


async def _fail(exchange: Passing, error: ApiError) -> None:
    """Say what went wrong where nothing was said yet; else break off."""
    try:
        if exchange.status:
            await exchange.cut()
        else:
            await exchange.fail(error)
    except ClientLeftError:
        return
