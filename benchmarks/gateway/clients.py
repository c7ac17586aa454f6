"""Clients that measure how old the tokens of a stream are when they reach them.

    python -m benchmarks.gateway.clients PORT STREAMS STEPS PROMPT

Prints JSON: quantiles of the ages of every eighth token in milliseconds, how many tokens came, and
how many were lost.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

from benchmarks.gateway.engine import DIGITS, age

_CONTENT = re.compile(rb'"content":\s?"([^"]+)"')


class Client(asyncio.Protocol):
    """One stream."""

    def __init__(self, body: bytes, ages: list[float], ended: asyncio.Future[int]) -> None:
        self._body, self._ages, self._ended = body, ages, ended
        self._rest = b""
        self._said = bytearray()
        self._came = 0.0
        self.steps = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's isn't a subclass
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(self._body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + self._body)

    def data_received(self, data: bytes) -> None:
        """Read the time of every step; several may have been put together."""
        now = time.time()
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if (found := _CONTENT.search(event)) is not None:
                for letter in found[1]:
                    if not self._said:
                        self._came = now
                    self._said.append(letter)
                    self.steps += 1
                    if len(self._said) == DIGITS:
                        self._ages.append(age(bytes(self._said), self._came))
                        self._said.clear()
            if b"[DONE]" in event and not self._ended.done():
                self._ended.set_result(self.steps)
                self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """It broke off, unless it had ended."""
        if not self._ended.done():
            self._ended.set_result(self.steps)


async def _run(port: int, streams: int, steps: int, prompt: int) -> None:
    loop = asyncio.get_running_loop()
    body = json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "x" * prompt}],
            "max_tokens": steps,
            "stream": True,
        }
    ).encode()
    every: list[list[float]] = []
    ended = []
    for number in range(streams):
        every.append([])
        ended.append(loop.create_future())
        ages, end = every[-1], ended[-1]
        await loop.create_connection(
            lambda ages=ages, end=end: Client(body, ages, end),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        if number % 25 == 24:
            await asyncio.sleep(0.05)
    came = sum(await asyncio.gather(*ended))
    # The first steps, while streams are still being opened, are left out.
    ages_ms = sorted(1000 * each for ages in every for each in ages[len(ages) // 4 :])
    found = {
        f"p{q}": round(ages_ms[min(len(ages_ms) - 1, len(ages_ms) * q // 100)], 3) for q in (50, 99)
    }
    print(json.dumps(found | {"steps": came, "lost": streams * steps - came}))


if __name__ == "__main__":
    uvloop.run(_run(*(int(each) for each in sys.argv[1:5])))
