"""As many connections as a server can carry, and who gives way when there are more.

Ports are open to every pod of a cluster, and a connection costs who opens it nothing. Beyond the
limit the one that has been without a whole request for longest gives way, so that whoever only
holds connections keeps nobody out. Used by the servers of `admin` and of controllers/webhook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio


class Bounded(HttpToolsProtocol):
    """A connection of a server that has `most` of them at the same time.

    Attributes:
        quiet: those on which nothing is being answered, longest so first; one dict per server.
    """

    most: int
    quiet: dict[Bounded, None]

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

    def on_message_complete(self) -> None:
        """A request is whole."""
        self.quiet.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Its answer is."""
        self.quiet[self] = None
        super().on_response_complete()


def bounded(most: int) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol for one server that has `most` connections at the same time."""
    return type("Bounded", (Bounded,), {"most": most, "quiet": {}})
