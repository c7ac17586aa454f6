"""A leg's answer as it comes: server-sent events, each handed over when its bytes are here.

Tokens are most of what a gateway reads. Through a client library each costs a task's turn, a lock
and several buffers; here a connection's bytes are parsed where they arrive, and whoever listens is
called (`each`). One connection per leg, closed with it: that ends what the engine does for it.

Used by `wire` for all adapters; `Pieces` makes an adapter's pieces of events.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar, cast
from urllib.parse import urlsplit

import httptools

from fairstow.gateway.engines.protocol import EngineError
from fairstow.serving.tokens import Piece

CONNECT_SECONDS = 5.0
LONGEST_EVENT = 16 << 20
LONGEST_COMPLAINT = 1 << 16
MANY = 256
"""Events that may wait for who takes them one by one; then the connection isn't read."""

Item = TypeVar("Item")
Take = Callable[[Item], bool]
"""Takes what came, at once; returns whether to wait for room before any more is read."""
Room = Callable[[], Awaitable[None]]


class Events(asyncio.Protocol, AsyncIterator[bytes]):
    """The answer to one request.

    Attributes:
        status: 0 before its head is here.
    """

    def __init__(self) -> None:
        self.status = 0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._take: Take[bytes] | None = None
        self._waiting: deque[bytes] = deque()
        self._rest = b""
        self._complaint = b""
        self._ended = False
        self._error: Exception | None = None
        self._full = False
        self._changed: asyncio.Future[None] | None = None

    @classmethod
    async def ask(cls, url: str, headers: Mapping[str, str], body: bytes) -> Events:
        """Send a request and wait for the answer's head, or for all of a complaint.

        Raises EngineError: the engine can't be reached, or broke off.
        """
        where = urlsplit(url)
        secure = where.scheme == "https"
        host, port = where.hostname or "", where.port or (443 if secure else 80)
        loop = asyncio.get_running_loop()
        context = _context() if secure else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, events = await loop.create_connection(cls, host, port, ssl=context)
        except TimeoutError:
            raise EngineError(None, "no answer in time") from None
        except OSError as error:
            raise EngineError(None, str(error)) from error
        try:
            events.send(where.path or "/", where.netloc.rpartition("@")[2], headers, body)
            await events.begun()
        except BaseException:
            events.close()
            raise
        return events

    def send(self, path: str, host: str, headers: Mapping[str, str], body: bytes) -> None:
        """Write the request."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name != "Connection"]
        head = "\r\n".join([*lines, "Connection: close", "", ""])
        assert self._transport is not None
        self._transport.write(head.encode("latin-1") + body)

    async def begun(self) -> None:
        """Wait for the head, and where it isn't 200 for the rest. Raises EngineError."""
        while not self._ended and self.status != 200:
            await self._wait()
        if self._error is not None and self.status < 200:
            raise self._error

    @property
    def complaint(self) -> bytes:
        """What an answer that isn't 200 says."""
        return self._complaint

    async def each(self, take: Take[bytes], room: Room) -> None:
        """Hand over the data of each event when it comes, up to [DONE] or the end.

        Raises EngineError where the engine breaks off, and whatever `take` raises.
        """
        while self._waiting:
            if take(self._waiting.popleft()):
                await room()
        self._take = take
        self._read_on()
        try:
            while not self._ended:
                await self._wait()
                if self._full:
                    self._full = False
                    await room()
                    self._read_on()
        finally:
            self._take = None
        if self._error is not None:
            raise self._error

    async def __anext__(self) -> bytes:
        """Return the next event's data. Raises EngineError."""
        while not self._waiting:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._read_on()
            await self._wait()
        return self._waiting.popleft()

    def close(self) -> None:
        """End it; what came is thrown away."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    # What the connection says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's isn't a subclass

    def data_received(self, data: bytes) -> None:
        """Parse what came; its parts are told below."""
        if self._ended:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__  # what a callback raised
            known = cause if isinstance(cause, Exception) else None
            self._end(known or EngineError(None, f"no HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Before the answer's end that is a break."""
        self._end(EngineError(None, f"it broke off: {exc}" if exc else "it broke off"))

    def on_headers_complete(self) -> None:
        """The head is here."""
        self.status = self._parser.get_status_code()
        self._tell()

    def on_body(self, data: bytes) -> None:
        """Take events out of what came."""
        if self.status != 200:
            self._complaint = (self._complaint + data)[:LONGEST_COMPLAINT]
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_EVENT:
            raise EngineError(None, f"an event of more than {LONGEST_EVENT >> 20} MiB")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            event = line[5:].strip()
            if event == b"[DONE]":
                self._end(None)
                return
            self._event(event)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self.status >= 200:
            self._end(None)

    def _event(self, event: bytes) -> None:
        if self._take is None:
            self._waiting.append(event)
            self._tell()
            full = len(self._waiting) >= MANY
        elif full := self._take(event):
            self._full = True
            self._tell()
        if full and self._transport is not None:
            self._transport.pause_reading()

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended, self._error = True, error
        if self._transport is not None:
            self._transport.close()
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _wait(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


@functools.cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


class Pieces(AsyncIterator[Piece]):
    """What an adapter reads of events; `read` returns None for those that say nothing."""

    def __init__(self, events: Events, read: Callable[[bytes], Piece | None]) -> None:
        self._events = events
        self._read = read

    async def each(self, take: Take[Piece], room: Room) -> None:
        """Hand over each piece when it comes, as `Events.each` does."""
        read = self._read

        def event(data: bytes) -> bool:
            piece = read(data)
            return piece is not None and take(piece)

        await self._events.each(event, room)

    async def __anext__(self) -> Piece:
        """Return the next piece. Raises EngineError."""
        while True:
            piece = self._read(await anext(self._events))
            if piece is not None:
                return piece
