"""Many clients inside a real node's network, each the unmodified `openai` package.

They run in a thread that has entered the network's namespace, so that they reach Services by their
ClusterIPs as pods do, while the test goes on doing things to the cluster.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import openai

from tests.gateway.gateways import MODEL, chat, expected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CLONE_NEWNET = 0x40000000


@dataclass
class Client:
    """One stream. Attributes: wrong: what went wrong with it, "" while nothing has."""

    content: str
    tokens: int
    said: str = ""
    ended: bool = False
    wrong: str = ""
    spoke: float = 0.0
    longest: float = 0.0
    """Seconds between two of its chunks at most."""


@dataclass
class Crowd:
    """Streams that run side by side, begun with `crowd`."""

    base: str
    key: str
    clients: list[Client]
    namespace: Path
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What each of them asks for besides."""
    _thread: threading.Thread = field(init=False)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def speaking(self, characters: int = 1, timeout: float = 60) -> None:
        """Wait until every client has heard so much."""
        self._wait(lambda: all(len(c.said) >= characters or c.wrong for c in self.clients), timeout)
        assert not self.wrong(), self.wrong()

    def running(self) -> int:
        return sum(not (each.ended or each.wrong) for each in self.clients)

    def wrong(self) -> list[str]:
        return [each.wrong for each in self.clients if each.wrong]

    def ended(self, timeout: float = 180) -> list[str]:
        """Wait for all of them to end well, and return what each heard."""
        self._wait(lambda: not self.running(), timeout)
        assert self.wrong() == []
        return [each.said for each in self.clients]

    def unbroken(self, weights: str = "1", timeout: float = 180) -> None:
        """Wait for all of them to end; each heard every token once, and no other."""
        self.ended(timeout)
        for each in self.clients:
            assert each.said == expected(each.content, each.tokens, weights)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _wait(self, done: object, timeout: float) -> None:
        assert callable(done)
        deadline = time.monotonic() + timeout
        while not done():
            assert self._thread.is_alive() or done(), "the clients' thread has ended"
            assert time.monotonic() < deadline, f"{self.running()} of {len(self.clients)} still run"
            time.sleep(0.05)

    def _main(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with self.namespace.open("rb") as there:
            if libc.setns(there.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        asyncio.run(self._all())

    async def _all(self) -> None:
        async with openai.AsyncOpenAI(
            base_url=f"{self.base}/v1", api_key=self.key, max_retries=0, timeout=300
        ) as client:
            tasks = [
                asyncio.create_task(_stream(client, each, self.asked)) for each in self.clients
            ]
            while not self._stop.is_set() and not all(task.done() for task in tasks):
                await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _stream(client: openai.AsyncOpenAI, one: Client, asked: Mapping[str, Any]) -> None:
    ends: list[str] = []
    try:
        stream = await client.chat.completions.create(
            model=MODEL, messages=chat(one.content), max_tokens=one.tokens, stream=True, **asked
        )
        async for chunk in stream:
            now = time.monotonic()
            one.longest = max(one.longest, now - one.spoke) if one.spoke else 0.0
            one.spoke = now
            for choice in chunk.choices:
                one.said += choice.delta.content or ""
                ends += [choice.finish_reason] if choice.finish_reason else []
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        one.wrong = f"{one.content}: {error!r} after {len(one.said)} characters"
        return
    if ends != ["length"]:
        one.wrong = f"{one.content}: ended by {ends} after {len(one.said)} characters"
    one.ended = True


@contextmanager
def crowd(
    base: str, key: str, network: Path, *, count: int, tokens: int, **asked: Any
) -> Iterator[Crowd]:
    """Have so many clients ask for answers of so many tokens, and for what else is said."""
    clients = [Client(f"prompt {number}", tokens) for number in range(count)]
    found = Crowd(base, key, clients, network, asked)
    found.start()
    try:
        yield found
    finally:
        found.stop()
