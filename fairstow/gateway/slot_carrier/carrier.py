"""Carries the files of llama.cpp's slots from pod to pod: what gateways and other carriers ask.

    GET  /slots/NAME                the file, as it is
    POST /slots/NAME?action=fetch   {"from": URL}: fetch it from the carrier there, which drops it
    POST /slots/NAME?action=drop    remove it

Everybody shows the engines' key: who has it may ask the engines for all that the files say. A file
goes from folder to folder in parts, so that it is never whole in memory. The carrier goes only
where a gateway says, follows no redirection, and has a bound for time and bytes. Run by `program`.
"""

from __future__ import annotations

import asyncio
import hmac
from functools import partial

import aiohttp
import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fairstow.gateway.slot_carrier.folder import Folder, FullError

PART = 1 << 20
SWEEP_SECONDS = 10.0
FETCH = aiohttp.ClientTimeout(total=60, sock_connect=5, sock_read=10)

log = structlog.get_logger(__name__)


class Fetch(msgspec.Struct):
    """Where a file is. Attributes: source: the URL of the carrier that has it."""

    source: str = msgspec.field(name="from")


class Carrier:
    """The application. Args: session: to fetch with; key: that everybody shows, and it too."""

    def __init__(self, folder: Folder, session: aiohttp.ClientSession, key: str) -> None:
        self._folder, self._session = folder, session
        self._headers = {"Authorization": f"Bearer {key}"}
        self._expected = self._headers["Authorization"].encode()

    def app(self) -> web.Application:
        """Return what has to be served."""
        app = web.Application(middlewares=[self._guarded()], client_max_size=1 << 12)
        app.router.add_get("/slots/{name}", self._get)
        app.router.add_post("/slots/{name}", self._act)
        return app

    async def sweep(self) -> None:
        """Remove what is left over, until cancelled."""
        while True:
            if found := self._folder.sweep():
                log.info("removed what nobody came for", files=found)
            await asyncio.sleep(SWEEP_SECONDS)

    def _guarded(self) -> Middleware:
        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, self._expected):
                return _said(401, "Send the engines' key: Authorization: Bearer …")
            try:
                return await handler(request)
            except FileNotFoundError:
                return _said(404, "There is no such file.")
            except FullError:
                return _said(507, "There is no room for it.")
            except OSError as error:
                return _said(502, f"The folder can't be used: {error.strerror or error}.")

        return guarded

    async def _get(self, request: web.Request) -> web.StreamResponse:
        with self._folder.read(request.match_info["name"]) as file:
            size = file.seek(0, 2)
            file.seek(0)
            reply = web.StreamResponse()
            reply.content_length = size
            await reply.prepare(request)
            while part := file.read(PART):
                await reply.write(part)
            return reply

    async def _act(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        match request.query.get("action"):
            case "drop":
                self._folder.drop(name)
                return _said(200, "dropped")
            case "fetch":
                try:
                    source = msgspec.json.decode(await request.read(), type=Fetch).source
                    size = await self._fetch(name, source)
                except (msgspec.DecodeError, aiohttp.InvalidURL):
                    return _said(400, 'Say where it is: {"from": "http://…"}.')
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    log.warning("not fetched", file=name, problem=str(error) or repr(error))
                    return _said(502, "It couldn't be fetched.")
                return web.json_response({"bytes": size})
        return _said(400, "action is fetch or drop.")

    async def _fetch(self, name: str, source: str) -> int:
        """Fetch a file and have it dropped there; return its size."""
        where = f"{source.rstrip('/')}/slots/{name}"
        ask = partial(
            self._session.request, headers=self._headers, timeout=FETCH, allow_redirects=False
        )
        async with ask("GET", where) as reply:
            if reply.status != 200 or reply.content_length is None:
                raise OSError(f"it is answered {reply.status} there")
            size = reply.content_length
            with self._folder.write(name, size) as file:
                async for part in reply.content.iter_chunked(PART):
                    file.write(part)
        async with ask("POST", where, params={"action": "drop"}):
            return size  # what isn't dropped there is swept


def _said(status: int, text: str) -> web.Response:
    return web.json_response({"message": text}, status=status)
