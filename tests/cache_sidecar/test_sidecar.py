"""The sidecar's request path, through real sockets: an upstream that counts, OpenAI's own client.

Covered: passing, exact and semantic hits, forms of an answer, what is never kept, modes, who shares
with whom, single flight, failing open, restart and damage, admin. Left out: the real embedding
(test_embedding), thresholds and guards (tests/semantic_cache), how long anything takes.
"""

from __future__ import annotations

import asyncio
import io
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from fairstow.cache_sidecar import configuration
from fairstow.cache_sidecar.configuration import LoadSpec
from fairstow.cache_sidecar.embedding import EmbeddingError
from fairstow.cache_sidecar.measured import Measured
from fairstow.cluster.errors import InputError
from fairstow.semantic_cache.sidecar_stats import Stats
from tests.cache_sidecar.sidecars import CATEGORY, SameVector, Site, collected, run
from tests.gateway.servers import KEY, serving, url

ASK: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "How do I reset my password?"}],
}


def test_openai_client_gets_its_answer_from_memory_in_both_forms(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        async with serving() as engine:
            await site.start(url=url(engine))
            client: Any = site.client(KEY)
            asked: dict[str, Any] = ASK | {"max_tokens": 8}
            raw = client.chat.completions.with_raw_response
            first = await raw.create(**asked)
            await site.stored(1)
            second = await raw.create(**asked)
            assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit-exact")
            one, two = first.parse(), second.parse()
            assert one.choices == two.choices
            assert one.usage == two.usage
            assert one.id != two.id
            usage = {"include_usage": True}
            chunks = await collected(
                await client.chat.completions.create(**asked, stream=True, stream_options=usage)
            )
            said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert said == one.choices[0].message.content
            assert chunks[-1].usage == one.usage
            assert len({chunk.id for chunk in chunks}) == 1

    run(test, tmp_path)


def test_stream_is_replayed_in_its_own_chunks(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        async with serving() as engine:
            await site.start(url=url(engine))
            client: Any = site.client(KEY)
            asked: dict[str, Any] = ASK | {"max_tokens": 8, "stream": True}
            asked["stream_options"] = {"include_usage": True}
            live = await collected(await client.chat.completions.create(**asked))
            await site.stored(1)
            again = await collected(await client.chat.completions.create(**asked))
            assert [each.choices for each in live] == [each.choices for each in again]
            assert live[-1].usage == again[-1].usage
            assert live[0].id != again[0].id
            whole = await client.chat.completions.create(**(ASK | {"max_tokens": 8}))
            assert whole.choices[0].message.content == "".join(
                each.choices[0].delta.content or "" for each in live if each.choices
            )
            _, stats = await site.admin("GET", "/stats")
            assert msgspec.json.decode(stats)["entries"] == 1

    run(test, tmp_path)


def test_semantic_hit_needs_guard_and_fingerprint(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        assert await site.ask("How do I reset my password?") == ("miss", "answer 1")
        await site.stored(1)
        assert await site.ask("how do I reset my passwords") == ("hit-semantic", "answer 1")
        assert (await site.ask("How do I not reset my password?"))[0] == "miss"
        messages = [
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "how do I reset my passwords"},
        ]
        assert (await site.ask("", messages=messages))[0] == "miss"

    run(test, tmp_path)


def test_shadow_is_the_default_and_forwards(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config={"categories": [{"name": "default"}]})
        await site.ask("How do I reset my password?")
        await site.stored(1)
        assert await site.ask("how do I reset my passwords") == ("miss", "answer 2")
        assert await site.ask("How do I reset my password?") == ("miss", "answer 3")
        _, found = await site.admin("GET", "/metrics")
        assert b'result="shadow"' in found

    run(test, tmp_path)


def test_off_neither_serves_nor_keeps(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config={"mode": "Off", "categories": [CATEGORY]})
        assert (await site.ask("a question"))[0] == "bypass"
        assert (await site.ask("a question"))[0] == "bypass"
        assert len(site.upstream.asked) == 2

    run(test, tmp_path)


def test_all_else_is_passed_on_as_it_is(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        data = io.BytesIO(b"\x00\xff" * (1 << 20))
        target = "/v1/files/a%2Fb?c=%20d"
        async with site.http.put(site.base + target, data=data) as reply:
            assert reply.headers["x-path"] == target
            assert await reply.read() == data.getvalue()
        question = "x" * (2 << 20)
        assert await site.ask(question) == ("", "answer 1")
        assert site.upstream.asked[0]["messages"][0]["content"] == question
        async with site.http.post(site.base + "/v1/chat/completions", data=b"{no json") as reply:
            assert reply.status == 500  # the upstream's own word

    run(test, tmp_path)


@pytest.mark.parametrize(
    "choice",
    [
        {"finish_reason": "content_filter"},
        {"finish_reason": None},
        {"message": {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}},
        {"message": {"role": "assistant", "content": None, "refusal": "I won't."}},
        {"message": {"role": "assistant", "content": ""}},
    ],
)
def test_never_kept(tmp_path: Path, choice: dict[str, Any]) -> None:
    async def test(site: Site) -> None:
        await site.start()
        site.upstream.choice = choice
        await site.ask("a question")
        await site.ask("a question")
        assert len(site.upstream.asked) == 2

    run(test, tmp_path)


def test_errors_pass_and_cut_streams_stay_cut(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        site.upstream.status = 429
        assert await site.ask("a question") == ("miss", "429")
        site.upstream.status, site.upstream.cut = 200, True
        with pytest.raises(aiohttp.ClientPayloadError):
            await site.ask("a question", stream=True)
        site.upstream.cut = False
        assert (await site.ask("a question", stream=True))[0] == "miss"
        await site.stored(1)

    run(test, tmp_path)


def test_unreachable_upstream_is_a_502(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(url="http://127.0.0.1:9")
        assert (await site.ask("a question"))[1] == "502"

    run(test, tmp_path)


def test_same_questions_at_once_share_a_flight_that_survives_its_leader(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        site.upstream.gate = asyncio.Event()
        leader = asyncio.create_task(site.ask("a question", stream=True))
        while not site.upstream.asked:
            await asyncio.sleep(0.005)
        followers = [asyncio.create_task(site.ask("a question", stream=True)) for _ in range(3)]
        await asyncio.sleep(0.2)  # until they listen
        leader.cancel()
        await asyncio.sleep(0.1)
        site.upstream.gate.set()
        assert await asyncio.gather(*followers) == [("miss", "answer 1")] * 3
        assert len(site.upstream.asked) == 1

    run(test, tmp_path)


def test_followers_of_an_error_ask_for_themselves(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        site.upstream.gate, site.upstream.status = asyncio.Event(), 500
        asking = [asyncio.create_task(site.ask("a question")) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert len(site.upstream.asked) == 1
        site.upstream.gate.set()
        assert {each[1] for each in await asyncio.gather(*asking)} == {"500"}
        assert len(site.upstream.asked) == 3

    run(test, tmp_path)


def test_keys_are_apart_and_served_only_once_accepted(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(workload=None)
        assert await site.ask("a question", key="a") == ("bypass", "answer 1")
        await site.stored(1)
        assert await site.ask("a question", key="a") == ("hit-exact", "answer 1")
        assert (await site.ask("a question", key="b"))[0] == "bypass"
        assert (await site.ask("a question", key="b", user="x"))[0] == "miss"
        site.upstream.status = 401
        assert (await site.ask("another", key="a"))[1] == "401"
        site.upstream.status = 200
        assert (await site.ask("a question", key="a"))[0] == "bypass"

    run(test, tmp_path)


def test_cache_control_is_honoured(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        only = {"cache-control": "only-if-cached"}
        assert (await site.ask("a question", headers=only))[1] == "504"
        await site.ask("a question", headers={"cache-control": "no-store"})
        await site.ask("a question", headers={"cache-control": "no-cache"})
        await site.stored(1)
        assert await site.ask("a question", headers=only) == ("hit-exact", "answer 2")
        assert (await site.ask("A question!", headers={"x-cache-threshold": "1001"}))[0] == "miss"

    run(test, tmp_path)


def test_what_is_asked_of_the_cache_stays_here(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        await site.ask("a question", headers={"x-cache-category": "x", "x-mine": "kept"})
        (sent,) = site.upstream.headers
        assert "x-cache-category" not in sent
        assert sent["x-mine"] == "kept"
        assert sent["authorization"] == "Bearer key"

    run(test, tmp_path)


def test_without_a_model_the_exact_tier_goes_on(tmp_path: Path) -> None:
    def broken() -> SameVector:
        raise EmbeddingError("there is none")

    async def test(site: Site) -> None:
        await site.start(embedder=broken)
        await site.ask("a question")
        await site.stored(1)
        assert (await site.ask("a question"))[0] == "hit-exact"
        assert (await site.ask("A question!"))[0] == "miss"

    run(test, tmp_path)


def test_embedding_that_hangs_costs_the_deadline_only(tmp_path: Path) -> None:
    import threading

    hold = threading.Event()

    class Hanging(SameVector):
        def embed(self, texts: Any) -> Any:
            hold.wait()
            return super().embed(texts)

    async def test(site: Site) -> None:
        await site.start(embedder=Hanging)
        assert await site.ask("a question") == ("miss", "answer 1")
        hold.set()
        await site.stored(1)

    run(test, tmp_path)


def test_restart_is_warm_and_one_sidecar_owns_a_folder(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(data=True)
        await site.ask("How do I reset my password?")
        await site.stored(1)
        first = site.stop
        await site.start(data=True, ready=False)
        await asyncio.wait({site.running})
        with pytest.raises(InputError, match="another sidecar"):
            await site.stop.aclose()
        await first.aclose()
        await site.start(data=True)
        assert await site.ask("how do I reset my passwords") == ("hit-semantic", "answer 1")

    run(test, tmp_path)


@pytest.mark.parametrize("table", ["heads", "answers"])
def test_damaged_entries_are_misses(tmp_path: Path, table: str) -> None:
    async def test(site: Site) -> None:
        await site.start(data=True)
        await site.ask("a question")
        await site.stored(1)
        await site.stop.aclose()
        column = table[:-1]
        with sqlite3.connect(tmp_path / "data" / "cache.db") as base:
            (sealed,) = base.execute(f"SELECT {column} FROM {table}").fetchone()
            torn = sealed[:-3] + b"xyz"
            base.execute(f"UPDATE {table} SET {column} = ?", (torn,))
        base.close()
        await site.start(data=True)
        assert (await site.ask("a question")) == ("miss", "answer 2")
        await site.stored(1)
        assert (await site.ask("a question")) == ("hit-exact", "answer 2")

    run(test, tmp_path)


def test_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "cache.db").write_bytes(b"no database at all" * 1000)
        await site.start(data=True)
        await site.ask("a question")
        await site.stored(1)
        assert (tmp_path / "data" / "cache.db.damaged").exists()

    run(test, tmp_path)


def test_owner_explains_complains_and_purges(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()
        await site.ask("How do I reset my password?")
        await site.stored(1)
        like = ASK | {"messages": [{"role": "user", "content": "How do I not reset my password?"}]}
        like["temperature"] = 0
        asks = {"path": "/v1/chat/completions", "body": like}
        _, found = await site.admin("POST", "/explain", asks)
        explained = msgspec.json.decode(found)
        assert explained["verdict"]["outcome"] == "miss"
        assert "guard" in {each["rule"] for each in explained["verdict"]["reasons"]}
        assert (await site.admin("POST", "/purge", {}))[0] == 400
        dry = await site.admin("POST", "/purge", {"category": "default", "dryRun": True})
        assert dry == (200, b'{"entries":1}')
        _, hit = await site.admin("POST", "/explain", asks | {"body": like | ASK})
        entry = msgspec.json.decode(hit)["verdict"]["entry"]
        assert (await site.admin("POST", "/feedback", {"entry": entry}))[0] == 200
        assert (await site.admin("POST", "/feedback", {"entry": entry}))[0] == 404
        assert (await site.ask("How do I reset my password?"))[0] == "miss"

    run(test, tmp_path)


def test_admin_asks_for_its_token(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(admin_token="owner", metrics_token="counts", ready=False)
        assert (await site.admin("GET", "/stats"))[0] == 401
        assert (await site.admin("POST", "/purge", {"all": True}))[0] == 401
        assert (await site.admin("GET", "/healthz"))[0] == 200
        while (await site.admin("GET", "/stats", authorization="Bearer owner"))[0] != 200:
            await asyncio.sleep(0.01)
        reader = {"authorization": "Bearer counts"}
        assert (await site.admin("GET", "/stats", **reader))[0] == 200
        assert (await site.admin("GET", "/metrics", **reader))[0] == 200
        assert (await site.admin("POST", "/purge", {"all": True}, **reader))[0] == 401
        explain = {"path": "/v1/chat/completions", "body": ASK}
        assert (await site.admin("POST", "/explain", explain, **reader))[0] == 401

    run(test, tmp_path)


def test_stats_count_requests_and_those_answered_from_memory(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()

        async def stats() -> Stats:
            return msgspec.json.decode((await site.admin("GET", "/stats"))[1], type=Stats)

        before = (await stats()).categories["default"]  # counters are the process's
        await site.ask("How do I reset my password?")
        await site.stored(1)
        await site.ask("How do I reset my password?")
        await site.ask("how do I reset my passwords")
        now = (await stats()).categories["default"]
        assert (now.requests - before.requests, now.hits - before.hits) == (3, 2)
        assert now.threshold == 0.9

    run(test, tmp_path)


def test_configuration_is_reloaded_and_a_bad_one_is_not(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start()

        async def mode() -> str:
            _, found = await site.admin("GET", "/stats")
            stats: str = msgspec.json.decode(found)["categories"]["default"]["mode"]
            return stats

        path = tmp_path / "cache.yaml"
        path.write_text("{mode: Shadow, categories: [{name: default}, {name: default}]}")
        await asyncio.sleep(1.2)
        assert await mode() == "Enforce"
        path.write_text("{mode: Shadow}")
        while await mode() != "Shadow":
            await asyncio.sleep(0.05)

    run(test, tmp_path)


def test_at_the_end_running_requests_are_answered_and_kept(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(data=True)
        site.upstream.gate = asyncio.Event()
        asking = asyncio.create_task(site.ask("a question", stream=True))
        while not site.upstream.asked:
            await asyncio.sleep(0.005)
        ending = asyncio.create_task(site.stop.aclose())
        await asyncio.sleep(0.2)
        assert not ending.done()
        site.upstream.gate.set()
        assert await asking == ("miss", "answer 1")
        await ending
        await site.start(data=True)
        assert await site.ask("a question", stream=True) == ("hit-exact", "answer 1")

    run(test, tmp_path)


def test_folder_that_cannot_be_written_costs_restarts_only(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "cache.db").mkdir()
        await site.start(data=True)
        await site.ask("a question")
        await site.stored(1)
        assert (await site.ask("a question"))[0] == "hit-exact"

    run(test, tmp_path)


def test_load_that_the_upstream_tells_of_is_heard_and_forgotten(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.start(config={"categories": [CATEGORY], "load": {"header": "X-Load"}})
        site.upstream.load = "0.9"
        number = 0
        while b"fairstow_cache_load 0.0\n" in (await site.admin("GET", "/metrics"))[1]:
            await site.ask(f"question {number}")
            number += 1

    run(test, tmp_path)
    time = 0.0
    measured, spec = Measured(lambda: time), LoadSpec(header="x-load")
    for said in ("1.0", "loaded"):
        measured.told(said)
    assert measured.load(spec) == 1.0
    for said in ("nan", "-inf"):
        measured.told(said)
        assert 0 <= measured.load(spec) <= 1
    measured.told("1.0")
    time = 1_000.0
    assert measured.load(spec) == 0.0
    assert measured.load_source == ""


def test_latency_says_the_load_while_the_header_says_nothing() -> None:
    time = 0.0
    measured = Measured(lambda: time)
    spec = LoadSpec(header="x-load", idle_seconds=1, overloaded_seconds=3)
    measured.first_byte(4.0)
    assert (measured.load(spec), measured.load_source) == (1.0, "Latency")
    measured.told("0.0")
    time = 50.0
    assert (measured.load(spec), measured.load_source) == (0.0, "Told")
    time = 59.0
    measured.first_byte(4.0)
    time = 110.0
    assert (measured.load(spec) > 0.5, measured.load_source) == (True, "Latency")


@pytest.mark.parametrize(
    "load",
    [
        "{}",
        "{idleSeconds: 1}",
        "{idleSeconds: 2, overloadedSeconds: 1}",
        "{header: x, idleSeconds: 1}",
        "{header: x, idleSeconds: 2, overloadedSeconds: 1}",
    ],
)
def test_load_that_cannot_be_known_is_refused(load: str) -> None:
    with pytest.raises(InputError):
        configuration.parse(f"{{load: {load}}}", "test")
