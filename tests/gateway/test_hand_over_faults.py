"""Moves that meet something, over real sockets: what the source, the link or the lease denies.

Covered: requests that are queued on their engine or being prefilled, a source whose queue is full,
holds that are refused or have expired, a link that is cut, engines that are whole all the same; a
leg that is over by a stop string ends on its engine. Not covered: engines that die
(test_migration), any order of events (tests/serving/test_handover).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import msgspec
import pytest

from fairstow.gateway import streams
from fairstow.gateway.engines.protocol import EngineError, Hold, Order
from fairstow.gateway.engines.vllm import VllmEngine
from fairstow.gateway.fleet import Fleet
from fairstow.serving.cost_model import A10_7B
from fairstow.serving.prefixes import Prefixes
from fairstow.serving.wire import InstanceEntry, Ledger, Phase
from tests.gateway.gateways import MODEL, Site, chat, expected, heard, run

SMALL = msgspec.structs.replace(A10_7B, blocks=64)
Denied = Callable[[pytest.MonkeyPatch, Site], None]


def _on(ledger: Ledger, name: str) -> InstanceEntry:
    return next(each for each in ledger.instances if each.name == name)


def test_what_waits_or_is_prefilled_goes_at_once() -> None:
    """The first runs, the second is at the door of the same full engine: that drains."""

    async def test(site: Site) -> None:
        await site.serve("ab", profile=SMALL, speed=4)
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
        await site.serve("ab", speed=4)
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


def _arrives_late(patch: pytest.MonkeyPatch, _site: Site) -> None:
    _from_the_second_on(patch, lambda hold: msgspec.structs.replace(hold, lasts=0.0))


@pytest.mark.parametrize("denied", [_hold_refused, _lease_expired, _link_cut, _arrives_late])
def test_what_cannot_be_copied_is_recomputed_and_nobody_is_blamed(
    monkeypatch: pytest.MonkeyPatch, denied: Denied
) -> None:
    async def test(site: Site) -> None:
        await site.serve("ab", speed=4)
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


@pytest.mark.parametrize("late", [False, True])
def test_what_was_pulled_is_found_under_no_salt_but_the_moves(
    monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Neither the tenant's next prompt nor this request finds what came too late."""

    async def test(site: Site) -> None:
        await site.serve("ab", speed=4)
        monkeypatch.setattr(streams, "RETRY_SECONDS", 0.1)
        legs: list[Order] = []
        pulls: list[str] = []
        generate, pull = VllmEngine.generate, VllmEngine.pull

        def ordered(self: VllmEngine, order: Order) -> Any:
            legs.append(order)
            return generate(self, order)

        async def pulled(self: VllmEngine, tokens: list[int], salt: str, hold: Hold) -> None:
            pulls.append(salt)
            await pull(self, tokens, salt, hold)

        monkeypatch.setattr(VllmEngine, "generate", ordered)
        monkeypatch.setattr(VllmEngine, "pull", pulled)
        answer = asyncio.create_task(heard(site, "salted", 300))
        await site.until(lambda now: now.requests and now.requests[0].generated > 5)
        if late:
            _arrives_late(monkeypatch, site)
        await site.drain("a")
        await site.moved_out("a")
        assert await answer == expected("salted", 300)
        tenant = legs[0].salt
        assert pulls
        assert tenant not in pulls
        moved = [each for each in legs if each.hold is not None]
        assert moved
        assert tenant not in {each.salt for each in moved}
        if late:
            assert legs[-1].hold is None
            assert legs[-1].salt not in {each.salt for each in moved}
        else:
            assert {each.salt for each in moved} == set(pulls)

    run(test, 60)


def test_no_prompt_is_expected_to_hit_what_was_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine that it moved to isn't said to have the prompt's prefix, as the first one is."""

    async def test(site: Site) -> None:
        known: set[int] = set()
        add = Prefixes.add

        def adding(self: Prefixes, keys: Sequence[Hashable]) -> None:
            known.add(id(self))
            add(self, keys)

        monkeypatch.setattr(Prefixes, "add", adding)
        for name in "ab":
            await site.engine(name, speed=4)
        await site.gateway(spread="prefix-aware")
        await site.ready()
        answer = asyncio.create_task(heard(site, "x" * 600, 200))
        ledger = await site.until(lambda now: now.requests and now.requests[0].generated > 5)
        source = ledger.requests[0].instance
        await site.drain(source)
        await site.moved_out(source)
        assert _on(await site.ledger(), source).moved == 1
        assert await answer == expected("x" * 600, 200)
        assert len(known) == 1

    run(test, 60)


def test_a_moved_request_moves_again_by_what_it_has_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(site: Site) -> None:
        held: list[tuple[str, str]] = []
        legs: list[tuple[str, str]] = []
        hold, generate = VllmEngine.hold, VllmEngine.generate

        async def holding(self: VllmEngine, tokens: list[int], salt: str) -> Hold:
            held.append((self.name, salt))
            return await hold(self, tokens, salt)

        def ordered(self: VllmEngine, order: Order) -> Any:
            if "-" in order.id:  # no canary's
                legs.append((self.name, order.salt))
            return generate(self, order)

        await site.serve("abc", speed=4)
        await site.drain("b", "c")
        monkeypatch.setattr(VllmEngine, "hold", holding)
        monkeypatch.setattr(VllmEngine, "generate", ordered)
        answer = asyncio.create_task(heard(site, "again", 400))
        await site.until(lambda now: now.requests and now.requests[0].generated > 5)
        await site.drain("a", "c")
        await site.moved_out("a")
        await site.drain("a", "b")
        await site.moved_out("b")
        ledger = await site.ledger()
        assert [_on(ledger, name).moved for name in "ab"] == [1, 1]
        assert [_on(ledger, name).recomputed for name in "ab"] == [0, 0]
        assert await answer == expected("again", 400)
        assert len(legs) == 3
        ours = {salt for _, salt in legs}
        # Under another salt they would have computed it anew.
        assert {each for each in held if each[1] in ours} == set(legs[:2])

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
