"""Clients that mean no good, or know no better, over real sockets: others don't notice.

Covered: heads and bodies that trickle in or never end, more connections than there is room for,
clients that take nothing, prompts of 10 MB and more of them than memory is for, JSON that is none,
requests hidden in others, headers behind bodies. Not covered: floods of packets, TLS.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from fairstow.gateway import app, outbox, service
from fairstow.kube.connections import LONGEST_HEAD
from fairstow.kube.flags import Address
from fairstow.web import exchange
from fairstow.web.port import Port, listen
from tests.gateway.gateways import MODEL, Site, chat, expected, run, streamed
from tests.gateway.raw import Raw, chunk, head, post, statuses

CHAT = "/v1/chat/completions"
MODELS = head("GET", "/v1/models")
CHUNKED = "Transfer-Encoding: chunked"
LONGEST = 10 << 20


def body(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": chat("hi"), "max_tokens": 5, **more}


async def serve(site: Site, **options: Any) -> None:
    """Start a gateway with one fast engine."""
    await site.engine("a", speed=100)
    await site.gateway(**options)
    await site.ready()


def test_who_only_holds_connections_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Port, "most", 8)

    async def test(site: Site) -> None:
        await serve(site)
        answer = asyncio.create_task(streamed(site.client(), "hi", 300))
        await site.until(lambda now: now.requests)
        holders = [await Raw.connect(site) for _ in range(20)]
        for number, each in enumerate(holders):  # without a word, in a head, in a body
            said = (b"", b"GET /v1/models HTTP/1.1\r\nX-", post(CHAT, body())[:-5])[number % 3]
            await each.send(said)
        late = await Raw.connect(site)
        await late.send(MODELS)
        assert statuses(await late.until(b"}]}")) == [200]
        assert await answer == expected("hi", 300)
        assert sum(each.open for each in holders) <= 8

    run(test)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /v1/models HTTP/1.1\r\nX: ", b"a" * 1024),
        (b"GET /", b"a" * 1024),
        (b"GET /v1/models HTTP/1.1\r\n", b"X: y\r\n" * 200),
        (head("POST", CHAT, CHUNKED) + b"1\r\na\r\n0\r\n", b"X: y\r\n" * 200),
        (head("POST", CHAT, CHUNKED) + b"1;", b"a" * 1024),
    ],
    ids=["header", "path", "headers", "trailers", "chunk"],
)
def test_a_head_has_an_end(begin: bytes, more: bytes) -> None:
    async def test(site: Site) -> None:
        await site.gateway({"a": "http://127.0.0.1:9"})
        client = await Raw.connect(site)
        await client.send(begin)
        sent = 0
        while client.open and await client.send(more):
            sent += len(more)
            await asyncio.sleep(0)
        assert LONGEST_HEAD - 2 * len(more) < sent < 2 * LONGEST_HEAD
        assert b"The head is longer than 64 KiB." in await client.rest()

    run(test)


def test_a_body_that_trickles_in_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_SECONDS", 0.3)

    async def test(site: Site) -> None:
        await serve(site)
        slow = await Raw.connect(site)
        await slow.send(head("POST", CHAT, "Content-Length: 100000"))

        async def trickle() -> None:
            while await slow.send(b" "):
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert await streamed(site.client(), "hi", 30) == expected("hi", 30)
        assert statuses(await slow.until(b"}}")) == [408]
        trickling.cancel()

    run(test)


def narrow(where: Address) -> socket.socket:
    """Listen for connections of which the kernel keeps little; it would keep megabytes."""
    listener = listen(where)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    return listener


@pytest.mark.parametrize("more", [{}, {"n": 2}], ids=["movable", "pinned"])
def test_who_takes_nothing_is_dropped(
    monkeypatch: pytest.MonkeyPatch, more: Mapping[str, Any]
) -> None:
    monkeypatch.setattr(app, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(service, "listen", narrow)
    monkeypatch.setattr(outbox, "MOST", 1 << 12)  # else a slow machine writes all of it at once
    lost: list[Port] = []
    ends = Port.connection_lost

    def connection_lost(port: Port, exc: Exception | None) -> None:
        lost.append(port)
        ends(port, exc)

    monkeypatch.setattr(Port, "connection_lost", connection_lost)

    async def test(site: Site) -> None:
        await serve(site)
        asked = body(stream=True, max_tokens=1000, logprobs=True, top_logprobs=20, **more)
        clients = [await Raw.connect(site, takes=1 << 12) for _ in range(2)]
        for client in clients:
            await client.send(post(CHAT, asked))
        assert await streamed(site.client(), "hi", 30) == expected("hi", 30)
        while len(lost) < len(clients):
            await asyncio.sleep(0.01)
        await site.until(lambda now: not now.requests)
        while site.servers["a"].runner.engine.batch:
            await asyncio.sleep(0.01)

    run(test)


def test_prompts_of_ten_megabytes() -> None:
    """The model's answer to so long a prompt is its engine's; ours is about the body alone."""

    async def test(site: Site) -> None:
        await serve(site)
        other = asyncio.create_task(streamed(site.client(), "hi", 300))
        long = "x" * (LONGEST - 1000)
        for asked in (body(messages=chat(long)), body(messages=chat(long), n=2)):
            status, said, _ = await site.post(CHAT, asked)
            assert status == 400
            assert "maximum context length" in said["error"]["message"]
        told = await Raw.connect(site)  # before it sends anything
        await told.send(head("POST", CHAT, f"Content-Length: {LONGEST + 1}"))
        assert statuses(await told.until(b"}}")) == [413]
        sent = await Raw.connect(site)  # not before
        await sent.send(head("POST", CHAT, CHUNKED) + 11 * chunk(b" " * (1 << 20)))
        assert statuses(await sent.until(b"}}")) == [413]
        assert await other == expected("hi", 300)

    run(test)


def test_bodies_take_so_much_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MOST_BODIES", 3 << 20)

    async def test(site: Site) -> None:
        await serve(site, longest=1 << 20)
        held = [await Raw.connect(site) for _ in range(6)]
        for each in held:
            await each.send(head("POST", CHAT, CHUNKED) + chunk(b" " * (900 << 10)))
        while all(each.open for each in held):
            await asyncio.sleep(0.01)
        refused, *_ = [each for each in held if not each.open]
        assert statuses(await refused.until(b"}}")) == [429]
        assert b"retry-after: 1" in refused.said
        assert await streamed(site.client(), "hi", 30) == expected("hi", 30)
        for each in held:
            each.close()
        large = msgspec.json.encode(body()) + b" " * (900 << 10)
        while (await site.post(CHAT, large))[0] != 200:
            await asyncio.sleep(0.01)

    run(test)


WHOLE = msgspec.json.encode(body())


HIDDEN = (
    head("POST", CHAT, "Content-Length: 4", CHUNKED) + b"0\r\n\r\n",
    head("POST", CHAT, "Content-Length: 4", "Content-Length: 5") + b"nulll",
    head("POST", CHAT, "Transfer-Encoding : chunked") + b"0\r\n\r\n",
    head("POST", CHAT, "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    head("POST", CHAT, "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    head("POST", CHAT, CHUNKED) + b"-1\r\n",
    head("POST", CHAT, CHUNKED) + b"0x4\r\nnull\r\n0\r\n\r\n",
    head("POST", CHAT, "Content-Length: +4") + b"null",
    head("POST", CHAT, "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 4") + b"null",
    head("GET", "/v1/models", "X: y\r\n Content-Length: 4") + b"null",
    head("GET", "/v1/models", "X: a\0b"),
    b"GET /v1/models HTTP/1.1\nHost: x\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)


def test_no_request_is_hidden_in_another() -> None:
    """Where two readers could differ about where one ends there is one answer, and no more."""

    async def test(site: Site) -> None:
        await site.gateway({"a": "http://127.0.0.1:9"})
        for wrong in HIDDEN:
            client = await Raw.connect(site)
            await client.send(wrong + MODELS)
            said = await client.rest()
            assert statuses(said) == [400], wrong
            assert msgspec.json.decode(said.partition(b"\r\n\r\n")[2])["error"]["message"]

    run(test)


def test_what_follows_a_body_is_no_header() -> None:
    async def test(site: Site) -> None:
        await serve(site)
        client = await Raw.connect(site)
        behind = b"0\r\nX-Fairstow-Priority: none\r\n\r\n"
        await client.send(head("POST", CHAT, CHUNKED) + chunk(WHOLE) + behind + MODELS)
        assert statuses(await client.until(b"}]}")) == [200, 200]

    run(test)


GARBAGE = (
    b"\x00" * 100,
    b"{" * 100_000,
    b'{"model":' * 5_000,
    WHOLE[:-1],
    WHOLE + b"}",
    WHOLE.replace(b'"hi"', b'"\xff"'),
    WHOLE.replace(b'"hi"', b'"\\ud800"'),
    WHOLE.replace(b'"hi"', b"[" * 900 + b"]" * 900),
    WHOLE.replace(b":5", b":1e999"),
    WHOLE.replace(b":5", b":" + b"9" * 5_000),
    WHOLE.replace(b":5", b":NaN"),
)
ODD = (
    WHOLE.replace(b":5", b':5,"n":2,"user":' + b"[" * 900 + b"]" * 900),
    WHOLE.replace(b":5", b':5,"n":2,"user":' + b"9" * 30),
    WHOLE.replace(b":5", b':5,"n":2,"user":{"a":1,"a":2}'),
)


def test_json_that_is_none() -> None:
    async def test(site: Site) -> None:
        await serve(site)
        for path in (CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings"):
            for wrong in GARBAGE:
                status, said, _ = await site.post(path, wrong)
                assert 400 <= status < 500, (path, wrong[:100], said)
                assert said["error"]["message"]
            for odd in ODD:
                assert (await site.post(path, odd))[0] < 500, (path, odd[:100])

    run(test)
