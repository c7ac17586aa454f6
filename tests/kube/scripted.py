"""An API server that follows a script: each list and watch gets the next reply, good or bad.

On a real socket, for faults that a healthy API server doesn't produce. A watch beyond the script
stays open and silent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from fairstow.kube.aio.api import Api
from tests.kube.server import kubeconfig

Object = dict[str, Any]


@dataclass
class Listed:
    """A page of a list."""

    names: list[str]
    version: str
    following: str = ""


@dataclass
class Watched:
    """Lines of a watch; then it ends, breaks off or stays silent."""

    lines: list[bytes]
    then: str = "end"


@dataclass
class Refused:
    """An error."""

    status: int
    said: str = "no"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Nonsense:
    """A reply that is no Kubernetes object."""

    body: bytes


Reply = Listed | Watched | Refused | Nonsense


def obj(name: str, version: str = "1") -> Object:
    return {"metadata": {"name": name, "namespace": "team", "resourceVersion": version}}


def event(kind: str, name: str, version: str) -> bytes:
    return json.dumps({"type": kind, "object": obj(name, version)}).encode() + b"\n"


def bookmark(version: str) -> bytes:
    meta = {"resourceVersion": version}
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": meta}}).encode() + b"\n"


def error(status: int) -> bytes:
    body = {"kind": "Status", "code": status, "message": "too old resource version"}
    return json.dumps({"type": "ERROR", "object": body}).encode() + b"\n"


class Server(Protocol):
    """What answers requests."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Return the reply to a request."""


class Script:
    """Attributes: asked: the query of each request so far; over: the script's end was reached."""

    def __init__(self, *replies: Reply) -> None:
        self.asked: list[dict[str, str]] = []
        self.over = asyncio.Event()
        self._replies = list(replies)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query) | {"method": request.method})
        if not self._replies:
            self.over.set()
            return await _silent(request)
        match self._replies.pop(0):
            case Listed(names, version, following):
                assert "watch" not in request.query
                meta = {"resourceVersion": version, "continue": following}
                body = {"kind": "XList", "metadata": meta, "items": [obj(n) for n in names]}
                return web.json_response(body)
            case Refused(status, said, headers):
                return web.json_response({"message": said}, status=status, headers=headers)
            case Nonsense(body):
                return web.Response(body=body)
            case Watched(lines, then):
                assert "watch" in request.query
                return await _watch(request, lines, then)

    def versions(self) -> list[str]:
        """From where each watch began."""
        return [a["resourceVersion"] for a in self.asked if "watch" in a]


async def _watch(request: web.Request, lines: list[bytes], then: str) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for line in lines:
        await response.write(line)
    if then == "silence":
        await asyncio.sleep(3600)
    if then == "break":
        assert request.transport is not None
        request.transport.abort()
    return response


async def _silent(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"")
    await asyncio.sleep(3600)
    return response


@asynccontextmanager
async def following(script: Server, folder: Path) -> AsyncIterator[Api]:
    """Serve a script, or whatever answers; yields a connection to it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        path = folder / "kubeconfig"
        path.write_text(kubeconfig(f"http://127.0.0.1:{port}"))
        async with Api.connect(str(path)) as api:
            yield api
    finally:
        await runner.cleanup()
