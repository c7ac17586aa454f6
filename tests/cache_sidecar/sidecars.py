"""A sidecar in the test's own event loop, behind real sockets, with an upstream that counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import openai
import yaml
from aiohttp import web

from fairstow.cache_sidecar.embedding import DIMENSION, Vector
from fairstow.cache_sidecar.remembering import Where
from fairstow.cache_sidecar.service import Ports, Settings, serve
from fairstow.kube.flags import Address
from fairstow.semantic_cache.identity import Workload

LOCAL = Address("127.0.0.1", 0)
WORKLOAD = Workload("c", "team", "app")
CATEGORY = {"name": "default", "mode": "Enforce", "calibrationSigned": True}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SameVector:
    """Embeds all texts alike: what keeps them apart then is threshold, guard and partition."""

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        one = np.zeros(DIMENSION, np.float32)
        one[0] = 1.0
        return [one for _ in texts]


class Upstream:
    """Answers chats by its own count; what it says of itself is in `asked`."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.status = 200
        self.choice: dict[str, Any] = {}
        self.said: str | None = None
        self.cut = False
        self.gate: asyncio.Event | None = None
        self.load = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST" or "completions" not in request.path:
            return web.Response(body=await request.read(), headers={"x-path": request.path_qs})
        body = msgspec.json.decode(await request.read())
        self.asked.append(body)
        self.headers.append(request.headers)
        if self.gate is not None:
            await self.gate.wait()
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        said = self.said or f"answer {len(self.asked)}"
        head = {"id": f"chatcmpl-{len(self.asked)}", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop"} | self.choice
            choice.setdefault("message", {"role": "assistant", "content": said})
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            whole = head | {"object": "chat.completion", "choices": [choice], "usage": usage}
            return web.json_response(whole, headers={"x-load": self.load} if self.load else None)
        return await self._stream(request, head, said)

    async def _stream(
        self, request: web.Request, head: dict[str, Any], said: str
    ) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": f"{word} "} for word in said.split()]
        for delta in deltas:
            await reply.write(_chunk(head, {"index": 0, "delta": delta, "finish_reason": None}))
        if self.cut:
            assert request.transport is not None
            request.transport.abort()
            return reply
        await reply.write(_chunk(head, {"index": 0, "delta": {}, "finish_reason": "stop"}))
        await reply.write(b"data: [DONE]\n\n")
        return reply


def _chunk(head: dict[str, Any], choice: dict[str, Any]) -> bytes:
    chunk = head | {"object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


@dataclass
class Site:
    """A sidecar, its upstream and clients; closed at the end."""

    stack: AsyncExitStack
    http: aiohttp.ClientSession
    folder: Path
    upstream: Upstream = field(default_factory=Upstream)
    ports: Ports = field(init=False)
    stop: AsyncExitStack = field(init=False)
    running: asyncio.Task[None] = field(init=False)

    async def start(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        workload: Workload | None = WORKLOAD,
        data: bool = False,
        where: Where | None = None,
        url: str | None = None,
        ready: bool = True,
        **more: Any,
    ) -> None:
        """Start upstream and sidecar; `url` names another upstream."""
        if url is None:
            url = await self._upstream()
        path = self.folder / "cache.yaml"
        path.write_text(yaml.safe_dump(dict(config or {"categories": [CATEGORY]})))
        more.setdefault("embedder", SameVector)
        settings = Settings(
            upstream=url,
            listen=LOCAL,
            admin=LOCAL,
            config=path,
            where=where or Where(folder=self.folder / "data" if data else None),
            workload=workload,
            grace=2.0,
            **more,
        )
        self.stop = await self.stack.enter_async_context(AsyncExitStack())
        stopped = asyncio.Event()
        found: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
        self.running = running = asyncio.create_task(serve(settings, stopped, found.set_result))

        async def end() -> None:
            stopped.set()
            await running

        self.stop.push_async_callback(end)
        await asyncio.wait((found, running), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        self.ports = found.result()
        while ready and (await self.admin("GET", "/stats"))[0] != 200:
            await asyncio.sleep(0.01)

    async def _upstream(self) -> str:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self.upstream.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.ports.clients}"

    def client(self, key: str = "key") -> openai.AsyncOpenAI:
        made = openai.AsyncOpenAI(base_url=f"{self.base}/v1", api_key=key, max_retries=0)
        self.stack.push_async_callback(made.close)
        return made

    async def admin(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        url = f"http://127.0.0.1:{self.ports.admin}{path}"
        data = None if body is None else msgspec.json.encode(body)
        async with self.http.request(method, url, data=data, headers=headers) as reply:
            return reply.status, await reply.read()

    async def ask(
        self, question: str, *, key: str = "key", headers: Mapping[str, str] = {}, **more: Any
    ) -> tuple[str, str]:
        """Ask without OpenAI's client; return what x-cache says, and the text."""
        body = {"model": "m", "temperature": 0} | more
        body.setdefault("messages", [{"role": "user", "content": question}])
        sent = {"authorization": f"Bearer {key}", **headers}
        url = f"{self.base}/v1/chat/completions"
        async with self.http.post(
            url, data=BytesIO(msgspec.json.encode(body)), headers=sent
        ) as reply:
            data = await reply.read()
            cache = reply.headers.get("x-cache", "")
            if body.get("stream"):
                return cache, text_of(data)
            said = msgspec.json.decode(data)
            if "error" in said:
                return cache, str(reply.status)
            return cache, said["choices"][0]["message"]["content"]

    async def category(self, name: str = "default") -> dict[str, Any]:
        """Return what the admin port says of a category."""
        _, found = await self.admin("GET", "/stats")
        stats: dict[str, Any] = msgspec.json.decode(found)["categories"][name]
        return stats

    async def stored(self, entries: int) -> None:
        """Wait until so many answers are kept."""
        while msgspec.json.decode((await self.admin("GET", "/stats"))[1])["entries"] != entries:
            await asyncio.sleep(0.005)


def text_of(events: bytes) -> str:
    said = [line[6:] for line in events.split(b"\n") if line.startswith(b"data: ")]
    assert said[-1] == b"[DONE]"
    chunks = [msgspec.json.decode(each) for each in said[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices).strip()


def run(test: Callable[[Site], Awaitable[None]], folder: Path, seconds: float = 20) -> None:
    """Run a test with a site of its own; the time is for what hangs, not for what is slow."""

    async def body() -> None:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession() as http,
            AsyncExitStack() as stack,
        ):
            await test(Site(stack, http, folder))

    asyncio.run(body())


async def collected(stream: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in stream]
