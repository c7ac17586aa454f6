"""Fairstow's look-ups, its index's recall, and the memory that entries take.

The whole look-up as the sidecar does it (`Memory.look_up`: thread for the vector, search, guard,
verifier, answer from SQLite), but for the model and HTTP. Called by `__main__`; `python -m
benchmarks.cache_lookup.ours ENTRIES` prints the memory of a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.cache_lookup.workload import Rows, entries, lookups
from fairstow.cache_sidecar import configuration
from fairstow.cache_sidecar.answers import text
from fairstow.cache_sidecar.asked import Asked
from fairstow.cache_sidecar.embedding import MODEL, Embedder, Vector
from fairstow.cache_sidecar.index import Index
from fairstow.cache_sidecar.kept import Answer, Form
from fairstow.cache_sidecar.memory import Memory
from fairstow.cache_sidecar.partition import Partition
from fairstow.cache_sidecar.stores.records import Head
from fairstow.cache_sidecar.stores.sqlite import SqliteStore
from fairstow.cache_sidecar.vectors import Vectors
from fairstow.semantic_cache.identity import Workload
from fairstow.serving.requests import Endpoint

RULES = configuration.parse(
    "{mode: Enforce, lookupDeadlineSeconds: 5, mostEntries: 1000000, reask: {permille: 0}, "
    "categories: [{name: default, calibrationSigned: true, quotaEntries: 1000000}]}",
    "the benchmark",
)
WHO = Workload("c", "team", "app")


class Known:
    """Gives the vectors that were made."""

    def __init__(self, vectors: dict[str, Vector]) -> None:
        self.vectors = vectors

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """Return those of the texts."""
        return [self.vectors.get(each) for each in texts]


def look_ups(count: int, asked: int, folder: Path) -> dict[str, float]:
    """Return seconds of CPU for a look-up, the median of wall time, and what was found."""
    return asyncio.run(_look_ups(count, asked, folder))


async def _look_ups(count: int, asked: int, folder: Path) -> dict[str, float]:
    texts, rows = entries(count)
    wanted = lookups(texts, rows, asked)
    known = Known({question: row for question, row, _ in wanted})
    vectors = Vectors(lambda: known)
    loading = asyncio.create_task(vectors.run())
    store = SqliteStore(folder)
    memory = Memory(RULES, store, Index(most=1_000_000), vectors)
    await _fill(memory, store, texts, rows)
    while not vectors.ready:
        await asyncio.sleep(0.01)
    requests = [(_asked(memory, question), at) for question, _, at in wanted]
    for request, _ in requests[:50]:
        await memory.look_up(request)  # lists are read, pages are warm
    wall, hits, right, began = [], 0, 0, time.process_time()
    for request, at in requests:
        started = time.perf_counter()
        found = await memory.look_up(request)
        wall.append(time.perf_counter() - started)
        if found.answer is not None:
            hits += 1
            right += at >= 0 and text(found.answer) == f"answer to {texts[at]}"
    cpu = time.process_time() - began
    loading.cancel()
    vectors.close()
    await store.close()
    return {
        "cpu": cpu / asked,
        "p50": sorted(wall)[asked // 2],
        "hits": hits / asked,
        "right": right / asked,
    }


def recall(count: int, asked: int) -> float:
    """Return how often the nearest of the index is the nearest."""
    _, rows = entries(count)
    partition = Partition()
    half = rows.astype(np.float16)
    partition.add_all([str(at) for at in range(count)], half)
    made = np.random.default_rng(3)
    chosen = rows[made.integers(count, size=asked)]
    queries = chosen + made.normal(size=chosen.shape) * (0.4 / chosen.shape[1] ** 0.5)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    exact = half.astype(np.float32)
    same = 0
    for query in queries:
        near = exact @ query
        (name, similarity), *_ = partition.search(query, 8)
        # Equally near counts: float16 makes ties.
        same += name == str(int(np.argmax(near))) or similarity >= float(near.max()) - 1e-6
    return same / asked


async def _fill(memory: Memory, store: SqliteStore, texts: list[str], rows: Rows) -> None:
    now = time.time()
    heads = []
    for question, row in zip(texts, rows, strict=True):
        asked = _asked(memory, question)
        heads.append(
            Head(
                asked.entry, asked.namespace, asked.request.fingerprint, asked.tenant, "default",
                question, now, now + 3_000, 1.0, 7, MODEL, row.astype(np.float16).tobytes(),
            )
        )  # fmt: skip
        await store.put(heads[-1], _answer(question))
    memory.index.load(heads, {})


def _asked(memory: Memory, question: str) -> Asked:
    body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": question}]}
    asked = memory.asked(
        Endpoint.CHAT, body, Form.WHOLE, WHO, lambda _: None, trusted=True, remember=False
    )
    assert asked is not None
    return asked


def _answer(question: str) -> Answer:
    message = {"role": "assistant", "content": f"answer to {question}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Answer(Endpoint.CHAT, "chatcmpl-", {"model": "m", "choices": [choice]})


def _resident() -> int:
    said = Path("/proc/self/status").read_text()
    return int(said.split("VmRSS:")[1].split()[0]) * 1024


def main() -> None:
    """Print the bytes that a process takes with its model, and what entries add."""
    count = int(sys.argv[1])
    Embedder().embed(["a question"])
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder))
        memory = Memory(RULES, store, Index(most=1_000_000), Vectors())
        empty = _resident()
        _, rows = entries(count)
        base = _resident()
        asyncio.run(_numbered(memory, rows))
        filled = _resident()
        print(empty, filled - base)


async def _numbered(memory: Memory, rows: Rows) -> None:
    """Fill the index one by one, as it is filled in service."""
    now = time.time()
    for at, row in enumerate(rows):
        head = Head(
            f"{at:032x}", "namespace", "fingerprint", "tenant", "default",
            f"How do I do number {at} of what there is to do?", now, now + 3_000, 1.0, 7, MODEL,
            row.astype(np.float16).tobytes(),
        )  # fmt: skip
        memory.index.put(head, priority=0, quota=10**6, threshold=0.9)


if __name__ == "__main__":
    main()
