"""Moves that meet something, over real sockets: what the source, the link or the lease denies.

Covered: requests that are queued on their engine or being prefilled, a source whose queue is full,
holds that are refused or have expired, a link that is cut, engines that are whole all the same; a
leg that is over by a stop string ends on its engine. Not covered: engines that die
(test_migration), any order of events (tests/serving/test_handover).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from fairstow.gateway import streams
from fairstow.gateway.engines.protocol import EngineError, Hold
from fairstow.gateway.engines.vllm import VllmEngine
from fairstow.gateway.fleet import Fleet
from fairstow.serving.cost_model import A10_7B
from fairstow.serving.wire import InstanceEntry, Ledger, Phase
from tests.gateway.gateways import MODEL, Site, chat, expected, heard, run

SMALL = msgspec.structs.replace(A10_7B, blocks=64)
Denied = Callable[[pytest.MonkeyPatch, Site], None]


def _on(ledger: Ledger, name: str) -> InstanceEntry:
    return next(each for each in ledger.instances if each.name == name)


def test_what_waits_or_is_prefilled_goes_at_once() -> None:
    """The first runs, the second is at the door of the same full engine: that drains."""

    async def test(site: Site) -> None:
        for name in "ab":
            await site.engine(name, profile=SMALL, speed=4)
        await site.gateway()
        await site.ready()
        await site.drain("b")
        runs = asyncio.create_task(heard(site, "x" * 600, 150))
        await site.until(lambda now: now.requests and now.requests[0].generated > 3)
        waits = asyncio.create_task(heard(site, "y" * 600, 50))
        await site.until(lambda now: any(each.phase is Phase.QUEUED for each in now.requests))
        await site.drain("a")
        await site.until(
            lambda now: any(each.instance == "b" and each.generated for each in now.requests)
        )
        assert await waits == expected("y" * 600, 50)
        assert await runs == expected("x" * 600, 150)

    run(test, 60)


def test_a_prompt_that_is_being_computed_goes_at_once() -> None:
    async def test(site: Site) -> None:
        for name in "ab":
            await site.engine(name, speed=4)
        await site.gateway()
        await site.ready()
        answer = asyncio.create_task(heard(site, "z" * 6000, 20))
        while not site.servers["a"].runner.engine.batch:  # takes 0.4 s there
            await asyncio.sleep(0.01)
        await site.drain("a")
        assert await answer == expected("z" * 6000, 20)
        assert _on(await site.ledger(), "a").recomputed == 1

    run(test, 60)


def _hold_refused(patch: pytest.MonkeyPatch, _site: Site) -> None:
    def refuse(_hold: Hold) -> Hold:
        raise EngineError(429, "as many blocks are held as may be")

    _from_the_second_on(patch, refuse)


def _lease_expired(patch: pytest.MonkeyPatch, _site: Site) -> None:
    _from_the_second_on(patch, lambda hold: msgspec.structs.replace(hold, expires=0.0))


def _from_the_second_on(patch: pytest.MonkeyPatch, act: Callable[[Hold], Hold]) -> None:
    """So that the first stage goes well and the last one, when the client waits, doesn't."""
    hold, held = VllmEngine.hold, 0

    async def counted(self: VllmEngine, tokens: list[int], salt: str) -> Hold:
        nonlocal held
        held += 1
        found = await hold(self, tokens, salt)
        return found if held == 1 else act(found)

    patch.setattr(VllmEngine, "hold", counted)


def _link_cut(_patch: pytest.MonkeyPatch, site: Site) -> None:
    site.servers["a"].host = "127.0.0.2"  # what it says to readers; nobody answers there
    site.servers["a"].port = 9


@pytest.mark.parametrize("denied", [_hold_refused, _lease_expired, _link_cut])
def test_what_cannot_be_copied_is_recomputed_and_nobody_is_blamed(
    monkeypatch: pytest.MonkeyPatch, denied: Denied
) -> None:
    async def test(site: Site) -> None:
        for name in "ab":
            await site.engine(name, speed=4)
        await site.gateway()
        await site.ready()
        monkeypatch.setattr(streams, "RETRY_SECONDS", 0.1)
        suspected: list[str] = []
        monkeypatch.setattr(Fleet, "suspect", lambda _self, engine: suspected.append(engine.name))
        answer = asyncio.create_task(heard(site, "denied", 300))
        await site.until(lambda now: now.requests and now.requests[0].generated > 5)
        denied(monkeypatch, site)
        await site.drain("a")
        await site.moved_out("a")
        ledger = await site.ledger()
        assert suspected == []
        assert _on(ledger, "a").recomputed == 1
        assert await answer == expected("denied", 300)

    run(test, 60)


def test_a_leg_that_a_stop_string_ends_ends_on_its_engine() -> None:
    async def test(site: Site) -> None:
        server = await site.engine("a", speed=10)
        await site.gateway()
        await site.ready()
        stop = expected("stop", 40)[20:23]
        body = {"model": MODEL, "messages": chat("stop"), "max_tokens": 10_000, "stop": stop}
        status, answer, _ = await site.post("/v1/chat/completions", body)
        assert (status, answer["choices"][0]["finish_reason"]) == (200, "stop")
        async with asyncio.timeout(5):
            while server.runner.engine.batch:
                await asyncio.sleep(0.01)

    run(test, 60)
