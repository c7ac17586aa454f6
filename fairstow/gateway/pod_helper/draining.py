"""When an engine is drained, and the port that says so. Run by `program`.

An engine is drained when it has been without a request for `QUIET_SECONDS`, which is more than
gateways take to see that the pod is being deleted, or when it doesn't answer any more.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from fairstow.gateway.engines.protocol import EngineError, Load
from fairstow.serving.engine_pods import DRAINED

QUIET_SECONDS = 2.0
SILENT_SECONDS = 15.0
"""An engine that answers nobody for so long serves nobody."""
POLL_SECONDS = 0.25

log = structlog.get_logger(__name__)

Sleep = Callable[[float], Awaitable[None]]
Ask = Callable[[], Awaitable[Load]]


async def drained(
    ask: Ask,
    bound: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> str:
    """Wait until an engine has no requests, or for `bound` seconds; return which it was."""
    began = heard = clock()
    quiet: float | None = None
    while (now := clock()) - began < bound:
        try:
            load = await ask()
        except (EngineError, TimeoutError):
            quiet = None
            if now - heard >= SILENT_SECONDS:
                return "the engine doesn't answer"
        else:
            heard = now
            busy = load.running + load.waiting > 0
            quiet = None if busy else now if quiet is None else quiet
            if quiet is not None and now - quiet >= QUIET_SECONDS:
                return "drained"
        await sleep(POLL_SECONDS)
    return "the bound is over"


class Helper:
    """The application. Args: ask: how busy the engine is; bound: seconds to wait at most.

    The hooks of the engine's container and of this one ask side by side and wait for one answer:
    who went on asking an engine that the other's answer has ended would wait for it in vain.
    """

    def __init__(self, ask: Ask, bound: float, token: str) -> None:
        self._ask, self._bound, self._token = ask, bound, token
        self._waiting: asyncio.Task[str] | None = None

    def app(self) -> web.Application:
        """Return what has to be served."""
        app = web.Application()
        app.router.add_get(DRAINED, self._drained)
        return app

    async def _drained(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if not hmac.compare_digest(given, self._token.encode()):
            return web.Response(status=401, text="Send the pod's token: Authorization: Bearer …")
        if self._waiting is None or self._waiting.done():
            log.info("asked to wait", bound=self._bound)
            self._waiting = asyncio.create_task(drained(self._ask, self._bound))
        how = await asyncio.shield(self._waiting)
        log.info("waited", outcome=how)
        return web.Response(text=how)
