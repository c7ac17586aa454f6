"""HTTP/1.1 for the scheduler's calls: small, synchronous, on the event loop that has the index.

kube-scheduler waits for every answer, so each one is made in a fraction of a millisecond from
memory: no framework, no task switch, no copy of the body. `service.py` gives it the handlers; TLS
and the client's certificate are the business of `fairstow.kube.tls`.

What a peer sends is bounded (head, body, patience) and what isn't HTTP gets a 400 with a sentence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import httptools
import structlog

MAX_HEAD = 16 << 10
"""Most bytes of a request line with its headers."""
MAX_BODY = 16 << 20
"""Most bytes of a body: a pod and the names of 50,000 nodes take 5 MB."""
PATIENCE_SECONDS = 30.0
"""How long a request may take to arrive once it has begun."""

Handler = Callable[[bytes], bytes]
"""From the body of a POST to the JSON that answers it; raises BadRequestError."""

_PHRASES = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}

log = structlog.get_logger(__name__)


class BadRequestError(Exception):
    """The body isn't what the verb takes; the message is a sentence for whoever sent it."""


@dataclass
class Endpoint:
    """What all connections share.

    Attributes:
        handlers: by path, such as `/filter`.
        waiting: why nobody is answered yet, "" once they are.
        draining: answer, and ask the peer to come back by another connection.
    """

    handlers: Mapping[bytes, Handler]
    max_body: int = MAX_BODY
    waiting: str = ""
    draining: bool = False
    connections: set[Connection] = field(default_factory=set)

    def drain(self) -> None:
        """Close connections that are between two requests, the others after their answer."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.close_if_idle()

    def drop_stalled(self, now: float) -> None:
        """Close connections whose request began to arrive too long ago."""
        for connection in tuple(self.connections):
            connection.close_if_stalled(now)


class Connection(asyncio.Protocol):
    """One connection of the scheduler: requests in, answers out, in the same order."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._head = 0
        self._body: list[bytes] = []
        self._size = 0
        self._began: float | None = None
        self._closing = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way back."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class
        self._endpoint.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget it."""
        self._transport = None
        self._closing = True
        self._endpoint.connections.discard(self)

    def pause_writing(self) -> None:
        """Read no further requests from a peer that doesn't read its answers."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._transport is not None and not self._closing:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Parse what came; `on_message_complete` answers each request that is whole."""
        if self._closing:
            return
        if self._began is None:
            self._began = asyncio.get_running_loop().time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(400, f"What was sent isn't HTTP/1.1: {error}.")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._path, self._head, self._body, self._size = b"", 0, [], 0

    def on_url(self, url: bytes) -> None:
        """Take (a part of) the request target."""
        self._path += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the head."""
        self._count_head(len(name) + len(value or b""))

    def on_body(self, part: bytes) -> None:
        """Take a part of the body, as long as it isn't too much."""
        self._size += len(part)
        if self._size > self._endpoint.max_body:
            self._refuse(413, f"The body is larger than {self._endpoint.max_body} bytes.")
        elif not self._closing:
            self._body.append(part)

    def on_message_complete(self) -> None:
        """Answer a whole request."""
        if self._closing:
            return
        self._began = None
        if self._parser.should_upgrade():
            self._refuse(400, "This port speaks HTTP/1.1 only and can't be upgraded.")
            return
        handler = self._endpoint.handlers.get(self._path)
        if handler is None:
            verbs = ", ".join(sorted(path.decode() for path in self._endpoint.handlers))
            self._reply(404, _said(f"No such verb; there are {verbs}."))
        elif self._parser.get_method() != b"POST":
            self._reply(405, _said("Verbs are called by POST."))
        elif self._endpoint.waiting:
            self._reply(503, _said(self._endpoint.waiting))
        else:
            self._call(handler)

    # The rest.

    @property
    def arriving(self) -> bool:
        """Whether a request has begun and isn't whole yet."""
        return self._began is not None

    def close_if_idle(self) -> None:
        """Close unless a request is arriving, whose answer will then close it."""
        if self._began is None:
            self._close()

    def close_if_stalled(self, now: float) -> None:
        """Close if a request has been arriving for too long."""
        if self._began is not None and now - self._began > PATIENCE_SECONDS:
            self._close()

    def _call(self, handler: Handler) -> None:
        try:
            self._reply(200, handler(b"".join(self._body)))
        except BadRequestError as error:
            self._reply(400, _said(str(error)))
        except Exception:  # the scheduler gets an answer whatever is wrong here
            log.exception("verb failed", path=self._path.decode(errors="replace"))
            self._reply(500, _said("The extender failed; its log says how."))

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            self._refuse(431, f"The request's head is larger than {MAX_HEAD} bytes.")

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer and close: what follows on this connection can't be understood."""
        if not self._closing:
            self._reply(status, _said(sentence), close=True)

    def _reply(self, status: int, body: bytes, *, close: bool = False) -> None:
        if self._transport is None:
            return
        close = close or self._endpoint.draining or not self._parser.should_keep_alive()
        head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
        last = b"Connection: close\r\n" if close else b""
        self._transport.write(head % (status, _PHRASES[status], len(body), last) + body)
        if close:
            self._close()

    def _close(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.close()


def _said(sentence: str) -> bytes:
    return json.dumps({"Error": sentence}).encode()
