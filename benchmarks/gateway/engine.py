"""An engine that costs nothing: each stream says the time, so many times a second.

    python -m benchmarks.gateway.engine PORT RATE

It speaks just enough of vLLM's API for the gateway, and of OpenAI's for a proxy in its place. A
token is a byte, a step says one of them. DIGITS steps in a row say when the first of them was said,
in microseconds since the epoch in base 90, so that whoever reads the text knows how old it is.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import cast

import msgspec
import uvloop

DIGITS = 8
BASE = 90
FIRST = 33  # "!", and 90 characters on, without what JSON escapes


class _Sampling(msgspec.Struct):
    max_tokens: int = 16


class _Body(msgspec.Struct):
    token_ids: list[int] = []
    sampling_params: _Sampling = msgspec.field(default_factory=_Sampling)
    max_tokens: int = 16
    stream: bool = False


_LETTERS = [c for c in range(FIRST, FIRST + BASE + 2) if chr(c) not in '"\\']
_VALUE = {letter: value for value, letter in enumerate(_LETTERS)}
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_METRICS = (
    b'vllm:num_requests_running{engine="0"} 0\nvllm:num_requests_waiting{engine="0"} 0\n'
    b'vllm:cache_config_info{block_size="16",num_gpu_blocks="1000000"} 1.0\n'
)
_CARDS = b'{"data":[{"id":"m","max_model_len":100000}]}'
_FIXED = {
    b"/version": b'{"version":"0.32.0"}',
    b"/v1/models": _CARDS,
    b"/metrics": _METRICS,
    b"/tokenizer_info": b'{"tokenizer_class":"CostModelBytes"}',
    b"/tokenize": b'{"tokens":[1]}',
}


def stamp(now: float) -> list[int]:
    """Return a time as bytes of text."""
    left, said = int(now * 1e6), []
    for _ in range(DIGITS):
        left, digit = divmod(left, BASE)
        said.append(_LETTERS[digit])
    return said[::-1]


def age(text: bytes, now: float) -> float:
    """Return the seconds since a text was said."""
    value = 0
    for letter in text:
        value = value * BASE + _VALUE[letter]
    return now - value / 1e6


class Engine(asyncio.Protocol):
    """One connection."""

    def __init__(self, rate: float) -> None:
        self._pause = 1.0 / rate
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's isn't a subclass

    def connection_lost(self, _exc: Exception | None) -> None:
        """End what is being said."""
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer whole requests; clients here send one at a time."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(body) < length:
            return
        self._buffer = b""
        self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path.endswith(b"/render"):
            rendered = b'{"token_ids":%b}' % msgspec.json.encode([65] * len(body))
            self._whole(b"[" + rendered + b"]" if b"chat" not in path else rendered)
        elif path == b"/detokenize":
            tokens = msgspec.json.decode(body)["tokens"]
            self._whole(msgspec.json.encode({"prompt": bytes(tokens).decode()}))
        elif path in _FIXED:
            self._whole(_FIXED[path])
        elif path in (b"/inference/v1/generate", b"/v1/chat/completions"):
            asked = msgspec.json.decode(body, type=_Body)
            ids = path != b"/v1/chat/completions"
            tokens = asked.sampling_params.max_tokens if ids else asked.max_tokens
            if asked.stream:
                self._task = asyncio.create_task(self._say(tokens, ids=ids))
            else:  # a probe; nothing is held here
                self._whole(b'{"choices":[{"token_ids":[65],"finish_reason":"length"}]}')
        else:
            self._whole(b"{}")

    def _whole(self, body: bytes) -> None:
        self._transport.write(_JSON % (len(body), body))

    async def _say(self, steps: int, *, ids: bool) -> None:
        self._transport.write(_STREAM)
        digits: list[int] = []
        due = time.monotonic() + random.random() * self._pause
        for step in range(steps):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += self._pause
            if step % DIGITS == 0:
                digits = stamp(time.time())
            said = [digits[step % DIGITS]]
            last = step == steps - 1
            end = b'"length"' if last else b"null"
            if ids:
                content = b'"token_ids":%b' % msgspec.json.encode(said)
            else:
                content = b'"delta":{"content":%b}' % msgspec.json.encode(bytes(said).decode())
            event = b'data: {"choices":[{"index":0,%b,"finish_reason":%b}]}\n\n' % (content, end)
            if last:
                event += b"data: [DONE]\n\n"
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._transport.write(b"0\r\n\r\n")


async def _serve(port: int, rate: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Engine(rate), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
