"""Uvicorn beside other things in one event loop: signals and certificates are the program's.

Used by the admin ports of all programs and by the gateway.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn


class LoopServer(uvicorn.Server):
    """A server that ends when `should_exit` is set, or it is cancelled.

    Args:
        app: by ASGI.
        context: for TLS; None speaks plain HTTP.
        more: of `uvicorn.Config`.
    """

    def __init__(self, app: Any, context: ssl.SSLContext | None, **more: Any) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # whom a proxy names as the client decides nothing here
            ssl_context_factory=(lambda _config, _default: context) if context else None,
            **more,
        )
        super().__init__(config)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and close what is left open then."""
        try:
            await super().serve(sockets)
        finally:
            for server in getattr(self, "servers", ()):
                server.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
