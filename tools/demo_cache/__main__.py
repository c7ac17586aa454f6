"""Runs the demo of the semantic cache: a model, a sidecar, OpenAI's own client.

The model is the cost model's program, so it needs no GPU: it takes an A10's time and writes text
that answers nothing. The questions are real, and so is what compares them. The sidecar begins in
Shadow, where it only counts; then its owner sets Enforce.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai

from tools.programs import free_ports, program, title

MODEL = "cost-model"
TOKENS = 24
READY_SECONDS = 120.0
FIRST = "How do I enable two-factor authentication?"
SHADOW = (
    ("the question", FIRST),
    ("the same again", FIRST),
    ("in other words", "How can I enable two-factor authentication?"),
    ("another one", "Which regions can I deploy a cluster to?"),
)
TRAP = "How do I disable two-factor authentication?"
ENFORCE = (
    ("a new question", "What does a support contract cost?", "miss"),
    ("the same again", FIRST, "hit-exact"),
    ("in other words", "how do I enable the two-factor authentication", "hit-semantic"),
    ("a trap", TRAP, "miss"),
)
"""What is asked, and what the cache has to say."""
_BAR = 36


@dataclass(frozen=True)
class Asked:
    """A question, what the cache said of it, and how long the client waited."""

    what: str
    question: str
    said: str
    seconds: float


def main() -> int:
    """Run the demo and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return asyncio.run(demo())
    except TimeoutError:
        print("The demo couldn't run: the programs didn't get ready.", file=sys.stderr)
        return 1
    except (OSError, openai.APIError) as error:
        print(f"The demo couldn't run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing of it is left running.", file=sys.stderr)
        return 130


async def demo() -> int:
    """Play it; return 0 if every question met what it should."""
    model, clients, admin = free_ports(3)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "cache.yaml"
        config.write_text(_configuration("Shadow"))
        title("A model, and a sidecar before it in Shadow")
        await stack.enter_async_context(
            program("model", "fairstow.gateway.cost_model_server", "--port", str(model))
        )
        await stack.enter_async_context(
            program(
                *("sidecar", "fairstow.cache_sidecar", "--workload", "shop/web"),
                *("--upstream", f"http://127.0.0.1:{model}/v1", "--config", str(config)),
                *("--listen", f"127.0.0.1:{clients}", "--admin-listen", f"127.0.0.1:{admin}"),
                *("--log-level", "error"),
            )
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        cache = Cache(http, f"http://127.0.0.1:{admin}", clients)
        await cache.ready(f"http://127.0.0.1:{model}/health")
        return await _play(cache, config)


async def _play(cache: Cache, config: Path) -> int:
    title("Shadow: everything is asked of the model, and what would have been a hit is counted")
    for what, question in SHADOW:
        would = await cache.would(question)
        asked = await cache.ask(what, question)
        print(_line(asked, would))
        await asyncio.sleep(0.2)  # answers are kept behind the client's back
    title("Its owner tries the threshold on questions of their own, signs it, and sets Enforce")
    print("$ fairstow cache calibrate --pairs questions.jsonl")
    config.write_text(_configuration("Enforce"))
    await cache.mode("Enforce")
    title("Enforce")
    why = await cache.why(TRAP)
    heard = [await cache.ask(what, question) for what, question, _ in ENFORCE]
    slowest = max(each.seconds for each in heard)
    for each in heard:
        bar = "█" * max(1, round(_BAR * each.seconds / slowest))
        print(f"{_line(each)}  {bar}")
    title("Why the trap wasn't answered from memory")
    print(f"  {TRAP}")
    for reason in why:
        print(f"    {reason}")
    title("What the sidecar tells")
    stats = (await cache.stats())["categories"]["default"]
    print(f"  {stats['hits']} of {stats['requests']} requests from memory; {stats['semantic']}")
    print("  On Kubernetes: docs/cache-on-kubernetes.md, kubectl fairstow cache stats")
    wrong = 0
    for each, (what, _, wanted) in zip(heard, ENFORCE, strict=True):
        if each.said != wanted:
            wrong = 1
            print(f"{what} met {each.said}, not {wanted}.", file=sys.stderr)
    return wrong


def _configuration(mode: str) -> str:
    category = {"name": "default", "thresholdPermille": 850, "calibrationSigned": True}
    # An owner's laptop may be busy: a look-up may take longer here than in production.
    return json.dumps({"mode": mode, "categories": [category], "lookupDeadlineSeconds": 2.0})


def _line(asked: Asked, would: str = "") -> str:
    said = f"{asked.said} (would be {would})" if would not in ("", asked.said) else asked.said
    return f"  {asked.what:15} {said:29} {1000 * asked.seconds:7.1f} ms"


class Cache:
    """The sidecar, as its clients and its owner see it."""

    def __init__(self, http: aiohttp.ClientSession, admin: str, port: int) -> None:
        self._http, self._admin = http, admin
        self._client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0
        )

    async def ready(self, model: str) -> None:
        """Wait until the model answers and the cache remembers."""
        async with asyncio.timeout(READY_SECONDS):
            for url in (model, f"{self._admin}/stats"):
                while not await self._answers(url):
                    await asyncio.sleep(0.1)
        # The first embedding loads the model of questions.
        await self.would(FIRST)

    async def _answers(self, url: str) -> bool:
        try:
            async with self._http.get(url) as reply:
                return reply.status == 200
        except aiohttp.ClientError:
            return False

    async def ask(self, what: str, question: str) -> Asked:
        """Ask as a client does."""
        began = time.monotonic()
        reply = await self._client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=[{"role": "user", "content": question}],
            max_tokens=TOKENS,
            temperature=0,
        )
        return Asked(what, question, reply.headers["x-cache"], time.monotonic() - began)

    async def would(self, question: str) -> str:
        """Return what Enforce would do with a question now."""
        verdict = await self._explain(question)
        if not verdict["shadow"]:
            return str(verdict["outcome"])
        return "hit-semantic" if verdict["similarity"] is not None else "hit-exact"

    async def why(self, question: str) -> list[str]:
        """Return the reasons."""
        verdict = await self._explain(question)
        return [f"{each['rule']}: {each['detail']}" for each in verdict["reasons"]]

    async def _explain(self, question: str) -> dict[str, Any]:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": TOKENS,
            "temperature": 0,
        }
        asked = {"path": "/v1/chat/completions", "body": body}
        async with self._http.post(f"{self._admin}/explain", json=asked) as reply:
            reply.raise_for_status()
            verdict: dict[str, Any] = (await reply.json())["verdict"]
            return verdict

    async def mode(self, mode: str) -> None:
        """Wait until the sidecar has read its configuration again."""
        async with asyncio.timeout(READY_SECONDS):
            while (await self.stats())["categories"]["default"]["mode"] != mode:
                await asyncio.sleep(0.1)

    async def stats(self) -> dict[str, Any]:
        """Return what the sidecar tells."""
        async with self._http.get(f"{self._admin}/stats") as reply:
            found: dict[str, Any] = await reply.json()
            return found


if __name__ == "__main__":
    sys.exit(main())
