"""The scheduler's port over real sockets: what is answered, and what is refused how.

Covered: keep-alive, pipelining, requests in pieces, limits, everything that isn't HTTP or no verb,
a failing verb, peers that stall, draining. Not covered: TLS (test_tls.py), the verbs
(test_verbs.py), a real scheduler (e2e/test_extender.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_plugins.protocol import (
    MAX_HEAD,
    PATIENCE_SECONDS,
    BadRequestError,
    Connection,
    Endpoint,
)

LIMIT = 1000


def echo(body: bytes) -> bytes:
    return b'{"echo":"%b"}' % body


def broken(_body: bytes) -> bytes:
    raise RuntimeError("a mistake")


def picky(_body: bytes) -> bytes:
    raise BadRequestError("The body isn't what I take.")


class Peer:
    """A client connection that reads answers one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode()
        first, *lines = head.split("\r\n")[:-2]
        headers = dict(line.split(": ") for line in lines)
        body = await self.reader.readexactly(int(headers["Content-Length"]))
        return int(first.split()[1]), headers, json.loads(body)

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 10) == b""


def run(test: Callable[[Peer, Endpoint], Awaitable[None]]) -> None:
    """Run a test against a server of its own."""

    async def main() -> None:
        endpoint = Endpoint({b"/echo": echo, b"/broken": broken, b"/picky": picky}, LIMIT)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(endpoint), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            await test(Peer(reader, writer), endpoint)
        finally:
            writer.close()
            server.close()

    uvloop.run(main())


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_one_connection_serves_many_requests() -> None:
    async def test(peer: Peer, _: Endpoint) -> None:
        for i in range(3):
            peer.send(post("/echo", b"%d" % i))
            status, headers, body = await peer.answer()
            assert (status, body, "Connection" in headers) == (200, {"echo": str(i)}, False)

    run(test)


def test_requests_sent_at_once_are_answered_in_order() -> None:
    async def test(peer: Peer, _: Endpoint) -> None:
        peer.send(post("/echo", b"1") + post("/picky", b"2") + post("/echo", b"3"))
        answers = [await peer.answer() for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 400, 200]
        assert [body.get("echo") for _, _, body in answers] == ["1", None, "3"]

    run(test)


def test_a_request_may_arrive_in_pieces() -> None:
    async def test(peer: Peer, _: Endpoint) -> None:
        for byte in post("/echo", b"piece by piece"):
            peer.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await peer.answer())[2] == {"echo": "piece by piece"}
        peer.send(b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
        assert (await peer.answer())[2] == {"echo": "abc"}

    run(test)


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (post("/nothing", b""), 404, "No such verb; there are /broken, /echo, /picky."),
        (b"GET /echo HTTP/1.1\r\n\r\n", 405, "Verbs are called by POST."),
        (post("/picky", b""), 400, "The body isn't what I take."),
        (post("/broken", b""), 500, "The extender failed; its log says how."),
    ],
)
def test_a_wrong_call_gets_a_sentence_and_the_connection_lives(
    sent: bytes, status: int, said: str
) -> None:
    async def test(peer: Peer, _: Endpoint) -> None:
        peer.send(sent)
        answer = await peer.answer()
        assert (answer[0], answer[2]) == (status, {"Error": said})
        peer.send(post("/echo", b"on"))
        assert (await peer.answer())[0] == 200

    run(test)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 this is a TLS hello", 400),
        (b"POST /echo HTTP/9.9\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"GET /echo HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
        (post("/echo", b"x" * (LIMIT + 1)), 413),
        (b"POST /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\n\r\n", 431),
        (b"POST /echo HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD + b"\r\n", 431),
    ],
)
def test_what_is_no_http_or_too_much_is_refused_once_and_closed(sent: bytes, status: int) -> None:
    async def test(peer: Peer, endpoint: Endpoint) -> None:
        peer.send(sent)
        found, headers, body = await peer.answer()
        assert (found, headers["Connection"]) == (status, "close")
        assert body["Error"].endswith(".")
        assert await peer.closed()
        assert not endpoint.connections

    run(test)


def test_nobody_is_answered_before_there_is_something_to_answer_from() -> None:
    async def test(peer: Peer, endpoint: Endpoint) -> None:
        endpoint.waiting = "Not yet."
        peer.send(post("/echo", b"x"))
        status, _, body = await peer.answer()
        assert (status, body) == (503, {"Error": "Not yet."})
        endpoint.waiting = ""
        peer.send(post("/echo", b"x"))
        assert (await peer.answer())[0] == 200

    run(test)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=50), st.just(post("/echo", b"x"))), max_size=5))
def test_no_bytes_break_it(parts: list[bytes]) -> None:
    async def test(peer: Peer, _: Endpoint) -> None:
        for part in parts:
            peer.send(part)
        peer.writer.write_eof()
        said = await asyncio.wait_for(peer.reader.read(), 10)
        assert said == b"" or said.startswith(b"HTTP/1.1 ")
        assert b" 500 " not in said

    run(test)


async def arriving(endpoint: Endpoint) -> None:
    while not any(connection.arriving for connection in endpoint.connections):
        await asyncio.sleep(0.001)


def test_peers_that_stall_are_dropped_and_idle_ones_are_not() -> None:
    async def test(peer: Peer, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        peer.send(post("/echo", b"1"))
        await peer.answer()
        endpoint.drop_stalled(loop.time() + 10 * PATIENCE_SECONDS)
        assert len(endpoint.connections) == 1
        peer.send(b"POST /echo HT")
        await arriving(endpoint)
        endpoint.drop_stalled(loop.time() + PATIENCE_SECONDS / 2)
        assert len(endpoint.connections) == 1
        endpoint.drop_stalled(loop.time() + PATIENCE_SECONDS + 1)
        assert await peer.closed()

    run(test)


def test_draining_ends_idle_connections() -> None:
    async def test(peer: Peer, endpoint: Endpoint) -> None:
        peer.send(post("/echo", b"x"))
        await peer.answer()
        endpoint.drain()
        assert await peer.closed()

    run(test)


def test_draining_ends_a_connection_after_the_answer_that_is_due() -> None:
    async def test(peer: Peer, endpoint: Endpoint) -> None:
        peer.send(b"POST /echo HTTP/1.1\r\nContent-Le")
        await arriving(endpoint)
        endpoint.drain()
        peer.send(b"ngth: 1\r\n\r\nx")
        status, headers, _ = await peer.answer()
        assert (status, headers["Connection"]) == (200, "close")
        assert await peer.closed()

    run(test)
