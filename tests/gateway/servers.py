"""Cost-model engines in the test's own event loop, behind real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from fairstow.gateway.cost_model.runner import Model
from fairstow.gateway.cost_model.server import Server
from fairstow.serving.cost_model import A10_7B, Profile

KEY = "an engine's key"


@asynccontextmanager
async def serving(
    weights: str = "1",
    *,
    profile: Profile = A10_7B,
    speed: float = 20.0,
    mean_length: int = 0,
    lease: float = 30.0,
    key: str | None = KEY,
) -> AsyncIterator[Server]:
    """Serve an engine on a free port of 127.0.0.1; `url(server)` says where."""
    model = Model(name="m", weights=weights, mean_length=mean_length, lease=lease)
    server = Server(profile, model, host="127.0.0.1", port=0, speed=speed, key=key)
    runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


def url(server: Server) -> str:
    return f"http://{server.host}:{server.port}"
