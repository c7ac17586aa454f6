"""The container beside an engine: when it says that the engine is drained, and to whom.

Covered: with a clock of the test's own, when it is; over HTTP with a cost-model engine, who may
ask. Not covered: the kubelet that asks (e2e/serving/test_pods.py).
"""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from fairstow.gateway.engines.protocol import EngineError, Load
from fairstow.gateway.pod_helper import draining
from fairstow.gateway.pod_helper.draining import (
    QUIET_SECONDS,
    SILENT_SECONDS,
    Helper,
    drained,
)


class World:
    """An engine whose load is a function of the time, and the time."""

    def __init__(self, *loads: tuple[float, int]) -> None:
        self.now = 0.0
        self._loads = loads

    def clock(self) -> float:
        return self.now

    async def sleep(self, pause: float) -> None:
        self.now += pause

    async def ask(self) -> Load:
        running = next(n for since, n in reversed(self._loads) if self.now >= since)
        if running < 0:
            raise EngineError(None, "refused")
        return Load(running=running, waiting=0, kv_used=0.0)

    def waited(self, bound: float = 600.0) -> tuple[str, float]:
        outcome = asyncio.run(drained(self.ask, bound, self.clock, self.sleep))
        return outcome, self.now


def test_an_idle_engine_is_watched_for_a_while() -> None:
    assert World((0, 0)).waited() == ("drained", QUIET_SECONDS)


def test_a_busy_one_is_waited_for() -> None:
    assert World((0, 3), (20, 0)).waited() == ("drained", 20 + QUIET_SECONDS)


def test_a_late_request_begins_the_wait_anew() -> None:
    assert World((0, 0), (1, 1), (5, 0)).waited() == ("drained", 5 + QUIET_SECONDS)


def test_nobody_waits_beyond_the_bound() -> None:
    assert World((0, 1)).waited(30) == ("the bound is over", 30)


def test_a_dead_engine_isnt_waited_for() -> None:
    outcome, waited = World((0, 1), (10, -1)).waited()
    assert outcome == "the engine doesn't answer"
    assert abs(waited - (10 + SILENT_SECONDS)) < 1


def test_one_that_pauses_is() -> None:
    paused = World((0, 1), (10, -1), (10 + SILENT_SECONDS / 2, 1), (60, 0))
    assert paused.waited() == ("drained", 60 + QUIET_SECONDS)


def test_only_the_kubelet_waits_and_both_its_hooks_for_one_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draining, "QUIET_SECONDS", 0.0)

    async def scenario() -> None:
        answers = [1, 1, 1, 0]  # then it is asked no more

        async def ask() -> Load:
            return Load(running=answers.pop(0), waiting=0, kv_used=0.0)

        runner = web.AppRunner(Helper(ask, 600.0, "token").app())
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/drained"
            async with aiohttp.ClientSession() as session:

                async def asked(token: str) -> tuple[int, str]:
                    headers = {"Authorization": f"Bearer {token}"}
                    async with session.get(url, headers=headers) as reply:
                        return reply.status, await reply.text()

                assert (await asked("wrong"))[0] == 401
                both = await asyncio.gather(asked("token"), asked("token"))
                assert set(both) == {(200, "drained")}
                assert answers == []
        finally:
            await runner.cleanup()

    asyncio.run(scenario())
