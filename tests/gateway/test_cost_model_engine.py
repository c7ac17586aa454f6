"""The vLLM adapter on cost-model servers, over real sockets.

Covered: what a probe finds, generation, ends of all kinds, aborts by leaving a leg, by request id
and by disconnecting; KV cache held, pulled and continued from, what expired or was consumed, ids
that aren't those held, other tenants' salts, other weights; rendering, decoding, load, keys, errors
and requests passed through. Every text is checked against the model's own function of the ids, so
that a token lost, doubled or altered shows. Not covered: stock vLLM, see e2e/engines.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from fairstow.gateway import cost_model_server
from fairstow.gateway.cost_model import text
from fairstow.gateway.cost_model.server import Server
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.protocol import (
    EngineError,
    Finish,
    Hold,
    HoldError,
    Movement,
    Order,
    Sampling,
)
from fairstow.gateway.engines.vllm import VllmEngine
from fairstow.serving.cost_model import A10_7B
from tests.gateway.legs import whole
from tests.gateway.servers import KEY, serving, url

PROMPT = text.encode("Once upon a time there was an engine. " * 5)
SALT = "a tenant's"
PROGRAM = "fairstow.gateway.cost_model_server"
LEGS = itertools.count()


class Engines:
    """Cost-model servers with adapters, closed at the end."""

    def __init__(self, stack: AsyncExitStack, session: aiohttp.ClientSession) -> None:
        self._stack = stack
        self.session = session
        self.servers: list[Server] = []

    async def start(self, weights: str = "1", **options: Any) -> VllmEngine:
        server = await self._stack.enter_async_context(serving(weights, **options))
        self.servers.append(server)
        return self.adapter(server, weights=weights)

    def adapter(self, server: Server, *, weights: str = "1", key: str | None = KEY) -> VllmEngine:
        declared = Declared(weights=weights, priority=True)
        return VllmEngine(self.session, "e", url(server), key=key, declared=declared)


def run(test: Callable[[Engines], Awaitable[None]]) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(20),
            AsyncExitStack() as stack,
            aiohttp.ClientSession() as session,
        ):
            await test(Engines(stack, session))

    asyncio.run(body())


def order(
    tokens: list[int], limit: int, leg: str = "", hold: Hold | None = None, **sampling: Any
) -> Order:
    return Order(
        id=leg or f"leg-{next(LEGS)}",
        tokens=tokens,
        sampling=Sampling(max_tokens=limit, **sampling),
        priority=0,
        salt=SALT,
        hold=hold,
    )


async def idle(server: Server) -> None:
    while server.runner.engine.batch or server.runner.engine.waiting:
        await asyncio.sleep(0.005)


def test_a_probe_tells_what_a_server_is() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        found = await engine.probe()
        assert (found.kind, found.model, found.block, found.kv_tokens) == ("vllm", "m", 16, 13616)
        assert (found.movement, found.bounded, found.missing) == (Movement.PRE_COPY, True, ())
        assert found.max_length == 842 * 16

    run(test)


def test_engines_of_other_weights_are_of_another_class() -> None:
    async def test(engines: Engines) -> None:
        one, same, other = [await engines.start(weights) for weights in ("1", "1", "2")]
        classes = [(await engine.probe()).compatibility for engine in (one, same, other)]
        assert classes[0] == classes[1] != classes[2]
        assert (await whole(one, order(PROMPT, 30)))[0] != (await whole(other, order(PROMPT, 30)))[
            0
        ]

    run(test)


def test_a_leg_gives_the_model_s_text_and_ends_with_its_length() -> None:
    async def test(engines: Engines) -> None:
        tokens, last = await whole(await engines.start(), order(PROMPT, 200))
        assert tokens == text.expected("1", PROMPT, 200)
        assert last.finish is Finish.LENGTH
        assert max(tokens) > 0x7F, "no character of several bytes in it"

    run(test)


def test_a_leg_ends_at_its_own_end_and_at_stop_tokens() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start(mean_length=20)
        ended, last = await whole(engine, order(PROMPT, 2_000))
        assert (ended[-1], last.finish, last.matched) == (text.END, Finish.STOP, None)
        longer, _ = await whole(engine, order(PROMPT, 2_000, min_tokens=len(ended) + 5))
        assert len(longer) > len(ended) + 5
        _, last = await whole(engine, order(PROMPT, len(ended) + 5, ignore_eos=True))
        assert last.finish is Finish.LENGTH
        stop = ended[3]
        stopped, last = await whole(engine, order(PROMPT, 2_000, stop_token_ids=(stop,)))
        assert stopped == ended[: ended.index(stop) + 1]
        assert (last.finish, last.matched) == (Finish.STOP, stop)

    run(test)


def test_logprobs_come_with_their_tokens() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        async with engine.generate(order(PROMPT, 5, logprobs=2)) as pieces:
            async for piece in pieces:
                assert [one.token for one in piece.logprobs] == list(piece.tokens)
                assert all(len(one.top) == 2 and one.logprob < 0 for one in piece.logprobs)

    run(test)


def test_legs_that_crowd_each_other_out_lose_no_token() -> None:
    async def test(engines: Engines) -> None:
        small = msgspec.structs.replace(A10_7B, blocks=60)
        engine = await engines.start(profile=small, speed=100)
        prompts = [text.encode(f"{number}. Once upon a time") for number in range(12)]
        told = await asyncio.gather(*(whole(engine, order(asked, 150)) for asked in prompts))
        assert [tokens for tokens, _ in told] == [text.expected("1", p, 150) for p in prompts]
        assert (await engine.load()).preemptions > 0
        assert engines.servers[0].runner.used() == 0

    run(test)


def test_leaving_a_leg_ends_it_on_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        aborted = asyncio.Event()
        monkeypatch.setattr(engines.servers[0].runner, "abort", lambda _: aborted.set())
        async with engine.generate(order(PROMPT, 5_000)) as pieces:
            async for _ in pieces:
                break
        await idle(engines.servers[0])  # by its connection
        await aborted.wait()  # and by word, for where something is in between
        aborted.clear()
        await whole(engine, order(PROMPT, 5))
        assert not aborted.is_set()

    run(test)


def test_an_abort_by_request_id_ends_the_stream_without_a_reason() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        finishes = []
        async with engine.generate(order(PROMPT, 5_000, "leg")) as pieces:
            async for piece in pieces:
                finishes.append(piece.finish)
                for leg in ("leg", "generate-tokens-leg"):  # without its prefix it isn't known
                    await post(engines, "/inference/v1/abort_requests", {"request_ids": [leg]})
        assert finishes[-1] is None
        assert len(finishes) < 5_000

    run(test)


def test_a_leg_continues_elsewhere_from_held_cache() -> None:
    async def test(engines: Engines) -> None:
        source, destination = await engines.start(), await engines.start()
        asked = order(PROMPT, 300)
        sofar: list[int] = []
        async with source.generate(asked) as pieces:
            async for piece in pieces:
                sofar += piece.tokens
                if len(sofar) in range(100, 103):
                    known = engines.servers[0].runner.cached(PROMPT + sofar, SALT)
                    assert known >= len(PROMPT + sofar) - 16  # all but the block under way
                    first = await source.hold(PROMPT + sofar, SALT)
                    await destination.pull(PROMPT + sofar, SALT, first)
                if len(sofar) >= 140:
                    break
            held = PROMPT + sofar
            last = await source.hold(held, SALT)
            rest, end = await whole(destination, order(held, 300 - len(sofar), hold=last))
        assert sofar + rest == text.expected("1", PROMPT, 300)
        assert end.finish is Finish.LENGTH
        assert engines.servers[1].runner.engine.recomputed == 0

    run(test)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 3_000])
def test_any_length_continues_from_held_cache(length: int) -> None:
    async def test(engines: Engines) -> None:
        source, destination = await engines.start(), await engines.start()
        tokens = (PROMPT * 20)[:length]
        await whole(source, order(tokens, 1))
        hold = await source.hold(tokens, SALT)
        rest, _ = await whole(destination, order(tokens, 20, hold=hold))
        assert rest == text.expected("1", tokens, 20)

    run(test)


def test_ids_that_are_not_those_held_are_refused_and_would_be_corruption() -> None:
    async def test(engines: Engines) -> None:
        source, destination = await engines.start(), await engines.start()
        hold = await source.hold(PROMPT, SALT)
        for pull in (
            destination.pull([*PROMPT, 1], SALT, hold),
            whole(destination, order(PROMPT[:-1], 5, hold=hold)),
        ):
            with pytest.raises(EngineError, match="ids is held"):
                await pull
        altered = [*PROMPT[:-1], 1]
        rest, _ = await whole(destination, order(altered, 20, hold=hold))
        assert rest != text.expected("1", altered, 20)

    run(test)


def test_cache_of_other_weights_shows_in_the_text() -> None:
    async def test(engines: Engines) -> None:
        source, destination = await engines.start("1"), await engines.start("2")
        hold = await source.hold(PROMPT, SALT)
        await destination.pull(PROMPT, SALT, hold)
        rest, _ = await whole(destination, order(PROMPT, 20))
        assert rest != text.expected("2", PROMPT, 20)

    run(test)


def test_a_hold_serves_once_and_while_it_lasts() -> None:
    async def test(engines: Engines) -> None:
        source, destination = await engines.start(), await engines.start()
        forgetful = await engines.start(lease=0.01)
        hold = await source.hold(PROMPT, SALT)
        await destination.pull(PROMPT, SALT, hold)
        with pytest.raises(EngineError, match="has been used"):
            await destination.pull(PROMPT, SALT, hold)
        unknowing = engines.adapter(engines.servers[1])  # of another gateway
        with pytest.raises(EngineError, match="KV load failed") as consumed:
            await unknowing.pull(PROMPT, SALT, hold)
        assert consumed.value.status == 500
        late = await forgetful.hold(PROMPT, SALT)
        await asyncio.sleep(0.02)
        with pytest.raises(EngineError, match="KV load failed"):
            await whole(destination, order(PROMPT, 20, hold=late))
        known = msgspec.structs.replace(late, expires=asyncio.get_running_loop().time())
        with pytest.raises(EngineError, match="has expired"):
            await destination.pull(PROMPT, SALT, known)
        assert (await whole(destination, order(PROMPT, 20)))[0] == text.expected("1", PROMPT, 20)

    run(test)


def test_what_arrives_after_the_lease_may_have_ended_is_not_used() -> None:
    """The source may have given the blocks away by then, and no engine says so."""

    async def test(engines: Engines) -> None:
        source, destination = await engines.start(), await engines.start()
        loop = asyncio.get_running_loop()
        hold = await source.hold(PROMPT, SALT)
        assert loop.time() < hold.expires < hold.lasts < loop.time() + 30
        late = msgspec.structs.replace(hold, lasts=loop.time())
        with pytest.raises(HoldError, match="may have ended"):
            await destination.pull(PROMPT, "a", late)
        late = msgspec.structs.replace(await source.hold(PROMPT, SALT), lasts=loop.time())
        with pytest.raises(HoldError, match="may have ended"):
            await whole(destination, order(PROMPT, 20, hold=late))
        intime = await source.hold(PROMPT, SALT)
        assert len((await whole(destination, order(PROMPT, 20, hold=intime)))[0]) == 20

    run(test)


def test_a_lease_counts_from_when_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(engines: Engines) -> None:
        source = await engines.start()
        ask = VllmEngine._ask_one

        async def slowly(self: VllmEngine, *asked: Any) -> Any:
            found = await ask(self, *asked)
            await asyncio.sleep(0.3)
            return found

        monkeypatch.setattr(VllmEngine, "_ask_one", slowly)
        before = asyncio.get_running_loop().time()
        hold = await source.hold(PROMPT, SALT)
        assert hold.lasts - before < 0.95 * 30 + 0.25

    run(test)


def test_tenants_share_no_cache() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        tokens = PROMPT * 10
        await whole(engine, order(tokens, 1))
        runner = engines.servers[0].runner
        assert runner.cached(tokens, SALT) >= len(tokens) - 16
        assert runner.cached(tokens, "another's") == 0

    run(test)


def test_rendering_and_decoding_are_each_other_s_reverse() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        await engine.probe()
        said = "Grüße, 漢字 🙂"
        assert (await engine.render("/v1/completions", {"prompt": said})).tokens == text.encode(
            said
        )
        chat = {"messages": [{"role": "user", "content": said}]}
        rendered = (await engine.render("/v1/chat/completions", chat)).tokens
        assert rendered == text.render_chat(chat["messages"])
        decoder = engine.decoder([])
        pieces = [decoder.feed([byte]) for byte in said.encode()]
        assert "".join(pieces) + decoder.end() == said
        assert "" in pieces, "no character was held back"
        with pytest.raises(EngineError) as refused:
            await engine.render("/v1/chat/completions", {"messages": []})
        assert refused.value.status == 400

    run(test)


def test_load_counts_what_runs() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        assert (await engine.load()).kv_used == 0
        async with engine.generate(order(PROMPT, 5_000)) as pieces:
            async for _ in pieces:
                break
            load = await engine.load()
            assert (load.running, load.waiting) == (1, 0)
            assert 0 < load.kv_used < 1

    run(test)


def test_without_its_key_a_server_answers_nothing_but_its_health() -> None:
    async def test(engines: Engines) -> None:
        await engines.start()
        stranger = engines.adapter(engines.servers[0], key="wrong")
        for asked in (stranger.probe(), stranger.load(), stranger.hold(PROMPT, SALT)):
            with pytest.raises(EngineError) as refused:
                await asked
            assert refused.value.status == 401
        for path, status in (("/health", 200), ("/kv/read", 401), ("/metrics", 401)):
            async with engines.session.get(url(engines.servers[0]) + path) as response:
                assert response.status == status, path

    run(test)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/inference/v1/generate", {"token_ids": []}, 400),
        ("/inference/v1/generate", {"token_ids": [-1], "sampling_params": {}}, 400),
        ("/inference/v1/generate", {"token_ids": [1] * 20_000, "sampling_params": {}}, 400),
        ("/v1/completions", {"prompt": "a", "model": "another"}, 404),
        ("/v1/completions", {"prompt": {}}, 400),
        ("/v1/chat/completions", {"messages": "no"}, 400),
        ("/v1/nothing", {}, 404),
    ],
)
def test_what_can_not_be_done_is_refused_in_openai_s_shape(
    path: str, body: dict[str, Any], status: int
) -> None:
    async def test(engines: Engines) -> None:
        await engines.start()
        answered, said = await post(engines, path, body)
        assert answered == status
        error = msgspec.json.decode(said)["error"]
        assert error["message"]
        assert error["code"] == status

    run(test)


def test_an_engine_killed_is_an_error_and_no_end(tmp_path: Path) -> None:
    async def test(engines: Engines) -> None:
        key = tmp_path / "key"
        key.write_text(KEY + "\n")
        port = free_port()
        options = ["--port", str(port), "--speed", "20", "--model", "m", "--api-key-file", str(key)]
        program = await asyncio.create_subprocess_exec(sys.executable, "-m", PROGRAM, *options)
        try:
            engine = VllmEngine(engines.session, "e", f"http://127.0.0.1:{port}", key=KEY)
            while not await answers(engine):
                await asyncio.sleep(0.05)
            finishes: list[Finish | None] = []

            async def listen() -> None:
                async with engine.generate(order(PROMPT, 5_000)) as pieces:
                    async for piece in pieces:
                        finishes.append(piece.finish)
                        if len(finishes) == 3:
                            program.kill()

            with pytest.raises(EngineError):
                await listen()
            assert set(finishes) == {None}
            assert not await answers(engine)
        finally:
            if program.returncode is None:
                program.kill()
            await program.wait()

    run(test)


def test_a_server_for_others_needs_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost_model_server.main(["--port", "1", "--host", "0.0.0.0"]) == 2
    assert "--api-key-file" in capsys.readouterr().err


def test_openai_s_requests_pass_as_they_are() -> None:
    async def test(engines: Engines) -> None:
        engine = await engines.start()
        expected = text.decode(text.expected("1", PROMPT, 40))
        asked = {"prompt": PROMPT, "max_tokens": 40, "n": 2}
        async with engine.forward("/v1/completions", asked, salt=SALT, priority=0) as reply:
            assert reply.status == 200
            said = msgspec.json.decode(b"".join([part async for part in reply.body()]))
        assert said["choices"][0]["text"] == expected != said["choices"][1]["text"]
        assert said["usage"] == {
            "prompt_tokens": len(PROMPT),
            "completion_tokens": 80,
            "total_tokens": len(PROMPT) + 80,
        }
        stop = expected[10:12]
        streamed = asked | {"n": 1, "stop": stop, "stream": True}
        async with engine.forward("/v1/completions", streamed, salt=SALT, priority=0) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            events = [event async for event in _events(reply.body())]
        written = "".join(event["choices"][0]["text"] for event in events)
        assert written == expected[: expected.index(stop)]
        assert engines.servers[0].runner.cached(PROMPT, SALT) > 0
        assert events[-1]["choices"][0]["finish_reason"] == "stop"
        await idle(engines.servers[0])

    run(test)


async def _events(body: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    received = b"".join([part async for part in body])
    for event in received.decode().split("\n\n"):
        if event.startswith("data: {"):
            yield msgspec.json.decode(event[6:])


async def post(engines: Engines, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {KEY}"}
    where = url(engines.servers[0]) + path
    async with engines.session.post(where, json=body, headers=headers) as response:
        return response.status, await response.read()


async def answers(engine: VllmEngine) -> bool:
    try:
        await engine.load()
    except EngineError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
