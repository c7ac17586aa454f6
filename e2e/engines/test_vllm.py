"""The vLLM adapter on stock vLLM, two servers on this machine's CPU: docs/engines.md's facts.

Covered: what a probe finds, text and ids, a running request moved by pre-copy with its tokens
those of an undisturbed run at 64 to 3,000 tokens and about the edges of blocks, recompute, aborts,
salts, a full batch, an engine killed. That the set-up is invariant is shown first, each time: the
undisturbed run three times, on both engines. Marked `full`: the servers take minutes to start, the
first time ever also to install (6 GB). Not covered: GPUs; ids that aren't those held, which end the
destination's engine process; bfloat16, where near ties fall otherwise without any move.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from e2e.engines import environments, tiny_model, vllm
from e2e.engines.installed import installed
from fairstow.gateway.engines.canary import Canary, Verdict
from fairstow.gateway.engines.protocol import (
    EngineError,
    Finish,
    Hold,
    Movement,
    Order,
    Sampling,
)
from fairstow.gateway.engines.vllm import VllmEngine
from tests.gateway.legs import whole

if TYPE_CHECKING:
    from e2e.engines.vllm import Vllm

pytestmark = pytest.mark.full

LEGS = itertools.count()
LENGTHS = (17, 31, 32, 33, 64, 255, 256, 257, 1023, 1024, 1025, 2999, 3000)
ANSWER = 60
LONG = 1_000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Vllm]]:
    installed(environments.vllm)
    folder = tmp_path_factory.mktemp("vllm")
    model = tiny_model.write(folder / "model")
    with vllm.start(folder, [model, model]) as servers:
        yield servers


Test = Callable[[VllmEngine, VllmEngine], Awaitable[None]]


def run(pair: list[Vllm], test: Test) -> None:
    async def body() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with asyncio.timeout(300), aiohttp.ClientSession(connector=connector) as session:
            await test(*(server.adapter(session) for server in pair))

    asyncio.run(body())


def order(
    tokens: list[int], limit: int, salt: str, hold: Hold | None = None, **sampling: Any
) -> Order:
    return Order(
        id=f"leg-{next(LEGS)}",
        tokens=tokens,
        sampling=Sampling(max_tokens=limit, temperature=0.0, ignore_eos=True, **sampling),
        priority=0,
        salt=salt,
        hold=hold,
    )


async def undisturbed(one: VllmEngine, other: VllmEngine, asked: list[int]) -> list[int]:
    """Return what both write, again and again."""
    runs = [
        (await whole(engine, order(asked, ANSWER, f"undisturbed-{next(LEGS)}")))[0]
        for engine in (one, one, one, other)
    ]
    assert runs.count(runs[0]) == len(runs), "this set-up isn't invariant"
    return runs[0]


def prompt(length: int, seed: int = 0) -> list[int]:
    chosen = random.Random(length * 1000 + seed)
    return [chosen.randrange(256) for _ in range(length)]


async def until_idle(engine: VllmEngine) -> None:
    while (load := await engine.load()).running + load.waiting:
        await asyncio.sleep(0.05)


def test_a_probe_finds_what_was_started(pair: list[Vllm]) -> None:
    async def test(one: VllmEngine, other: VllmEngine) -> None:
        found, same = await one.probe(), await other.probe()
        assert (found.version, found.model, found.max_length) == ("0.32.0", "tiny", 4096)
        assert (found.block, found.movement, found.missing) == (32, Movement.PRE_COPY, ())
        assert found.kv_tokens > 100_000
        assert found.compatibility == same.compatibility

    run(pair, test)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_running_request_moves_without_a_token_changed(pair: list[Vllm], length: int) -> None:
    async def test(source: VllmEngine, destination: VllmEngine) -> None:
        for seed in range(5):
            asked = prompt(length, seed)
            expected = await undisturbed(source, destination, asked)
            if len(set(expected)) > 20:
                break
        else:
            pytest.fail("a model that repeats itself shows nothing")
        salt, own = f"moved-{length}", f"of the move-{length}"  # as the gateway does
        written: list[int] = []
        async with source.generate(order(asked, LONG, salt)) as pieces:
            async for piece in pieces:
                written += piece.tokens
                if len(written) in range(10, 12):
                    hold = await source.hold(asked + written, salt)
                    await destination.pull(asked + written, own, hold)
                if len(written) >= 30:
                    break
        del written[ANSWER - 20 :]  # where they came all at once
        held = asked + written
        last = await source.hold(held, salt)
        rest, end = await whole(destination, order(held, ANSWER - len(written), own, last))
        assert written + rest == expected
        assert end.finish is Finish.LENGTH

    run(pair, test)


def test_the_copied_blocks_are_not_computed_again(pair: list[Vllm]) -> None:
    async def test(source: VllmEngine, destination: VllmEngine) -> None:
        asked = prompt(1024, seed=1)
        hold = await source.hold(asked, "copied")
        before = await counted(destination, "vllm:external_prefix_cache_hits_total")
        await destination.pull(asked, "of the move", hold)
        after = await counted(destination, "vllm:external_prefix_cache_hits_total")
        assert after - before >= 1023

    run(pair, test)


def test_the_canary_lets_them_move(pair: list[Vllm]) -> None:
    async def test(source: VllmEngine, destination: VllmEngine) -> None:
        facts, others = await source.probe(), await destination.probe()
        verdict = await Canary().verdict(source, facts, destination, others)
        assert verdict == Verdict(Movement.PRE_COPY)

    run(pair, test)


def test_tenants_share_no_prefix(pair: list[Vllm]) -> None:
    async def test(engine: VllmEngine, _other: VllmEngine) -> None:
        asked, hits = prompt(640, seed=2), []
        for salt in ("one", "one", "another"):
            before = await counted(engine, "vllm:prefix_cache_hits_total")
            await whole(engine, order(asked, 1, salt))
            hits.append(await counted(engine, "vllm:prefix_cache_hits_total") - before)
        assert hits == [0, 608, 0]

    run(pair, test)


def test_leaving_a_leg_and_closing_its_connection_both_end_it(pair: list[Vllm]) -> None:
    async def test(engine: VllmEngine, _other: VllmEngine) -> None:
        async with engine.generate(order(prompt(50), 3_000, "left")) as pieces:
            await anext(aiter(pieces))
        await until_idle(engine)
        asked = order(prompt(50), 3_000, "left")
        body = {
            "token_ids": asked.tokens,
            "stream": True,
            "sampling_params": {"max_tokens": 3_000, "ignore_eos": True},
        }
        passed = engine.forward("/inference/v1/generate", body, salt="left", priority=0)
        async with passed as reply:
            await anext(aiter(reply.body()))
        await until_idle(engine)

    run(pair, test)


def test_in_a_full_batch_a_hold_is_next_once_a_leg_ends(pair: list[Vllm]) -> None:
    async def test(engine: VllmEngine, _other: VllmEngine) -> None:
        async def occupy(number: int) -> None:
            with suppress(EngineError):
                await whole(engine, order(prompt(40, number), 4_000, "full"))

        legs = [asyncio.create_task(occupy(number)) for number in range(20)]
        while (load := await engine.load()).running < 16 or load.waiting < 4:
            await asyncio.sleep(0.05)
        hold = asyncio.create_task(engine.hold(prompt(300), "full"))
        while (await engine.load()).waiting < 5:
            await asyncio.sleep(0.05)
        assert not hold.done()
        running = legs[0]
        running.cancel()
        await hold
        assert (await engine.load()).waiting >= 3, "others were let in before it"
        for leg in legs:
            leg.cancel()
        await asyncio.gather(*legs, return_exceptions=True)
        await until_idle(engine)

    run(pair, test)


def test_a_hold_needs_room_for_its_own_token(pair: list[Vllm]) -> None:
    async def test(engine: VllmEngine, _other: VllmEngine) -> None:
        await engine.hold(prompt(4095), "longest")
        with pytest.raises(EngineError) as refused:
            await engine.hold(prompt(4096), "longest")
        assert refused.value.status == 400

    run(pair, test)


def test_text_and_ids_are_the_engine_s(pair: list[Vllm]) -> None:
    async def test(engine: VllmEngine, _other: VllmEngine) -> None:
        said = "Grüße, 漢字 🙂"
        ids = (await engine.render("/v1/completions", {"prompt": said, "model": "tiny"})).tokens
        assert engine.decoder([]).feed(ids) == said
        chat = {"messages": [{"role": "user", "content": said}], "model": "tiny"}
        rendered = (await engine.render("/v1/chat/completions", chat)).tokens
        assert rendered[:2] == [256, 258]
        asked = {"input": said, "model": "tiny"}
        assert (await engine.render("/v1/responses", asked)).tokens == rendered
        with pytest.raises(EngineError) as refused:
            await engine.render("/v1/chat/completions", {"messages": "no"})
        assert refused.value.status == 400

    run(pair, test)


def test_logprobs_tell_the_token_and_the_likeliest(pair: list[Vllm]) -> None:
    async def test(engine: VllmEngine, _other: VllmEngine) -> None:
        async with engine.generate(order(prompt(9), 4, "likely", logprobs=2)) as pieces:
            async for piece in pieces:
                for token, one in zip(piece.tokens, piece.logprobs, strict=True):
                    assert one.token == token
                    assert one.top[0] == (token, one.logprob)

    run(pair, test)


def test_a_killed_engine_s_request_goes_on_elsewhere_by_recompute(pair: list[Vllm]) -> None:
    """The last test: it kills a server."""

    async def test(source: VllmEngine, destination: VllmEngine) -> None:
        asked = prompt(500, seed=3)
        expected, _ = await whole(destination, order(asked, ANSWER, "undisturbed"))
        written: list[int] = []

        async def listen() -> None:
            async with source.generate(order(asked, LONG, "killed")) as pieces:
                async for piece in pieces:
                    written.extend(piece.tokens)
                    if len(written) >= 20:
                        pair[0].kill()

        with pytest.raises(EngineError):
            await listen()
        del written[ANSWER - 20 :]
        left = ANSWER - len(written)
        rest, _ = await whole(destination, order(asked + written, left, "killed"))
        assert written + rest == expected

    run(pair, test)


async def counted(engine: VllmEngine, metric: str) -> int:
    return int(sum(value for name, _, value in await engine._metrics() if name == metric))
