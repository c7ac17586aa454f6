"""A gateway in the test's own event loop, behind real sockets, with engines and clients of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai

from fairstow.gateway.app import Limits
from fairstow.gateway.cost_model import text
from fairstow.gateway.cost_model.server import Server
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.protocol import Engine
from fairstow.gateway.engines.vllm import VllmEngine
from fairstow.gateway.engines.vocabulary import Vocabulary, read
from fairstow.gateway.service import MakeEngine, Ports, Settings, serve
from fairstow.kube.flags import Address
from fairstow.serving.policies import policy
from fairstow.serving.policies.protocols import Policy
from fairstow.serving.wire import Drains, Ledger, Move, Moves, RequestEntry, State, Taken
from tests.gateway.servers import KEY, serving, url

LOCAL = Address("127.0.0.1", 0)
MODEL = "m"


@dataclass
class Site:
    """A gateway and what is round it; closed at the end."""

    stack: AsyncExitStack
    http: aiohttp.ClientSession
    servers: dict[str, Server] = field(default_factory=dict)
    stops: dict[str, AsyncExitStack] = field(default_factory=dict)
    ports: Ports = field(init=False)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Task[None] | None = None

    async def engine(self, name: str, **options: Any) -> Server:
        """Start an engine."""
        stop = await self.stack.enter_async_context(AsyncExitStack())
        server = await stop.enter_async_context(serving(**options))
        self.servers[name], self.stops[name] = server, stop
        return server

    async def serve(self, names: str, **options: Any) -> None:
        """Start alike engines, a letter each, and a gateway over them that is ready."""
        for name in names:
            await self.engine(name, **options)
        await self.gateway()
        await self.ready()

    async def gateway(
        self,
        engines: Mapping[str, str] | None = None,
        *,
        tenants: Path | None = None,
        admin_token: str | None = None,
        metrics_token: str | None = None,
        grace: float = 5.0,
        keep_alive: float = 0.5,
        longest: int = 10 << 20,
        most_waiting: int = 1000,
        spread: Policy | str = "least-loaded",
        speeds: Mapping[str, float] | None = None,
        otlp: str | None = None,
        key: str = KEY,
        tokenizer: Path | None = None,
    ) -> None:
        """Start a gateway over the engines that run, or those named; wait until it serves."""
        named = engines or {name: url(server) for name, server in self.servers.items()}
        vocabulary = read(tokenizer) if tokenizer else None
        settings = Settings(
            listen=LOCAL,
            admin=LOCAL,
            engines=[
                _made(name, where, (speeds or {}).get(name, 1.0), key, vocabulary)
                for name, where in named.items()
            ],
            tenants=tenants,
            admin_token=admin_token,
            metrics_token=metrics_token,
            secret=b"secret",
            policy=policy(spread) if isinstance(spread, str) else spread,
            reschedule=False,
            most_waiting=most_waiting,
            limits=Limits(longest, keep_alive),
            grace=grace,
            replicas=1,
            name="g",
            pool="p",
            otlp=otlp,
        )
        found: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
        self.running = asyncio.create_task(serve(settings, self.stopped, found.set_result))
        self.stack.push_async_callback(self._end)
        self.ports = await found

    async def _end(self) -> None:
        self.stopped.set()
        assert self.running is not None
        await self.running

    async def ready(self, *names: str) -> None:
        """Wait until these engines serve, and it is known how requests move between them."""
        wanted = set(names or self.servers)
        await self.until(
            lambda ledger: (
                wanted
                <= {
                    each.name
                    for each in ledger.instances
                    if each.state is State.SERVING and (each.movement or len(wanted) == 1)
                }
            )
        )

    async def until(self, holds: Callable[[Ledger], object]) -> Ledger:
        """Wait until the ledger is so."""
        while not holds(ledger := await self.ledger()):
            await asyncio.sleep(0.01)
        return ledger

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.ports.clients}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.ports.admin}"

    def client(self, key: str = "any") -> openai.AsyncOpenAI:
        made = openai.AsyncOpenAI(base_url=f"{self.base}/v1", api_key=key, max_retries=0)
        self.stack.push_async_callback(made.close)
        return made

    async def ledger(self) -> Ledger:
        async with self.http.get(f"{self.admin}/ledger") as reply:
            return msgspec.json.decode(await reply.read(), type=Ledger)

    async def drain(self, *names: str) -> None:
        body = msgspec.json.encode(Drains(names))
        async with self.http.put(f"{self.admin}/drains", data=body) as reply:
            assert reply.status == 200, await reply.text()

    async def move(self, request: RequestEntry, destination: str) -> Taken:
        moves = Moves([Move(request.id, request.instance, destination, "asked")])
        async with self.http.post(f"{self.admin}/moves", data=msgspec.json.encode(moves)) as reply:
            return msgspec.json.decode(await reply.read(), type=Taken)

    async def moved_out(self, *names: str) -> None:
        """Wait until nothing is on these engines."""
        await self.until(lambda now: not {each.instance for each in now.requests} & set(names))

    async def post(
        self, path: str, body: Any, **headers: str
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Ask without OpenAI's client, with whatever body."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with self.http.post(self.base + path, data=BytesIO(data), headers=headers) as reply:
            return reply.status, await reply.json(content_type=None), reply.headers


def _made(
    name: str, where: str, speed: float, key: str, vocabulary: Vocabulary | None
) -> MakeEngine:
    def make(session: aiohttp.ClientSession) -> Engine:
        declared = Declared(weights="1", priority=True, speed=speed)
        return VllmEngine(session, name, where, key=key, declared=declared, vocabulary=vocabulary)

    return make


def run(test: Callable[[Site], Awaitable[None]], seconds: float = 300) -> None:
    """Run a test with a site of its own; the time is for what hangs, not for what is slow."""

    async def body() -> None:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession() as http,
            AsyncExitStack() as stack,
        ):
            await test(Site(stack, http))

    asyncio.run(body())


def chat(content: str) -> list[Any]:
    return [{"role": "user", "content": content}]


def expected(content: str, tokens: int, weights: str = "1") -> str:
    """Return what an engine answers to one message, whole characters only at its end."""
    ids = text.expected(weights, text.render_chat(chat(content)), tokens)
    return text.decode(ids)


async def streamed(client: openai.AsyncOpenAI, content: str, tokens: int, **more: Any) -> str:
    """Return what a client hears; fails unless the stream ends well."""
    stream = await client.chat.completions.create(
        model=MODEL, messages=chat(content), max_tokens=tokens, stream=True, **more
    )
    said: list[str] = []
    ends: list[str] = []
    async for chunk in stream:
        for choice in chunk.choices:
            said.append(choice.delta.content or "")
            ends += [choice.finish_reason] if choice.finish_reason else []
    assert ends == ["length"], ends
    return "".join(said)


async def heard(site: Site, content: str, tokens: int, **more: Any) -> str:
    """Return what a client hears that costs less than OpenAI's; for many at the same time."""
    body = {"model": MODEL, "messages": chat(content), "max_tokens": tokens, "stream": True, **more}
    async with site.http.post(f"{site.base}/v1/chat/completions", json=body) as reply:
        answer = await reply.read()
    assert answer.endswith(b"data: [DONE]\n\n"), answer[-300:]
    return said(answer)


async def heard_until(site: Site, content: str, enough: asyncio.Event) -> str:
    """Return what a client hears of an answer without end until it has heard enough."""
    body = {"model": MODEL, "messages": chat(content), "max_tokens": 100_000, "stream": True}
    answer = b""
    async with site.http.post(f"{site.base}/v1/chat/completions", json=body) as reply:
        while not enough.is_set():
            part = await reply.content.readany()
            assert part, answer[-300:]
            answer += part
    return said(answer[: answer.rindex(b"\n\n")])


def said(answer: bytes) -> str:
    """Return the text of a stream, of chat or plain completions."""
    events = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: {")]
    choices = [each for event in events for each in msgspec.json.decode(event)["choices"]]
    return "".join(each.get("text") or each.get("delta", {}).get("content", "") for each in choices)


@asynccontextmanager
async def process(port: int, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start an engine as a program, which can be killed."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairstow.gateway.cost_model_server"),
        *("--port", str(port), "--model", MODEL, *options),
    )
    try:
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()


def free_ports(count: int) -> Sequence[int]:
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
