"""Runs the demo of serving: two engines, a gateway, OpenAI's own client, and a drain under it.

Engines are the cost model's programs, so it needs no GPU; their text is a function of every token
before it, so that one token lost, doubled or altered would change all that follows. What they
should have said is computed beside it and compared.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import openai

from fairstow.gateway.cost_model import text
from tools.demo_serving.drawing import Heard, Line, page
from tools.programs import free_ports, program, title

OUT = Path("demo-out")
ENGINES = ("engine-a", "engine-b")
MODEL = "cost-model"
CLIENTS = 8
TOKENS = 160
READY_SECONDS = 120.0

Ledger = dict[str, Any]


def main() -> int:
    """Run the demo and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    OUT.mkdir(exist_ok=True)
    try:
        return asyncio.run(demo())
    except TimeoutError:
        print("The demo couldn't run: the programs didn't get ready.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The demo couldn't run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing of it is left running.", file=sys.stderr)
        return 130


async def demo() -> int:
    """Play it; return 0 if every answer was whole."""
    ports = free_ports(len(ENGINES) + 2)
    clients, admin = ports[-2:]
    async with AsyncExitStack() as stack:
        title("Two engines and a gateway, as programs on this machine")
        for name, port in zip(ENGINES, ports, strict=False):
            await stack.enter_async_context(
                program(name, "fairstow.gateway.cost_model_server", "--port", str(port))
            )
        named = [f"--engine={n}=http://127.0.0.1:{p}" for n, p in zip(ENGINES, ports, strict=False)]
        await stack.enter_async_context(
            program(
                *("gateway", "fairstow.gateway", *named, "--engine-priorities"),
                *("--listen", f"127.0.0.1:{clients}", "--admin-listen", f"127.0.0.1:{admin}"),
                *("--log-level", "warning"),
            )
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        ask = Asking(http, f"http://127.0.0.1:{admin}", clients)
        await ask.ready()
        return await _drain_under_load(ask)


async def _drain_under_load(ask: Asking) -> int:
    title(f"{CLIENTS} clients stream, with OpenAI's own package")
    began = time.monotonic()
    prompts = [f"Tell story number {number}. " * (1 + 4 * number) for number in range(CLIENTS)]
    lines = [Line(f"client {number + 1}") for number in range(CLIENTS)]
    answers = [
        asyncio.create_task(ask.stream(prompt, line, began))
        for prompt, line in zip(prompts, lines, strict=True)
    ]
    watching = asyncio.create_task(ask.watch(lines, began))
    await ask.wait(lambda ledger: _generated(ledger) > CLIENTS * TOKENS // 4)
    title(f"{ENGINES[0]} is drained under them")
    print(f'$ curl -X PUT …/drains -d \'{{"instances": ["{ENGINES[0]}"]}}\'')
    drained_at = time.monotonic() - began
    await ask.drain(ENGINES[0])
    await ask.wait(lambda ledger: ENGINES[0] not in {r["instance"] for r in ledger["requests"]})
    empty_at = time.monotonic() - began
    print(f"Nothing is on it any more, {empty_at - drained_at:.2f} s later. It can go.")
    heard = await asyncio.gather(*answers)
    watching.cancel()
    title("What the clients heard")
    wrong = [
        line.name
        for line, prompt, said in zip(lines, prompts, heard, strict=True)
        if said != _expected(prompt)
    ]
    longest = max(line.longest_gap(drained_at, empty_at) for line in lines)
    usual = sorted(gap for line in lines for gap in line.gaps)
    print(f"{CLIENTS - len(wrong)} of {CLIENTS} answers are, to the last character, what one")
    print("undisturbed engine says. One token lost, doubled or altered would have changed them.")
    print(f"Between two tokens: {1000 * usual[len(usual) // 2]:.0f} ms as a rule; while it drained")
    print(f"at most {1000 * longest:.0f} ms (this machine's own pauses included).")
    moved = next(i for i in (await ask.ledger())["instances"] if i["name"] == ENGINES[0])
    copied, recomputed = moved.get("moved", 0), moved.get("recomputed", 0)
    print(f"{copied} requests moved with their KV cache, {recomputed} were recomputed.")
    picture = OUT / "serving.html"
    picture.write_text(page(lines, ENGINES, drained_at, empty_at))
    title("Look around")
    print(f"  The picture, client by client:   {picture.resolve().as_uri()}")
    print("  On engines of yours:             python -m fairstow.gateway --help")
    return 1 if wrong else 0


class Asking:
    """Clients' and the operator's side of the gateway."""

    def __init__(self, http: aiohttp.ClientSession, admin: str, port: int) -> None:
        self._http = http
        self._admin = admin
        self._client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0
        )

    async def ready(self) -> None:
        """Wait until both engines serve and requests can move."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                try:
                    ledger = await self.ledger()
                except aiohttp.ClientError:
                    ledger = {"instances": []}
                ways = [i.get("movement") for i in ledger["instances"]]
                if len(ways) == len(ENGINES) and all(ways):
                    print(f"Ready: {', '.join(ENGINES)}. Between them requests move by {ways[0]}.")
                    return
                await asyncio.sleep(0.1)

    async def ledger(self) -> Ledger:
        """Return what the gateway knows."""
        async with self._http.get(f"{self._admin}/ledger") as reply:
            found: Ledger = await reply.json()
            return found

    async def wait(self, holds: Callable[[Ledger], bool]) -> None:
        """Wait until the ledger is so."""
        while not holds(await self.ledger()):
            await asyncio.sleep(0.02)

    async def drain(self, name: str) -> None:
        """Drain an engine."""
        body = json.dumps({"instances": [name]})
        async with self._http.put(f"{self._admin}/drains", data=body) as reply:
            reply.raise_for_status()

    async def stream(self, prompt: str, line: Line, began: float) -> str:
        """Ask for an answer, and note when each of its tokens came."""
        stream = await self._client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=TOKENS,
            stream=True,
        )
        said: list[str] = []
        async for chunk in stream:
            if chunk.choices and (content := chunk.choices[0].delta.content):
                said.append(content)
                line.heard.append(Heard(time.monotonic() - began, line.engine))
        return "".join(said)

    async def watch(self, lines: list[Line], began: float) -> None:
        """Note on which engine each request is, by the lengths of their prompts."""
        order: list[str] = []
        while True:
            requests = (await self.ledger())["requests"]
            if not order and len(requests) == len(lines):
                order = [r["id"] for r in sorted(requests, key=lambda r: r["prompt"])]
            for request in requests:
                if request["id"] in order and request["instance"]:
                    lines[order.index(request["id"])].at(
                        time.monotonic() - began, request["instance"]
                    )
            await asyncio.sleep(0.02)


def _generated(ledger: Ledger) -> int:
    return sum(request["generated"] for request in ledger["requests"])


def _expected(prompt: str) -> str:
    ids = text.render_chat([{"role": "user", "content": prompt}])
    return text.decode(text.expected("1", ids, TOKENS))


if __name__ == "__main__":
    sys.exit(main())
