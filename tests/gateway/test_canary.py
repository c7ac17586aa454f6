"""Which engines KV cache moves between: only those it was seen to move between unharmed.

Covered: pairs that may, other classes, other versions, wrong blocks that no engine reports, an
engine that can't be reached, probing once, near ties. Real engines: e2e/engines.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import msgspec
import pytest

from fairstow.gateway.engines.canary import Canary, Verdict, difference
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.protocol import Logprob, Movement
from fairstow.gateway.engines.vllm import VllmEngine
from tests.gateway.servers import KEY, serving, url


async def verdicts(*weights: str, same_class: bool = True) -> list[Verdict | None]:
    """Return the verdict of a pair, twice."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        servers = [await stack.enter_async_context(serving(one, speed=50)) for one in weights]
        declared = Declared(priority=True)
        source, destination = (
            VllmEngine(session, "e", url(server), key=KEY, declared=declared) for server in servers
        )
        facts, others = await source.probe(), await destination.probe()
        if same_class:
            others = msgspec.structs.replace(others, compatibility=facts.compatibility)
        canary = Canary()
        first = await canary.verdict(source, facts, destination, others)
        await session.close()  # the second time nobody is asked
        return [first, await canary.verdict(source, facts, destination, others)]


def test_a_pair_that_moves_unharmed_may() -> None:
    assert asyncio.run(verdicts("1", "1")) == [Verdict(Movement.PRE_COPY)] * 2


def test_nothing_goes_on_in_another_class() -> None:
    assert asyncio.run(verdicts("1", "2", same_class=False)) == [None] * 2


def test_blocks_that_are_wrong_without_an_error_are_found() -> None:
    verdict, again = asyncio.run(verdicts("1", "2"))
    assert verdict is not None
    assert verdict.movement is Movement.RECOMPUTE
    assert "went wrong" in verdict.reason
    assert verdict.failed
    assert again == verdict


def test_other_versions_and_engines_without_cache_to_move_recompute() -> None:
    async def test() -> None:
        async with serving() as server, aiohttp.ClientSession() as session:
            engine = VllmEngine(session, "e", url(server), key=KEY)
            other = VllmEngine(session, "o", "http://127.0.0.1:1", key=KEY)
            facts = await engine.probe()
            newer = msgspec.structs.replace(facts, version="9.9")
            without = msgspec.structs.replace(
                facts, movement=Movement.RECOMPUTE, missing=("no NIXL",)
            )
            canary = Canary()
            for others, said in ((newer, "9.9"), (without, "no NIXL"), (facts, "probe failed")):
                verdict = await canary.verdict(engine, facts, other, others)
                assert verdict is not None
                assert verdict.movement is Movement.RECOMPUTE
                assert said in verdict.reason
                assert verdict.failed is (said == "probe failed")

    asyncio.run(test())


def said(*tokens: tuple[int, float]) -> list[Logprob]:
    """Tokens and how likely each was; 7 is always the other one, a little less so."""
    return [Logprob(t, p, ((t, p), (7, p - 0.05), (8, p - 2))) for t, p in tokens]


@pytest.mark.parametrize(
    ("moved", "same"),
    [
        (said((1, -0.5), (2, -0.5)), True),
        (said((1, -0.52), (2, -0.55)), True),
        (said((1, -0.5), (7, -0.55)), True),
        (said((7, -0.55), (99, -9.0)), True),  # nothing after a tie is comparable
        (said((1, -0.5), (2, -1.5)), False),
        (said((1, -0.5), (8, -2.5)), False),
        (said((1, -0.5), (9, -0.5)), False),
        (said((1, -0.5)), False),
    ],
)
def test_near_ties_are_no_difference(moved: list[Logprob], same: bool) -> None:
    assert (difference(said((1, -0.5), (2, -0.5)), moved) == "") is same
