"""Writes entries into a folder until it is killed, telling each; loads little, to start soon."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fairstow.cache_sidecar.kept import Answer
from fairstow.cache_sidecar.stores.records import Head
from fairstow.cache_sidecar.stores.sqlite import SqliteStore
from fairstow.serving.requests import Endpoint


def entry(number: int) -> tuple[Head, Answer]:
    """Return what is written under a number."""
    name, vector = f"{number:032x}", bytes([number % 256]) * 768
    head = Head(name, "n", "f", "t", "c", f"question {number}", 0.0, 100.0, 1.0, 7, "m", vector)
    message = {"role": "assistant", "content": f"{number}" * 500}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return head, Answer(Endpoint.CHAT, "chatcmpl-", {"model": "m", "choices": [choice]})


async def write(folder: Path) -> None:
    store = SqliteStore(folder)
    for number in range(1_000_000):
        await store.put(*entry(number))
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
