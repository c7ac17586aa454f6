"""OpenAI's API at the gateway, over real sockets, with OpenAI's own client where it can ask.

Covered: answers whole and streamed, usage, logprobs, stop strings, prompts as ids; pinned requests
passed on, also when their engine dies; keys, priorities and limits of tenants; wrong requests and
fields that are for engines; waiting for an engine, a full queue; clients that leave or read slowly;
the end of the program; the admin port; what is logged. Not covered: moves (test_migration), stock
engines (e2e/engines), any request whatever (test_fuzz).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import openai
import pytest

from fairstow.gateway import metrics
from fairstow.gateway.accounting import Told
from fairstow.gateway.app import Gateway
from fairstow.gateway.cost_model import text
from fairstow.gateway.generating import Generation
from fairstow.gateway.outbox import Outbox
from fairstow.serving.request_fields import ENGINES_OWN
from fairstow.web.exchange import ClientLeftError
from tests.gateway.gateways import MODEL, Site, chat, expected, free_ports, process, run, streamed

CHAT = "/v1/chat/completions"
TENANTS = """
- {name: a, keys: [key-a], priorities: [normal, high], concurrent: 1}
- {name: b, keys: [key-b], requestsPerMinute: 2}
- {name: c, keys: [key-c], tokensPerMinute: 10}
"""


def body(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": chat("hi"), "max_tokens": 5, **more}


async def one(site: Site, **options: Any) -> openai.AsyncOpenAI:
    """Start a gateway with one fast engine; return a client of it."""
    await site.engine("a", speed=50)
    await site.gateway(**options)
    await site.ready()
    return site.client()


def test_answers_whole_and_streamed() -> None:
    async def test(site: Site) -> None:
        client = await one(site)
        assert [each.id for each in (await client.models.list()).data] == [MODEL]
        whole = await client.chat.completions.create(
            model=MODEL, messages=chat("hi"), max_tokens=40
        )
        (choice,) = whole.choices
        assert choice.message.content == expected("hi", 40)
        assert (choice.finish_reason, choice.message.role) == ("length", "assistant")
        assert whole.usage is not None
        prompt = len(text.render_chat(chat("hi")))
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (prompt, 40)
        assert whole.usage.total_tokens == prompt + 40
        assert await streamed(client, "hi", 40) == expected("hi", 40)

        stream = await client.chat.completions.create(
            model=MODEL,
            messages=chat("hi"),
            max_tokens=9,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 9
        assert chunks[-1].choices == []

    run(test)


def test_plain_completions_of_text_and_of_ids() -> None:
    async def test(site: Site) -> None:
        client = await one(site)
        ids = text.encode("Once")
        want = text.decode(text.expected("1", ids, 16))
        for prompt in ("Once", ids):
            answer = await client.completions.create(model=MODEL, prompt=prompt)
            assert answer.choices[0].text == want
        stream = await client.completions.create(model=MODEL, prompt="Once", stream=True)
        parts = [chunk.choices[0] async for chunk in stream]
        assert "".join(part.text for part in parts) == want
        assert parts[-1].finish_reason == "length"

    run(test)


def test_logprobs_and_stop_strings() -> None:
    async def test(site: Site) -> None:
        client = await one(site)
        whole = expected("hi", 40)
        stop = whole[20:23]
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=chat("hi"),
            max_tokens=40,
            stop=stop,
            logprobs=True,
            top_logprobs=2,
        )
        (choice,) = answer.choices
        assert choice.message.content == whole[: whole.index(stop)]
        assert choice.finish_reason == "stop"
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert answer.usage is not None
        assert len(choice.logprobs.content) == answer.usage.completion_tokens
        assert all(len(each.top_logprobs) == 2 for each in choice.logprobs.content)
        plain = await client.completions.create(
            model=MODEL, prompt="Once", max_tokens=9, logprobs=1
        )
        said = plain.choices[0].logprobs
        assert said is not None
        assert said.tokens is not None
        assert said.text_offset is not None
        assert len(said.tokens) == 9
        assert said.text_offset[1] == len(said.tokens[0])

    run(test)


def test_what_cant_be_moved_is_passed_on() -> None:
    async def test(site: Site) -> None:
        client = await one(site)
        two = await client.chat.completions.create(
            model=MODEL, messages=chat("hi"), max_tokens=9, n=2
        )
        assert len(two.choices) == 2
        stream = await client.chat.completions.create(
            model=MODEL, messages=chat("hi"), max_tokens=9, n=2, stream=True
        )
        seen = {choice.index async for chunk in stream for choice in chunk.choices}
        assert seen == {0, 1}
        status, _, headers = await site.post(CHAT, body(brand_new=1, **{"é\r\nX-Evil: 1": 1}))
        assert status == 200
        assert headers["x-fairstow-ignored"] == "brand_new,???X-Evil: 1"
        ledger = await site.until(lambda now: not now.requests)
        assert ledger.requests == []

    run(test)


def test_a_pinned_stream_whose_engine_dies_ends_with_an_error() -> None:
    before = metrics.CUT._value.get()

    async def test(site: Site) -> None:
        (port,) = free_ports(1)
        async with process(port) as program:
            await site.gateway({"a": f"http://127.0.0.1:{port}"})
            await site.ready("a")
            asked = body(n=2, stream=True, max_tokens=500)
            async with site.http.post(site.base + CHAT, json=asked) as reply:
                await reply.content.readany()
                ledger = await site.ledger()
                assert ledger.requests[0].pinned == "it asks for several choices"
                program.kill()
                rest = await reply.content.read()
        assert b'"error"' in rest
        assert b"[DONE]" not in rest
        async with site.http.get(f"{site.admin}/metrics") as reply:
            assert f"fairstow_gateway_cut_streams_total {before + 1}" in await reply.text()

    run(test)


def test_keys_priorities_and_limits(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        file = tmp_path / "tenants.yaml"
        file.write_text(TENANTS)
        await one(site, tenants=file)

        async def ask(key: str, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
            return await site.post(CHAT, body(), Authorization=f"Bearer {key}", **headers)

        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "key-a"}):
            status, said, _ = await site.post(CHAT, body(), **headers)
            assert (status, said["error"]["type"]) == (401, "authentication_error")
        assert (await ask("key-a"))[0] == 200
        high = {"X-Fairstow-Priority": "high"}
        assert (await ask("key-a", **high))[0] == 200
        assert (await ask("key-b", **high))[0] == 403
        assert (await ask("key-a", **{"X-Fairstow-Priority": "first"}))[0] == 400
        assert [(await ask("key-b"))[0] for _ in range(2)] == [200, 200]
        status, said, got = await ask("key-b")
        assert (status, said["error"]["type"]) == (429, "rate_limit_error")
        assert int(got["retry-after"]) > 0
        assert (await ask("key-c"))[0] == 200
        assert (await ask("key-c"))[0] == 429  # what it used is counted
        slow = asyncio.create_task(streamed(site.client("key-a"), "hi", 400))
        await site.until(lambda now: now.requests)
        assert (await ask("key-a"))[0] == 429
        await slow

    run(test)


@pytest.mark.parametrize("name", [*ENGINES_OWN])
def test_fields_of_engines_are_refused_by_name(name: str) -> None:
    """Nothing is sent to an engine: there is none."""

    async def test(site: Site) -> None:
        await site.gateway({"a": "http://127.0.0.1:9"})
        status, said, _ = await site.post(CHAT, body(**{name: {"do_remote_prefill": True}}))
        assert (status, said["error"]["param"]) == (400, name)

    run(test)


def test_wrong_requests() -> None:
    async def test(site: Site) -> None:
        await one(site, longest=1 << 20)
        for wrong in (b"", b"{", b"[" * 100_000, b'"x"', b"\xff", b"null"):
            status, said, _ = await site.post(CHAT, wrong)
            assert (status, said["error"]["type"]) == (400, "invalid_request_error"), wrong
        assert (await site.post(CHAT, body(model="other")))[0] == 404
        assert (await site.post(CHAT, body(temperature=9)))[1]["error"]["param"] == "temperature"
        assert (await site.post(CHAT, b" " * (2 << 20)))[0] == 413
        assert (await site.post("/v1/nothing", body()))[0] == 404
        async with site.http.get(site.base + CHAT) as reply:
            assert reply.status == 405
        status, said, _ = await site.post(CHAT, body(messages=chat("x" * 20_000)))
        assert (status, said["error"]["code"]) == (400, "context_length_exceeded") or status == 400
        status, said, _ = await site.post(CHAT, body(max_tokens=100_000))
        assert (status, said["error"]["code"]) == (400, "context_length_exceeded")
        # Engines' names and ports are nobody's business.
        assert "127.0.0.1" not in str(said)

    run(test)


def test_requests_wait_for_an_engine_and_are_kept_alive() -> None:
    async def test(site: Site) -> None:
        (port,) = free_ports(1)
        await site.gateway({"a": f"http://127.0.0.1:{port}"}, keep_alive=0.1, most_waiting=0)
        asked = body(stream=True)
        assert (await site.post(CHAT, asked))[0] == 429  # nobody may wait here
        site.stopped.set()
        assert site.running is not None
        await site.running
        site.stopped.clear()
        await site.gateway({"a": f"http://127.0.0.1:{port}"}, keep_alive=0.1)
        async with site.http.post(site.base + CHAT, json=asked) as reply:
            assert await reply.content.readline() == b": keep-alive\n"
            async with process(port, "--speed", "10"):
                rest = await reply.content.read()
        assert rest.endswith(b"data: [DONE]\n\n")

    run(test)


def test_a_client_that_leaves_ends_its_request() -> None:
    async def test(site: Site) -> None:
        await one(site)
        for more in ({}, {"n": 2}, {"stream": True}):
            asked = body(max_tokens=9000, **more)
            waiting = asyncio.create_task(site.post(CHAT, asked))
            await site.until(lambda now: now.requests)
            waiting.cancel()
            await asyncio.wait({waiting})
            await site.until(lambda now: not now.requests)
            while site.servers["a"].runner.engine.batch:
                await asyncio.sleep(0.01)

    run(test)


def test_who_reads_slowly_is_neither_buffered_without_end_nor_cut() -> None:
    async def test(site: Site) -> None:
        await one(site)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", site.ports.clients, limit=1 << 10
        )
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        content = msgspec.json.encode(
            body(stream=True, max_tokens=700, logprobs=True, top_logprobs=20)
        )
        writer.write(
            f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await asyncio.sleep(0.5)
        got = bytearray()
        while part := await reader.read(1 << 16):
            got += part
        writer.close()
        assert got.count(b'"finish_reason":"length"') == 1
        assert b"data: [DONE]" in got

    run(test)


def test_who_left_while_being_sent_to_is_waited_for_no_more() -> None:
    """The outbox's poke has nobody to wake then; a socket is full only after megabytes."""

    async def test() -> None:
        exchange: Any = SimpleNamespace(gone=True)
        stream: Any = SimpleNamespace(outbox=Outbox())
        generation = Generation(exchange, Told(), cast("Any", None), 0.0)
        async with asyncio.timeout(10):
            with pytest.raises(ClientLeftError):
                await generation._taken(stream)

    asyncio.run(test())


def test_at_the_end_requests_finish_or_are_told() -> None:
    async def test(site: Site) -> None:
        await site.engine("a", speed=10)
        await site.gateway(grace=1.5)
        await site.ready()
        client = site.client()
        short = asyncio.create_task(streamed(client, "short", 30))
        long = asyncio.create_task(streamed(client, "long", 10_000))
        await site.until(
            lambda now: short.done() or sum(each.generated > 1 for each in now.requests) == 2
        )
        site.stopped.set()
        assert await short == expected("short", 30)
        with pytest.raises(openai.APIError, match="shutting down"):
            await long
        assert site.running is not None
        await site.running
        runner = site.servers["a"].runner
        while runner.engine.batch:
            await asyncio.sleep(0.01)

    run(test)


def test_when_one_of_its_loops_fails_nothing_of_it_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(_: object) -> None:
        raise OSError("for a test")

    async def test(site: Site) -> None:
        await site.gateway({"a": "http://127.0.0.1:9"})
        running, port = site.running, site.ports.clients
        assert running is not None
        site.running = asyncio.create_task(asyncio.sleep(0))
        with pytest.raises(OSError, match="for a test"):
            await running
        await asyncio.sleep(0)
        assert not [each for each in asyncio.all_tasks() if "serve" in repr(each.get_coro())]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    monkeypatch.setattr(Gateway, "keep_alive", fails)
    run(test)


def test_the_admin_port_asks_for_its_token() -> None:
    async def test(site: Site) -> None:
        await site.engine("a")
        await site.gateway(admin_token="secret", metrics_token="scrape")
        for path in ("/ledger", "/metrics", "/nothing"):
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                async with site.http.get(site.admin + path, headers=headers) as reply:
                    assert reply.status == 401
        scrape = {"Authorization": "Bearer scrape"}
        for path, status in (("/metrics", 200), ("/ledger", 401), ("/nothing", 401)):
            async with site.http.get(site.admin + path, headers=scrape) as reply:
                assert reply.status == status
        known = {"Authorization": "Bearer secret"}
        async with site.http.get(f"{site.admin}/healthz") as reply:
            assert await reply.text() == "ok"
        async with site.http.get(f"{site.admin}/metrics", headers=known) as reply:
            assert "fairstow_gateway_requests_total" in await reply.text()
        bad = {"instances": ["nobody"]}
        async with site.http.put(f"{site.admin}/drains", json=bad, headers=known) as reply:
            assert reply.status == 404
        async with site.http.post(f"{site.admin}/moves", data=b"{", headers=known) as reply:
            assert reply.status == 400
        async with site.http.post(site.base + CHAT, json=body()) as reply:
            assert reply.status == 200

    run(test)


def test_nothing_of_a_prompt_or_an_answer_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async def test(site: Site) -> None:
        client = await one(site)
        secret = "xyzzy-secret"
        assert await streamed(client, secret, 30) == expected(secret, 30)
        await site.post(CHAT, body(messages=[{"role": secret}] * 2, model="none"))
        await site.post(CHAT, secret.encode())

    run(test)
    logged = capsys.readouterr()
    assert "/v1/chat/completions" in logged.out + logged.err
    assert "xyzzy" not in logged.out + logged.err
