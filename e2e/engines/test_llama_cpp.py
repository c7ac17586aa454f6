"""The llama.cpp adapter on its real server, two of them with a tiny model: docs/engines.md's facts.

Covered: what a probe finds, text and ids, a request that was cut moved by its slot's file and by
recompute, tokens those of an undisturbed run; ids that the stream leaves out; stop tokens, slots of
several tenants, aborts, what it can't; two that share no folder, with carriers between them. Not
covered: folders shared between machines, other models' attention (sliding windows are in
test_llama_cpp_trained; hybrids).
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from e2e.engines import environments, llama_cpp
from e2e.engines.installed import installed
from e2e.engines.llama_cpp import LlamaCpp
from fairstow.gateway.engines.canary import Canary, Verdict
from fairstow.gateway.engines.llama_cpp import LlamaCppEngine
from fairstow.gateway.engines.protocol import (
    EngineError,
    Finish,
    Hold,
    Movement,
    Order,
    Sampling,
)
from fairstow.gateway.slot_carrier.carrier import Carrier
from fairstow.gateway.slot_carrier.folder import Folder
from tests.gateway.legs import whole

LEGS = itertools.count()
# Whole characters of one to three bytes, so that ids of half characters come up all the time.
CHARACTERS = "root ::= [a-z é€漢]*"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LlamaCpp]]:
    installed(environments.llama_cpp)
    with llama_cpp.start(tmp_path_factory.mktemp("llama"), 2, CHARACTERS) as servers:
        yield servers


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LlamaCpp]]:
    installed(environments.llama_cpp)
    folder = tmp_path_factory.mktemp("apart")
    with llama_cpp.start(folder, 2, CHARACTERS, apart=True) as servers:
        yield servers


Test = Callable[[LlamaCppEngine, LlamaCppEngine], Awaitable[None]]


def run(pair: list[LlamaCpp], test: Test) -> None:
    async def body() -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            engines = [server.adapter(session) for server in pair]
            for engine in engines:
                await engine.probe()
            await test(*engines)

    asyncio.run(body())


def order(
    tokens: list[int], limit: int, hold: Hold | None = None, salt: str = "one's", **sampling: Any
) -> Order:
    return Order(
        id=f"leg-{next(LEGS)}",
        tokens=tokens,
        sampling=Sampling(max_tokens=limit, temperature=0.0, ignore_eos=True, **sampling),
        priority=0,
        salt=salt,
        hold=hold,
    )


def prompt(length: int) -> list[int]:
    chosen = random.Random(length)
    return [chosen.randrange(32, 127) for _ in range(length)]


def test_a_probe_finds_what_was_started(pair: list[LlamaCpp]) -> None:
    async def test(one: LlamaCppEngine, other: LlamaCppEngine) -> None:
        found, same = await one.probe(), await other.probe()
        assert (found.kind, found.model, found.max_length) == ("llama.cpp", "tiny", 4096)
        assert (found.movement, found.missing) == (Movement.COPY, ())
        assert found.compatibility == same.compatibility
        assert await Canary().verdict(one, found, other, same) == Verdict(Movement.COPY)

    run(pair, test)


@pytest.mark.parametrize("length", [1, 64, 300, 3_000])
def test_a_cut_request_goes_on_elsewhere_without_a_token_changed(
    pair: list[LlamaCpp], length: int
) -> None:
    async def test(source: LlamaCppEngine, destination: LlamaCppEngine) -> None:
        asked = prompt(length)
        expected, end = await whole(source, order(asked, 80, salt="undisturbed"))
        assert end.finish is Finish.LENGTH
        assert max(expected) > 0x7F, "no character of several bytes in it"
        written: list[int] = []
        async with source.generate(order(asked, 80)) as pieces:
            async for piece in pieces:
                written += piece.tokens
                # The server's grammar begins anew with each leg, so not within a character.
                if len(written) >= 30 and whole_characters(written):
                    break
        held = asked + written
        hold = await source.hold(held, "one's")
        rest, _ = await whole(destination, order(held, 80 - len(written), hold))
        again, _ = await whole(destination, order(held, 80 - len(written), salt="recomputed"))
        # Half a character at the very end isn't told.
        assert same(written + rest, expected)
        assert same(written + again, expected)

    run(pair, test)


def whole_characters(ids: list[int]) -> bool:
    return bytes(ids).decode(errors="ignore").encode() == bytes(ids)


def same(one: list[int], other: list[int]) -> bool:
    assert abs(len(one) - len(other)) < 4
    return one[: len(other)] == other[: len(one)]


def test_the_ids_that_a_stream_leaves_out_are_found(pair: list[LlamaCpp]) -> None:
    async def test(engine: LlamaCppEngine, _other: LlamaCppEngine) -> None:
        asked = prompt(20)
        told, _ = await whole(engine, order(asked, 100))
        body = {
            "prompt": asked,
            "n_predict": 100,
            "temperature": 0,
            "ignore_eos": True,
            "return_tokens": True,
            "samplers": ["temperature"],
        }
        async with engine.forward("/completion", body, salt="", priority=0) as reply:
            said = msgspec.json.decode(b"".join([part async for part in reply.body()]))
        assert same(told, said["tokens"])
        assert said["content"].startswith(engine.decoder([]).feed(told))

    run(pair, test)


def test_stop_tokens_end_a_leg(pair: list[LlamaCpp]) -> None:
    async def test(engine: LlamaCppEngine, _other: LlamaCppEngine) -> None:
        written, _ = await whole(engine, order(prompt(20), 50))
        stop = written[20]
        stopped, last = await whole(engine, order(prompt(20), 50, stop_token_ids=(stop,)))
        assert stopped == written[: written.index(stop) + 1]
        assert (last.finish, last.matched) == (Finish.STOP, stop)

    run(pair, test)


def test_more_legs_than_slots_take_turns_and_leave_their_slots(pair: list[LlamaCpp]) -> None:
    async def test(engine: LlamaCppEngine, _other: LlamaCppEngine) -> None:
        alone = [(await whole(engine, order(prompt(30 + n), 30, salt="a")))[0] for n in range(9)]
        together = await asyncio.gather(
            *(whole(engine, order(prompt(30 + n), 30, salt="b")) for n in range(9))
        )
        assert [tokens for tokens, _ in together] == alone
        async with engine.generate(order(prompt(40), 3_000)) as pieces:
            await anext(aiter(pieces))
            assert (await engine.load()).running == 1
        while (await engine.load()).running:
            await asyncio.sleep(0.02)

    run(pair, test)


def test_what_can_not_be_held_or_restored_is_refused(pair: list[LlamaCpp]) -> None:
    async def test(source: LlamaCppEngine, destination: LlamaCppEngine) -> None:
        with pytest.raises(EngineError, match="no slot has these ids"):
            await source.hold(prompt(77), "one's")
        asked = prompt(50)
        await whole(source, order(asked, 4))
        with pytest.raises(EngineError, match="no slot has these ids"):
            await source.hold(asked, "another's")
        hold = await source.hold(asked, "one's")
        with pytest.raises(EngineError, match="ids is held"):
            await destination.pull(asked[:-1], "one's", hold)
        gone = msgspec.structs.replace(hold, ticket={**hold.ticket, "file": "gone.kv"})
        with pytest.raises(EngineError, match="restore"):
            await destination.pull(asked, "one's", gone)
        with pytest.raises(EngineError, match="min_tokens"):
            await whole(source, order(asked, 4, min_tokens=2))

    run(pair, test)


def test_text_and_ids_are_the_engine_s(pair: list[LlamaCpp]) -> None:
    async def test(engine: LlamaCppEngine, _other: LlamaCppEngine) -> None:
        said = "Grüße, 漢字"
        ids = (await engine.render("/v1/completions", {"prompt": said})).tokens
        assert engine.decoder([]).feed(ids) == said
        chat = {"messages": [{"role": "user", "content": said}]}
        rendered = (await engine.render("/v1/chat/completions", chat)).tokens
        assert rendered[:2] == [256, 258]
        assert engine.decoder([]).feed(rendered) == f"user\n{said}assistant\n"
        with pytest.raises(EngineError) as refused:
            await engine.render("/v1/completions", {"prompt": [[1], [2]]})
        assert refused.value.status == 400

    run(pair, test)


@asynccontextmanager
async def carriers(
    servers: list[LlamaCpp], session: aiohttp.ClientSession
) -> AsyncIterator[list[str]]:
    """Serve what carries their files; gives its URLs."""
    async with AsyncExitStack() as stack:
        urls = []
        for server in servers:
            app = Carrier(Folder(server.slots, 1 << 30), session, llama_cpp.KEY).app()
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        yield urls


def test_between_two_that_share_no_folder_a_carrier_takes_it(apart: list[LlamaCpp]) -> None:
    async def body() -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            async with carriers(apart, session) as urls:
                one, other = (
                    server.adapter(session, url) for server, url in zip(apart, urls, strict=True)
                )
                facts = [await each.probe() for each in (one, other)]
                found = await Canary().verdict(one, facts[0], other, facts[1])
                assert found == Verdict(Movement.COPY)
                asked = prompt(300)
                expected, _ = await whole(one, order(asked, 80, salt="undisturbed"))
                cut = next(n for n in range(30, 34) if whole_characters(expected[:n]))
                held = asked + expected[:cut]
                await whole(one, order(held, 1))
                hold = await one.hold(held, "one's")
                await other.pull(held, "one's", hold)
                assert [*apart[0].slots.iterdir(), *apart[1].slots.iterdir()] == []
                rest, _ = await whole(other, order(held, 80 - cut))
                assert same(expected[:cut] + rest, expected)
                lost = await one.hold(held, "one's")
            with pytest.raises(EngineError):
                await other.pull(held, "one's", lost)
            alone = await apart[0].adapter(session, urls[0]).probe()
            assert alone.movement is Movement.RECOMPUTE
            assert "carries" in alone.missing[0]
            # Somebody else's folder is of no use.
            async with carriers(apart[::-1], session) as crossed:
                foreign = await apart[0].adapter(session, crossed[0]).probe()
                assert "has none of them" in foreign.missing[0]

    asyncio.run(body())
