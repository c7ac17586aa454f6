"""Faults of the cache's own and too much of everything: requests pass.

Covered: a loop of the memory that fails, a model that can't be loaded, more bodies than there is
room for, a configuration that changed before the memory was there. Elsewhere: stores (test_redis,
test_store), disks and embeddings (test_robust, test_sidecar).
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from fairstow.cache_sidecar import app, remembering
from fairstow.cache_sidecar.callers import Callers
from fairstow.cache_sidecar.memory import Memory
from tests.cache_sidecar.sidecars import CATEGORY, SameVector, Site, run


def test_memory_that_fails_is_begun_anew_and_requests_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = asyncio.Event()
    real = remembering._expire

    async def expire(memory: Memory) -> None:
        await failing.wait()
        failing.clear()
        raise RuntimeError("a fault of ours")

    async def test(site: Site) -> None:
        monkeypatch.setattr(remembering, "_expire", expire)
        await site.start(data=True)
        await site.ask("a question")
        await site.stored(1)
        monkeypatch.setattr(remembering, "_expire", real)
        failing.set()
        while (await site.admin("GET", "/stats"))[0] == 200:
            await asyncio.sleep(0.005)
        assert await site.ask("a question") == ("", "answer 2")
        while (await site.admin("GET", "/stats"))[0] != 200:
            await asyncio.sleep(0.05)
        assert await site.ask("a question") == ("hit-exact", "answer 1")

    run(test, tmp_path)


def test_model_that_cannot_be_loaded_costs_the_semantic_tier_only(tmp_path: Path) -> None:
    def broken() -> SameVector:
        raise RuntimeError("an illegal instruction, say")

    async def test(site: Site) -> None:
        await site.start(embedder=broken)
        await site.ask("a question")
        await site.stored(1)
        assert (await site.ask("a question"))[0] == "hit-exact"

    run(test, tmp_path)


def test_bodies_beyond_the_room_pass_without_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MOST_BODIES", 2_000)

    async def test(site: Site) -> None:
        await site.start()
        site.upstream.gate = asyncio.Event()
        first = asyncio.create_task(site.ask("word " * 500))
        while not site.upstream.asked:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(site.ask("another"))
        while len(site.upstream.asked) < 2:
            await asyncio.sleep(0.005)
        site.upstream.gate.set()
        assert [(await each)[0] for each in (first, second)] == ["miss", ""]
        assert (await site.ask("another"))[0] == "miss"

    run(test, tmp_path)


def test_configuration_that_changed_before_the_memory_was_there_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembering, "RELOAD_SECONDS", 0.02)
    real = remembering.remember

    async def late(*given: object) -> None:
        off = yaml.safe_dump({"mode": "Off", "categories": [CATEGORY]})
        (tmp_path / "cache.yaml").write_text(off)
        await real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("fairstow.cache_sidecar.service.remember", late)

    async def test(site: Site) -> None:
        await site.start()
        while (await site.category())["mode"] != "Off":
            await asyncio.sleep(0.01)

    run(test, tmp_path)


def test_secret_that_others_put_after_redis_lost_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Store:
        async def secret(self) -> bytes:
            return b"theirs"

    async def test() -> None:
        monkeypatch.setattr(remembering, "_SECRET_EVERY", 0)
        callers = Callers(None, b"ours", time.monotonic)
        sidecar: Any = SimpleNamespace(callers=callers)
        store: Any = Store()
        keeping = asyncio.create_task(remembering._keep_secret(sidecar, store))
        while callers.secret != b"theirs":
            await asyncio.sleep(0.001)
        keeping.cancel()

    asyncio.run(asyncio.wait_for(test(), 5))
