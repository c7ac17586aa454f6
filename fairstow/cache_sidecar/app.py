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
from contextlib import aclosing
from typing import Any

import msgspec
import structlog

from fairstow.cache_sidecar import answers, metrics
from fairstow.cache_sidecar.asked import Asked
from fairstow.cache_sidecar.asking import Asking, Behind, hear_load
from fairstow.cache_sidecar.callers import Callers, Client
from fairstow.cache_sidecar.exchange import Passing
from fairstow.cache_sidecar.flights import Flight
from fairstow.cache_sidecar.kept import Answer, Form, NotKeptError
from fairstow.cache_sidecar.memory import Found, Memory
from fairstow.cache_sidecar.upstream import Upstream, UpstreamError
from fairstow.semantic_cache.decision import Mode, Outcome, Verdict
from fairstow.serving.requests import Endpoint
from fairstow.web.errors import ApiError
from fairstow.web.exchange import Bodies, ClientLeftError, Receive, Scope, Send

CACHED = {each.value: each for each in Endpoint}

log = structlog.get_logger(__name__)

MOST_BODIES = MOST_HEARD = 64 << 20
"""Bytes of requests that are looked at, and of answers on their way; beyond, they only pass."""

Key = tuple[str, str, Form, bytes]


class Sidecar:
    """See the module. Attributes: memory: None until the cache is ready."""

    def __init__(self, upstream: Upstream, callers: Callers) -> None:
        self.memory: Memory | None = None
        self.callers = callers
        self._upstream = upstream
        self._behind = Behind(upstream, callers, Bodies(MOST_HEARD))
        self._bodies = Bodies(MOST_BODIES)
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
        client = self.callers.of(exchange.headers, memory.rules.accounts)
        if not whole:
            await self._pass(exchange, exchange.all_of(data), client)
            return
        asked = self.asked(memory, exchange, endpoint, data, client)
        if asked is None or client is None:
            exchange.extra = [(b"x-cache", Outcome.BYPASS.value.encode())]
            await self._pass(exchange, data, client)
            return
        asking = Asking(
            self._behind, memory, client, asked, exchange.target, exchange.headers, data
        )
        found = await memory.look_up(asked)
        exchange.extra = told(found.verdict)
        if found.answer is not None:
            if found.watched is not None:
                self._aside_from_clients(asking.again(found.watched))
            await _replay(exchange, found.answer, asked)
        elif asked.said.only_if_cached:
            raise ApiError(504, "There is no such answer in the cache.", code="not_cached")
        elif found.verdict.store:
            await self._fly(exchange, asking, found)
        else:
            await self._pass(exchange, data, client)

    def asked(
        self,
        memory: Memory,
        exchange: Passing,
        endpoint: Endpoint,
        data: bytes,
        client: Client | None,
    ) -> Asked | None:
        """Return a request as the cache sees it; None where it can't be cached."""
        if client is None:
            return None
        try:
            body = msgspec.json.decode(data, type=dict[str, Any])
            form = answers.wanted(endpoint, body)
            if form is None:
                return None
            return memory.asked(
                endpoint,
                body,
                form,
                client.caller,
                exchange.header,
                trusted=self.callers.trusted(client),
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
        client: Client | None = None,
    ) -> None:
        """Pass a request on as it is, and its answer back."""
        asking = self._upstream.ask(exchange.method, exchange.target, exchange.headers, body)
        async with asking as (reply, parts):
            self.callers.told(client, reply.status)
            if self.memory is not None:
                hear_load(self.memory, reply)
            await exchange.begin(reply.status, reply.headers)
            async for part in parts:
                await exchange.put(part)
        await exchange.put(b"", last=True)

    async def _fly(self, exchange: Passing, asking: Asking, found: Found) -> None:
        """Ask the upstream, or listen to one who does."""
        asked, watched = asking.asked, found.watched
        # What an answer repeats of the first one's request isn't for others.
        said = msgspec.json.encode(asked.repeated, order="deterministic")
        key = (asked.namespace, asked.request.key, asked.form, said)
        flight = self._flights.get(key)
        # In Shadow every request reaches the upstream.
        shared = found.verdict.outcome is Outcome.MISS and asked.policy.mode is Mode.ENFORCE
        if shared and flight is not None and flight.joinable:
            if await self._listen(exchange, flight, follows=True):
                metrics.SHARED.inc()
                return
            await self._pass(exchange, asking.data, asking.client)
            return

        async def fly(flight: Flight) -> None:
            answer = await asking.fly(flight)
            if answer is not None and watched is not None:
                self._aside_from_clients(asking.memory.judge(asked, watched, answer))

        flight = Flight(fly)
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

    def _aside_from_clients(self, work: Coroutine[Any, Any, None]) -> None:
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


def told(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return the headers that say what became of a request."""
    said = {
        "x-cache": verdict.outcome.value,
        "x-cache-category": verdict.category,
        "x-cache-entry": verdict.entry,
    }
    if verdict.outcome is Outcome.BYPASS and verdict.reasons:
        said["x-cache-reason"] = _header(verdict.reasons[-1].detail)
    if verdict.similarity is not None:
        said["x-cache-similarity"] = f"{verdict.similarity:.3f}"
    if verdict.threshold is not None:
        said["x-cache-threshold"] = f"{verdict.threshold:.3f}"
    if verdict.age is not None:
        said["x-cache-age"] = f"{verdict.age:.0f}"
    return [(name.encode(), value.encode()) for name, value in said.items() if value is not None]


def _header(text: str) -> str:
    """Return text as a header's value: a reason may repeat what a client has sent."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)


def _body(exchange: Passing) -> AsyncIterator[bytes] | None:
    """Return a body to pass on; a request that says there is none has none."""
    headers = dict(exchange.headers)
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        return exchange.all_of(b"")
    return None


async def _replay(exchange: Passing, answer: Answer, asked: Asked) -> None:
    now, said = time.time(), asked.repeated
    if asked.form is Form.WHOLE:
        await exchange.answer(answers.body(answer, now, said))
        return
    exchange.streaming = True
    usage = asked.form is Form.STREAM_WITH_USAGE
    await exchange.stream(answers.events(answer, now, usage=usage, said=said), last=True)


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
