"""Every fault that the cache may meet: the request is answered by the upstream, and it is counted.

One table through real sockets: clocks that jump, a disk that is full, Redis slow, of a wrong type,
evicting, an entry or the index damaged, prompts of a megabyte, control characters, embeddings of
NaN, 10,000 categories that clients name. In depth elsewhere: stores (test_store, test_redis), disks
and vectors (test_robust), damaged files (test_sidecar), any request (test_fuzz). Left out: jumps of
the monotonic clock, which has none.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import pytest

from fairstow.cache_sidecar import remembering
from fairstow.cache_sidecar.embedding import DIMENSION, Vector
from fairstow.cache_sidecar.memory import Memory
from fairstow.cache_sidecar.metrics import REGISTRY
from fairstow.cache_sidecar.remembering import Where
from fairstow.cache_sidecar.stores.connection import Address
from fairstow.cache_sidecar.stores.sqlite import SqliteStore
from tests.cache_sidecar.redis_servers import Server, needed, running
from tests.cache_sidecar.sidecars import CATEGORY, Site, run

PATIENT = {"categories": [CATEGORY], "lookupDeadlineSeconds": 5}
Counted = tuple[str, dict[str, str]]
FAILED, NOT_STORED = "fairstow_cache_failed_open_total", "fairstow_cache_not_stored_total"
LOOKUPS = "fairstow_cache_lookups_total"


def value(counted: Counted) -> float:
    """Return what a counter stands at, over all labels that aren't named."""
    name, labels = counted
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


class Fault:
    """A sidecar that has kept an answer to "a question", and what may befall it."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self.memory: Memory
        self.redis: Server | None = None

        def made(*given: Any, **named: Any) -> Memory:
            self.memory = Memory(*given, **named)
            return self.memory

        monkeypatch.setattr(remembering, "Memory", made)

    @property
    def server(self) -> Server:
        assert self.redis is not None
        return self.redis

    async def jump(self, seconds: float) -> None:
        real = self.memory._now
        self.memory._now = lambda: real() + seconds

    async def back(self) -> None:
        await self.jump(-100_000)

    async def ahead(self) -> None:
        await self.jump(100_000)

    async def disk(self) -> None:
        store = self.memory._store
        assert isinstance(store, SqliteStore)
        pages = store._base.execute
        store._thread.submit(pages, "PRAGMA max_page_count=1").result()

    async def damaged(self) -> None:
        with sqlite3.connect(self.site.folder / "data" / "cache.db") as base:
            base.execute("UPDATE answers SET answer = x'00'")
        base.close()

    async def index(self) -> None:
        del self.memory.index.rows

    async def gone(self) -> None:
        self.server.say("flushall")

    async def typed(self) -> None:
        for key in self.server.say("keys", "*:answer:*").split():
            self.server.say("del", key)
            self.server.say("lpush", key, "x")

    async def slow(self) -> None:
        self.server.process.send_signal(signal.SIGSTOP)


Does = Callable[[Fault], Awaitable[None]]
# What happens; whether in Redis; what "a question" then gets; what counts it.
FAULTS: dict[str, tuple[Does, bool, str, Counted]] = {
    "the clock jumps back": (Fault.back, False, "miss", (LOOKUPS, {"result": "miss"})),
    "the clock jumps ahead": (Fault.ahead, False, "miss", (LOOKUPS, {"result": "miss"})),
    "the disk is full": (Fault.disk, False, "hit-exact", (NOT_STORED, {"reason": "store"})),
    "an answer is damaged": (Fault.damaged, False, "miss", (FAILED, {"reason": "lost"})),
    "the index is broken": (Fault.index, False, "miss", (FAILED, {"reason": "fault"})),
    "Redis evicts": (Fault.gone, True, "miss", (FAILED, {"reason": "lost"})),
    "Redis has a wrong type": (Fault.typed, True, "miss", (FAILED, {"reason": "store"})),
    "Redis is slow": (Fault.slow, True, "miss", (FAILED, {"reason": "deadline"})),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=needed if FAULTS[name][1] else ()) for name in FAULTS]
)
def test_fault_of_the_cache_costs_hits_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    befalls, shared, said, counted = FAULTS[fault]
    monkeypatch.setattr(remembering, "EXPIRE_SECONDS", 3_600)

    async def test(site: Site) -> None:
        met = Fault(site, monkeypatch)
        with ExitStack() as stack:
            config: dict[str, Any] = PATIENT
            where = None
            if shared:
                met.redis = Server(tmp_path / "redis")
                stack.enter_context(running(met.redis))
                where = Where(redis=Address(url=f"redis://127.0.0.1:{met.redis.port}"), prefix="c")
            if counted[1].get("reason") == "deadline":
                config = {"categories": [CATEGORY], "lookupDeadlineSeconds": 0.5}
            await site.start(config=config, data=not shared, where=where)
            await site.ask("a question")
            await site.stored(1)
            assert (await site.ask("a question"))[0] == "hit-exact"
            before = value(counted)
            await befalls(met)
            asked = len(site.upstream.asked)
            got = await site.ask("a question")
            assert got[0] == said
            assert got[1] == ("answer 1" if said == "hit-exact" else f"answer {asked + 1}")
            assert counted[0] == NOT_STORED or value(counted) > before
            site.upstream.said = token_hex(50_000)  # more than pages that are there already hold
            assert (await site.ask("another"))[0] == "miss"
            while not value(counted) > before:
                await asyncio.sleep(0.01)
            await site.stop.aclose()

    run(test, tmp_path, seconds=30)


CONTROL = "".join(map(chr, [*range(32), *range(127, 160), 0x2028, 0x202E, 0xFEFF, 0xFFFF]))


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        pytest.param("word " * 300_000, False, id="longer than longestBody"),
        pytest.param("word " * 200_000, True, id="a megabyte"),
        pytest.param("\x00" * 150_000, True, id="a megabyte of escapes"),
        pytest.param(CONTROL, True, id="control characters"),
        pytest.param(f"How do I{CONTROL} reset my password?", True, id="control characters within"),
        pytest.param("\U0001f469\u200d" * 50_000, True, id="joined faces"),
    ],
)
def test_odd_prompt_is_answered_and_counted(tmp_path: Path, question: str, kept: bool) -> None:
    async def test(site: Site) -> None:
        await site.start(config=PATIENT)
        counted = (LOOKUPS, {"result": "miss"})
        before, failed = value(counted), value((FAILED, {}))
        assert (await site.ask(question)) == ("miss" if kept else "", "answer 1")
        assert value(counted) - before == kept
        if kept:
            await site.stored(1)
            assert (await site.ask(question)) == ("hit-exact", "answer 1")
        assert value((FAILED, {})) == failed

    run(test, tmp_path)


@pytest.mark.parametrize("number", [np.nan, np.inf, 0.0])
def test_embedding_that_is_none_is_answered_and_counted(tmp_path: Path, number: float) -> None:
    class Broken:
        def embed(self, texts: Sequence[str]) -> list[Vector | None]:
            return [np.full(DIMENSION, number, np.float32) for _ in texts]

    async def test(site: Site) -> None:
        await site.start(config=PATIENT, embedder=Broken)
        counted = (LOOKUPS, {"result": "miss"})
        await site.ask("How do I reset my password?")
        await site.stored(1)
        before = value(counted)
        assert (await site.ask("how do I reset my passwords")) == ("miss", "answer 2")
        assert value(counted) == before + 1

    run(test, tmp_path)


def test_ten_thousand_categories_that_clients_name_take_no_memory(tmp_path: Path) -> None:
    config = PATIENT | {"header": {"name": "x-team", "mapping": {"shop": "default"}}}
    counted: Counted = ("fairstow_cache_unknown_categories_total", {})

    async def test(site: Site) -> None:
        await site.start(config=config)
        await site.ask("a question")
        await site.stored(1)
        before, taken, series = value(counted), 0, 0
        for number in range(10_000):
            if number == 1_000:  # all that is made once is made
                taken, series = _kilobytes(), _series()
            said = {"x-cache-category": f"category {number}", "x-team": f"team {number}"}
            assert (await site.ask("a question", headers=said))[0] == "hit-exact"
        assert value(counted) == before + 20_000
        assert _series() == series
        assert _kilobytes() - taken < 20_000
        assert len(site.upstream.asked) == 1

    run(test, tmp_path, seconds=120)


def _kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _series() -> int:
    return sum(len(metric.samples) for metric in REGISTRY.collect())
