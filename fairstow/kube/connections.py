"""As many connections as a server can carry, and who gives way when there are more.

Ports are open to every pod of a cluster, and a connection costs who opens it nothing. Beyond the
limit the one that has been without a whole request for longest gives way, so that whoever only
holds connections keeps nobody out. Nor does a connection cost more than its share: a head has an
end, and what follows a body in chunks is no header. Used by the servers of `admin`, of
controllers/webhook and of the gateway.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio


LONGEST_HEAD = 1 << 16
"""Bytes that a request may say without beginning its body, or after it."""
_SPARE = 256
"""Descriptors for what isn't a connection."""
_BODY = (b"content-length", b"transfer-encoding")


class Bounded(HttpToolsProtocol):
    """A connection of a server that has `most` of them at the same time.

    Attributes:
        quiet: those on which nothing is being answered, longest so first; one dict per server.
    """

    most: int
    quiet: dict[Bounded, None]
    _headless = 0
    _wrong = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it in; one too many costs another."""
        super().connection_made(transport)
        self.quiet[self] = None
        if len(self.connections) > self.most:
            self._close_quietest()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self.quiet.pop(self, None)
        super().connection_lost(exc)

    def _close_quietest(self) -> None:
        """If all others are being answered, that is the new one."""
        longest = next(iter(self.quiet))
        del self.quiet[longest]
        self.connections.discard(longest)
        longest.transport.abort()  # who doesn't speak doesn't say goodbye either

    def data_received(self, data: bytes) -> None:
        """Take in what came. The parser keeps a head until it is whole, however long it gets."""
        self._headless += len(data)
        super().data_received(data)
        if self._headless > LONGEST_HEAD and not self.transport.is_closing():
            self.refuse(f"The head is longer than {LONGEST_HEAD >> 10} KiB.")

    def on_headers_complete(self) -> None:
        """A request begins."""
        self._headless = 0
        if self.parser.should_upgrade() and any(name in _BODY for name, _ in self.headers):
            # The parser takes what follows for another protocol's, and then for a request.
            self._wrong = "A request with a body can't ask for Upgrade here: speak HTTP/1.1."
            raise ValueError(self._wrong)
        super().on_headers_complete()
        self.headers = []  # trailers come here, where nobody looks

    def on_body(self, body: bytes) -> None:
        """Pass a part of it on."""
        self._headless = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong, as well as it is known."""
        self.refuse(self._wrong or msg)

    def refuse(self, why: str) -> None:
        """Answer that this is no request, and close."""
        super().send_400_response(why)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._headless = 0
        self.quiet.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Its answer is."""
        self.quiet[self] = None
        super().on_response_complete()


def bounded(most: int) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol for one server that has `most` connections at the same time."""
    return type("Bounded", (Bounded,), {"most": most, "quiet": {}})


def allow(connections: int) -> None:
    """Let this program have so many, where its limit of open files may be raised that far."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
