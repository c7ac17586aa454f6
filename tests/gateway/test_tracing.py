"""Traces of requests, as a collector gets them over OTLP/HTTP.

Covered: a request's parts, a move and a pinned request among them; a client's traceparent goes on,
and engines get one of ours; nothing of prompts, answers and keys is told; the log names the trace;
a collector that hangs keeps no gateway. Not covered: how collectors show it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from fairstow.gateway.cost_model.server import Server
from fairstow.web.trace import trace_id
from tests.gateway.gateways import MODEL, Site, chat, expected, run, streamed
from tests.gateway.servers import KEY

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "xyzzy"
CHAT = "/v1/chat/completions"


@dataclass
class Collector:
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""
    hangs: bool = False
    port: int = 0

    async def take(self, request: web.Request) -> web.Response:
        if self.hangs:
            await asyncio.sleep(60)
        self.raw += await request.read()
        told = ExportTraceServiceRequest.FromString(await request.read())
        for resource in told.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response()

    def named(self, name: str) -> list[Span]:
        return [each for each in self.spans if each.name == name]


@asynccontextmanager
async def collecting(*, hangs: bool = False) -> AsyncIterator[Collector]:
    collector = Collector(hangs=hangs)
    app = web.Application()
    app.add_routes([web.post("/v1/traces", collector.take)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.port = runner.addresses[0][1]
        yield collector
    finally:
        await runner.cleanup()


def said(span: Span) -> dict[str, Any]:
    found = {}
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        assert kind is not None
        found[each.key] = getattr(each.value, kind)
    return found


async def end(site: Site) -> None:
    site.stopped.set()
    assert site.running is not None
    await site.running


def test_a_request_that_moves_and_one_that_is_pinned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: set[str] = set()
    generate = Server._generate

    async def spied(server: Server, request: web.Request) -> web.StreamResponse:
        heard.add(request.headers.get("traceparent", ""))
        assert not {"tracestate", "baggage"} & {each.lower() for each in request.headers}
        return await generate(server, request)

    monkeypatch.setattr(Server, "_generate", spied)

    async def test(site: Site) -> None:
        async with collecting() as collector:
            for name in ("a", "b"):
                await site.engine(name, speed=5)
            await site.gateway(otlp=f"http://127.0.0.1:{collector.port}")
            await site.ready()
            parent = {
                "traceparent": f"00-{TRACE}-{PARENT}-00",
                "tracestate": "a=b",
                "baggage": "c=d",
            }
            hearing = asyncio.create_task(
                streamed(site.client(), SECRET, 150, extra_headers=parent)
            )
            ledger = await site.until(lambda now: now.requests and now.requests[0].generated > 5)
            await site.drain(ledger.requests[0].instance)
            assert await hearing == expected(SECRET, 150)
            asked = {"model": MODEL, "messages": chat(SECRET), "max_tokens": 5, "n": 2}
            assert (await site.post(CHAT, asked))[0] == 200
            assert (await site.post(f"/{SECRET}", {}))[0] == 404
            await end(site)

            moved, pinned = collector.named(CHAT)
            assert moved.trace_id.hex() == TRACE
            assert moved.parent_span_id.hex() == PARENT
            assert pinned.trace_id.hex() != TRACE
            assert said(pinned)["fairstow.pinned"] == "it asks for several choices"
            told = said(moved)
            assert (told["http.response.status_code"], told["http.route"]) == (200, CHAT)
            assert (told["gen_ai.usage.output_tokens"], told["fairstow.moves"]) == (150, 1)
            mine = [each for each in collector.spans if each.parent_span_id == moved.span_id]
            assert sorted(each.name for each in mine) == ["leg", "leg", "move", "queue"]
            (move,) = collector.named("move")
            assert said(move)["fairstow.outcome"] == "Moved"
            assert {said(each)["fairstow.engine"] for each in mine if each.name == "leg"} == {
                "a",
                "b",
            }
            legs = {f"00-{TRACE}-{each.span_id.hex()}-01" for each in mine if each.name == "leg"}
            assert legs <= heard
            assert [each.name for each in collector.named("other")] == ["other"]
            for word in (SECRET, expected(SECRET, 20)[:8], KEY):
                assert word.encode() not in collector.raw

    run(test)
    logged = capsys.readouterr()
    assert TRACE in logged.out + logged.err


def test_a_collector_that_hangs_keeps_no_gateway() -> None:
    async def test(site: Site) -> None:
        async with collecting(hangs=True) as collector:
            await site.engine("a", speed=50)
            await site.gateway(otlp=f"http://127.0.0.1:{collector.port}")
            await site.ready()
            assert await streamed(site.client(), "hi", 5) == expected("hi", 5)
            async with asyncio.timeout(30):
                await end(site)

    run(test)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f"cc-{TRACE}-{PARENT}-00-more", TRACE),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", ""),
        (f"00-{TRACE}-{PARENT}-01\n", ""),
        ("secret", ""),
        (None, ""),
    ],
)
def test_what_a_traceparent_is(header: str | None, found: str) -> None:
    assert trace_id(header) == found
