"""The store and the memory around it: crashes at any moment, faults, and tenants apart.

Covered: kill -9 while writing, a store that fails or hangs, the clock's jumps, two tenants with the
same questions. Left out: power cuts (SQLite's own tests), restart by the program (test_sidecar).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cache_sidecar import answers, configuration
from fairstow.cache_sidecar.asked import Asked
from fairstow.cache_sidecar.index import Index
from fairstow.cache_sidecar.kept import Answer, Form
from fairstow.cache_sidecar.memory import Found, Memory
from fairstow.cache_sidecar.stores.records import Head, Purged, StoreError
from fairstow.cache_sidecar.stores.sqlite import SqliteStore
from fairstow.cache_sidecar.vectors import Vectors
from fairstow.semantic_cache.decision import Outcome
from fairstow.semantic_cache.identity import Caller, Key, Workload
from fairstow.serving.requests import Endpoint
from tests.cache_sidecar import writer
from tests.cache_sidecar.sidecars import SameVector
from tests.cache_sidecar.test_index import VECTORS, head

RULES = configuration.parse(
    "{mode: Enforce, categories: [{name: default, calibrationSigned: true}]}", "test"
)
FULL = pytest.mark.full


def answer(text: str) -> Answer:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Answer(Endpoint.CHAT, "chatcmpl-", {"model": "m", "choices": [choice]})


class Site:
    """A memory whose clock is ours."""

    def __init__(self, store: Any = None) -> None:
        self.store: Any = store or SqliteStore(None)
        self.vectors = Vectors(SameVector)
        self.time = 1_000_000.0
        self.memory = Memory(
            RULES,
            self.store,
            Index(most=100),
            self.vectors,
            now=lambda: self.time,
            clock=lambda: self.time,
        )

    def asked(self, question: str, caller: Caller, **more: Any) -> Asked:
        body = {"model": "m", "temperature": 0} | more
        body["messages"] = [{"role": "user", "content": question}]
        asked = self.memory.asked(
            Endpoint.CHAT, body, Form.WHOLE, caller, lambda _: None, trusted=True
        )
        assert asked is not None
        return asked

    async def keep(self, asked: Asked, text: str) -> None:
        self.memory.keep(asked, answer(text), 1.0, self.memory.epoch)
        await self.memory.kept()


def text(found: Found) -> str | None:
    if found.answer is None:
        return None
    whole = answers.body(found.answer, 0)
    return str(whole.split(b'"content":"')[1].split(b'"')[0].decode())


async def with_vectors(site: Site, test: Any) -> None:
    loading = asyncio.create_task(site.vectors.run())
    while not site.vectors.ready:
        await asyncio.sleep(0.001)
    try:
        await test
    finally:
        loading.cancel()
        site.vectors.close()


@pytest.mark.parametrize("delay", [0.1, *(pytest.param(0.05 * n, marks=FULL) for n in range(1, 5))])
def test_killed_while_writing_nothing_is_torn(tmp_path: Path, delay: float) -> None:
    command = [sys.executable, "-m", "tests.cache_sidecar.writer", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        told = [int(line) for line in process.stdout if line.endswith("\n")]
    store = SqliteStore(tmp_path)
    kept = {each.id: each for each in store.heads()}
    assert told
    for number in (told[0], told[-1]):
        expected, _ = writer.entry(number)
        assert kept[expected.id] == expected

    async def check() -> None:
        for entry in list(kept)[-20:]:
            assert await store.answer(entry) == writer.entry(int(entry, 16))[1]
        await store.close()

    asyncio.run(check())


def test_a_store_keeps_within_its_bytes_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    most = 400_000
    store = SqliteStore(tmp_path, None, most)

    async def fill() -> None:
        kept: list[Head] = []

        async def keep() -> None:
            while len(kept) < 1_000:
                one = head(f"entry {len(kept)}", VECTORS[len(kept) % 100])
                await store.put(one, answer("x" * 2_000))
                kept.append(one)

        with pytest.raises(StoreError, match="full"):
            await keep()
        assert 50 < len(kept) < 400
        await store.delete([each.id for each in kept[:20]])
        await store.put(head("another", VECTORS[0]), answer("x" * 2_000))
        assert await store.answer(kept[-1].id) is not None
        await store.close()

    asyncio.run(fill())
    assert (tmp_path / "cache.db").stat().st_size <= most


ASKS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                Workload("c", "team-a", "app"),
                Workload("c", "team-b", "app"),
                Key.of("one", b"s"),
                Key.of("two", b"s"),
            ]
        ),
        st.sampled_from([{}, {"user": "x"}, {"safety_identifier": "x"}, {"user": "y"}]),
        st.sampled_from(["How do I reset my password?", "how can I reset my password"]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=25)
@given(ASKS)
def test_nobody_is_told_what_another_was(asks: list[tuple[Caller, dict[str, str], str]]) -> None:
    async def test(site: Site) -> None:
        for number, (caller, split, question) in enumerate(asks):
            who = repr((caller, split))
            asked = site.asked(question, caller, **split)
            found = await site.memory.look_up(asked)
            if found.answer is None:
                await site.keep(asked, f"{number} for {who}")
            else:
                assert str(text(found)).endswith(f"for {who}")

    async def body() -> None:
        site = Site()
        await with_vectors(site, test(site))
        await site.store.close()

    asyncio.run(body())


def test_age_ends_it_and_the_clock_may_jump() -> None:
    async def test(site: Site) -> None:
        asked = site.asked("a question", Workload("c", "n", "a"))
        await site.keep(asked, "said")
        assert text(await site.memory.look_up(asked)) == "said"
        site.time -= 10_000
        assert (await site.memory.look_up(asked)).verdict.outcome is Outcome.MISS
        site.time += 10_000 + 3_200
        assert text(await site.memory.look_up(asked)) == "said"
        site.time += 500
        assert (await site.memory.look_up(asked)).verdict.outcome is Outcome.MISS
        site.time += 90_000
        await site.memory.expire()
        assert len(site.memory.index) == 0

    site = Site()
    asyncio.run(with_vectors(site, test(site)))


@pytest.mark.parametrize("fault", ["fails", "hangs"])
def test_store_that_faults_costs_hits_only(fault: str) -> None:
    class Faulty:
        wrong = False

        async def put(self, *_: Any) -> None:
            if self.wrong:
                raise OSError("no space left on device")

        async def delete(self, *_: Any, **__: Any) -> None:
            return

        async def answer(self, _: str) -> Answer | None:
            if not self.wrong:
                return answer("said")
            if fault == "hangs":
                await asyncio.sleep(60)
            raise OSError("input/output error")

    async def test(site: Site) -> None:
        asked = site.asked("a question", Workload("c", "n", "a"))
        await site.keep(asked, "said")
        assert text(await site.memory.look_up(asked)) == "said"
        site.store.wrong = True
        found = await site.memory.look_up(asked)
        assert found.answer is None
        assert found.verdict.outcome is Outcome.MISS
        other = site.asked("something else entirely", Workload("c", "n", "a"))
        await site.keep(other, "lost")
        assert len(site.memory.index) == 1

    site = Site(Faulty())
    asyncio.run(with_vectors(site, test(site)))


def test_purge_wins_over_what_is_just_being_kept() -> None:
    class Slow:
        def __init__(self) -> None:
            self.gate = asyncio.Event()
            self.rows: set[str] = set()

        async def put(self, added: Any, _: Answer) -> None:
            await self.gate.wait()
            self.rows.add(added.id)

        async def delete(self, entries: list[str], **_: Any) -> None:
            self.rows -= set(entries)

        async def purge(self, _: Purged, entries: list[str]) -> None:
            await self.delete(entries)

        async def answer(self, _: str) -> Answer | None:
            return None

    async def body() -> None:
        store = Slow()
        site = Site(store)
        asked = site.asked("a", Workload("c", "n", "a"))
        before = site.memory.epoch
        site.memory.keep(asked, answer("old"), 1.0, before)
        await asyncio.sleep(0.01)
        await site.memory.purge(Purged(category=asked.policy.category))
        store.gate.set()
        await site.memory.kept()
        assert not store.rows
        site.memory.keep(asked, answer("asked for before"), 1.0, before)
        await site.memory.kept()
        assert not store.rows
        after = site.memory.epoch
        await site.memory.purge(Purged(category="none"))
        site.memory.keep(asked, answer("new"), 1.0, after)
        await site.memory.kept()
        assert store.rows == set(site.memory.index.rows) == {asked.entry}

    asyncio.run(body())


def test_a_purge_that_failed_is_asked_for_again() -> None:
    class Failing:
        fails = True

        async def put(self, *_: Any) -> None:
            return

        async def delete(self, *_: Any, **__: Any) -> None:
            if self.fails:
                raise StoreError("it is down")

        purge = delete

    async def body() -> None:
        site = Site(Failing())
        asked = site.asked("a", Workload("c", "n", "a"))
        await site.keep(asked, "old")
        with pytest.raises(StoreError):
            await site.memory.purge(Purged(entry=asked.entry))
        site.store.fails = False
        assert await site.memory.purge(Purged()) == 1

    asyncio.run(body())
