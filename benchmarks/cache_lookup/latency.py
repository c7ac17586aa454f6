"""What a real sidecar adds to a request, before a server that waits for nothing.

With the real model. Rounds of requests, one after the other: straight to the server; passed on
without a look (another path); a new question; the same again; a near question, and that again. The
last differs from the one before by the embedding, which is in a memo then. Called by `__main__`;
`sidecar` by `cache_timing`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

CONFIG = (
    "{mode: Enforce, reask: {permille: 0}, lookupDeadlineSeconds: 5, "
    "categories: [{name: default, calibrationSigned: true}]}"
)
_THINGS = ("password", "invoice", "address", "report", "licence", "calendar", "contract", "badge")


def added(rounds: int) -> dict[str, float]:
    """Return the median seconds of each kind of request."""
    return asyncio.run(_added(rounds))


async def _added(rounds: int) -> dict[str, float]:
    async with sidecar(CONFIG, "--workload", "team/app") as (http, straight, through):
        await _rounds(http, straight, through, 10)
        return await _rounds(http, straight, through, rounds)


@asynccontextmanager
async def sidecar(
    config: str, *flags: str
) -> AsyncIterator[tuple[aiohttp.ClientSession, str, str]]:
    """Run one with the real model; yield a client, the server's URL and the sidecar's."""
    runner = web.AppRunner(_upstream())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    straight = f"http://127.0.0.1:{runner.addresses[0][1]}"
    ports = [_free(), _free()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.yaml"
        path.write_text(config)
        command = [
            sys.executable, "-m", "fairstow.cache_sidecar", "--upstream", straight,
            "--config", str(path), "--data", f"{folder}/data", *flags,
            "--listen", f"127.0.0.1:{ports[0]}", "--admin-listen", f"127.0.0.1:{ports[1]}",
            "--log-level", "error",
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        try:
            async with aiohttp.ClientSession() as http:
                await _ready(http, f"http://127.0.0.1:{ports[1]}/stats")
                yield http, straight, f"http://127.0.0.1:{ports[0]}"
        finally:
            process.terminate()
            await process.wait()
            await runner.cleanup()


async def _rounds(
    http: aiohttp.ClientSession, straight: str, through: str, rounds: int
) -> dict[str, float]:
    taken: dict[str, list[float]] = {}
    for number in range(rounds):
        thing = f"{_THINGS[number % 8]} of department {rounds * 1_000 + number}"
        new, near = f"How do I renew the {thing}?", f"how do I renew the {thing}, please"
        plan = (
            ("straight", straight, new, None),
            ("passed", through, None, None),
            ("miss", through, new, "miss"),
            ("exact", through, new, "hit-exact"),
            ("semantic", through, near, "hit-semantic"),
            ("semantic, known vector", through, near, "hit-semantic"),
        )
        for kind, url, question, expected in plan:
            if kind == "exact":
                await asyncio.sleep(0.02)  # what was just answered is being kept
            began = time.perf_counter()
            said = await _ask(http, url, question)
            seconds = time.perf_counter() - began
            if expected in (None, said):
                taken.setdefault(kind, []).append(seconds)
    for kind, times in taken.items():
        assert len(times) > rounds / 2, f"{kind} came about {len(times)} times in {rounds}"
    return {kind: sorted(times)[len(times) // 2] for kind, times in taken.items()}


async def _ask(http: aiohttp.ClientSession, url: str, question: str | None) -> str:
    path = "/v1/chat/completions" if question is not None else "/v1/models"
    messages = [{"role": "user", "content": question}]
    body = {"model": "m", "temperature": 0, "messages": messages}
    async with http.post(f"{url}{path}", json=body) as reply:
        await reply.read()
        return reply.headers.get("x-cache", "")


async def _ready(http: aiohttp.ClientSession, url: str) -> None:
    while True:
        try:
            async with http.get(url) as reply:
                if reply.status == 200:
                    break
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)  # the model


def _upstream() -> web.Application:
    choice = {"index": 0, "finish_reason": "stop"}
    choice["message"] = {"role": "assistant", "content": "Here is how. " * 40}
    said = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    data = json.dumps(said | {"choices": [choice], "usage": {"completion_tokens": 120}}).encode()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=data, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
