"""The adapter of any OpenAI server, on the cost model's completions, over real sockets.

Covered: what a probe finds, with and without a tokenizer, a request cut and recomputed elsewhere,
its ends, rendering, what it can't. Not covered: log-probabilities, which the cost model's own
completions don't tell; stock vLLM without its token endpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from fairstow.gateway.cost_model import text
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.kinds import KINDS
from fairstow.gateway.engines.openai import OpenAiEngine
from fairstow.gateway.engines.protocol import (
    Engine,
    EngineError,
    Finish,
    Movement,
    Order,
    Piece,
    Sampling,
)
from fairstow.gateway.engines.vocabulary import BYTES
from tests.gateway.servers import KEY, serving, url

PROMPT = text.encode("Once upon a time there was an engine. ")


def run(test: Callable[[Engine, Engine], Awaitable[None]]) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(20),
            aiohttp.ClientSession() as session,
            serving() as one,
            serving() as other,
        ):
            engines = [
                KINDS["openai"](session, "e", url(server), key=KEY, vocabulary=BYTES)
                for server in (one, other)
            ]
            for engine in engines:
                await engine.probe()
            await test(*engines)

    asyncio.run(body())


async def whole(engine: Engine, tokens: list[int], sampling: Sampling) -> tuple[list[int], Piece]:
    order = Order("leg", tokens, sampling, 0, "salt")
    written: list[int] = []
    last = None
    async with engine.generate(order) as pieces:
        async for last in pieces:
            written += last.tokens
    assert last is not None
    return written, last


def test_a_probe_tells_what_is_lacking() -> None:
    async def test(engine: Engine, _other: Engine) -> None:
        found = await engine.probe()
        assert (found.kind, found.model, found.movement) == ("openai", "m", Movement.RECOMPUTE)
        assert (found.max_length, found.missing) == (842 * 16, ())
        async with aiohttp.ClientSession() as session:
            blind = OpenAiEngine(session, "e", engine.url, key=KEY, declared=Declared())
            assert ["tokenizer" in said for said in (await blind.probe()).missing] == [True]
            with pytest.raises(EngineError):
                blind.decoder([])

    run(test)


def test_a_cut_request_is_recomputed_elsewhere() -> None:
    async def test(source: Engine, destination: Engine) -> None:
        expected = text.expected("1", PROMPT, 80)
        written: list[int] = []
        order = Order("leg", PROMPT, Sampling(max_tokens=80), 0, "salt")
        async with source.generate(order) as pieces:
            async for piece in pieces:
                written += piece.tokens
                if len(written) >= 30:
                    break
        left = Sampling(max_tokens=80 - len(written))
        rest, last = await whole(destination, PROMPT + written, left)
        assert written + rest == expected
        assert last.finish is Finish.LENGTH

    run(test)


def test_stop_tokens_end_a_leg() -> None:
    async def test(engine: Engine, _other: Engine) -> None:
        expected = text.expected("1", PROMPT, 40)
        stop = expected[20]
        sampling = Sampling(max_tokens=40, stop_token_ids=(stop,), logit_bias={1: 2.0}, seed=3)
        written, last = await whole(engine, PROMPT, sampling)
        assert written == expected[: expected.index(stop) + 1]
        assert (last.finish, last.matched) == (Finish.STOP, stop)

    run(test)


def test_rendering_asks_the_engine() -> None:
    async def test(engine: Engine, _other: Engine) -> None:
        said = "Grüße"
        assert (await engine.render("/v1/completions", {"prompt": said})).tokens == text.encode(
            said
        )
        assert (await engine.render("/v1/completions", {"prompt": [1, 2]})).tokens == [1, 2]
        chat = {"messages": [{"role": "user", "content": said}]}
        rendered = (await engine.render("/v1/chat/completions", chat)).tokens
        assert rendered == text.render_chat(chat["messages"])
        assert engine.decoder([]).feed(text.encode(said)) == said

    run(test)


def test_no_cache_is_held_or_taken() -> None:
    async def test(engine: Engine, _other: Engine) -> None:
        with pytest.raises(EngineError, match="no KV cache"):
            await engine.hold(PROMPT, "salt")

    run(test)
