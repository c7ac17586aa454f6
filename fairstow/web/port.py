"""The clients' port: bounded connections, and parts of a stream written where tokens come in.

By ASGI a part of an answer is a coroutine and a task's turn. Tokens are most of what is written, so
requests carry an extension of ours that writes one at once, as long as the client keeps up
(`exchange`). Used by the services of programs that clients of
LLMs talk to.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from fairstow.kube.connections import Bounded
from fairstow.kube.flags import Address
from fairstow.web.errors import ApiError

if TYPE_CHECKING:
    import asyncio

AT_ONCE = "fairstow.at_once"
MOST_CONNECTIONS = 8192
LISTEN_BACKLOG = 2048


class Port(Bounded):
    """One client's connection."""

    most = MOST_CONNECTIONS

    def on_message_begin(self) -> None:
        """Offer the extension with each request."""
        super().on_message_begin()
        self.scope["extensions"] = {AT_ONCE: {"port": self}}

    def refuse(self, why: str) -> None:
        """Say so as OpenAI would."""
        data = ApiError(400, why).body()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(data), data)
        )
        self.transport.close()

    def drop(self) -> None:
        """Hang up; what hasn't been taken is thrown away."""
        self.transport.abort()

    @property
    def ready(self) -> bool:
        """Whether its client has taken what was written, but for a little."""
        return not self.flow.write_paused and not self.transport.is_closing()

    def write(self, part: bytes) -> None:
        """Write a part of the answer that has begun, which is chunked as all of ours in parts."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(part), part))


def port() -> type[asyncio.Protocol]:
    """Return uvicorn's protocol for one server."""
    return type("ClientsPort", (Port,), {"quiet": {}})


def listen(where: Address) -> socket.socket:
    """Return a listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    listener = socket.create_server(
        (where.host, where.port), family=family, backlog=LISTEN_BACKLOG, reuse_port=False
    )
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, and without
    # it a token waits for the client to confirm the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
