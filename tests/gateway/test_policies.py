"""What each policy does differently, through a real gateway: so each is given what it decides by.

Covered: every policy a ServingPool may name, in a scene in which another policy does otherwise;
answers' lengths, deadlines, speeds, cached prefixes and engines' other consumers as policies see
them; pauses, their bound and that no token is lost by them. Not covered: whether a policy is any
good (tests/serving, benchmarks/serving_simulator).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from fairstow.api import ServingPoolSpec
from fairstow.gateway import fleet, moving
from fairstow.gateway.cost_model import text
from fairstow.gateway.tenants import Tenants, parse
from fairstow.gateway.urgency import urgency
from fairstow.serving.cost_model import A10_7B
from fairstow.serving.policies import POLICIES, policy
from fairstow.serving.policies.pausing import Pausing
from fairstow.serving.wire import Phase, RequestEntry, State
from fairstow.web.errors import ApiError
from tests.gateway.gateways import MODEL, Site, run, said

SMALL = msgspec.structs.replace(A10_7B, blocks=64)
"""Room for 1,008 tokens."""


class Scene:
    """Requests that go on until the scene is over, by names."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.stack.push_async_callback(self._over)
        self._ids: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[bytes]] = {}

    async def ask(
        self,
        name: str,
        prompt: int,
        *,
        limit: int = 200,
        first: int = 65,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Ask, and wait until the gateway has it. `first` is the token that the prompt is of."""
        known = {each.id for each in (await self.site.ledger()).requests}
        body = {"model": MODEL, "prompt": [first] * prompt, "max_tokens": limit, "stream": True}
        self._tasks[name] = asyncio.create_task(self._read(body, headers))
        ledger = await self.site.until(lambda now: {each.id for each in now.requests} - known)
        (self._ids[name],) = {each.id for each in ledger.requests} - known
        await asyncio.sleep(0.02)  # for the dispatcher's turn

    async def _read(self, body: dict[str, Any], headers: Mapping[str, str]) -> bytes:
        url = f"{self.site.base}/v1/completions"
        async with self.site.http.post(url, json=body, headers=headers) as reply:
            return await reply.read()

    async def quickly(self, prompt: int, *, limit: int = 1, first: int = 65) -> None:
        """Ask and wait for the end."""
        body = {"model": MODEL, "prompt": [first] * prompt, "max_tokens": limit, "stream": True}
        assert b"[DONE]" in await self._read(body, {})

    async def end(self, name: str) -> bytes:
        """Wait for the answer."""
        return await self._tasks[name]

    async def leave(self, name: str) -> None:
        """Have its client leave."""
        self._tasks[name].cancel()
        gone = self._ids[name]
        await self.site.until(lambda now: gone not in {each.id for each in now.requests})

    async def entry(self, name: str) -> RequestEntry | None:
        ledger = await self.site.ledger()
        return next((each for each in ledger.requests if each.id == self._ids[name]), None)

    async def at(self, name: str) -> str:
        """Return where a request is, "" while it waits in the gateway."""
        entry = await self.entry(name)
        assert entry is not None
        return entry.instance

    async def running(self, *names: str) -> str:
        """Return who of these speaks first."""
        while True:
            for name in names:
                entry = await self.entry(name)
                if entry is None or entry.generated:
                    return name
            await asyncio.sleep(0.01)

    async def _over(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.wait(self._tasks.values())


async def _scene(
    site: Site,
    spread: str,
    engines: str = "ab",
    speeds: Mapping[str, float] | None = None,
    **more: Any,
) -> Scene:
    for name in engines:
        await site.engine(name, **more)
    await site.gateway(spread=spread, speeds=speeds)
    await site.until(lambda now: {each.state for each in now.instances} == {State.SERVING})
    return Scene(site)


async def whose_turn(site: Site, spread: str) -> object:
    scene = await _scene(site, spread)
    await scene.ask("long", 100)
    await scene.quickly(100)
    await scene.ask("next", 100)
    return await scene.at("next")


async def few_or_small(site: Site, spread: str) -> object:
    scene = await _scene(site, spread)
    await scene.ask("large", 8000)
    await scene.ask("small", 50)
    await scene.ask("next", 50)
    return await scene.at("next")


async def drawn(site: Site, spread: str) -> object:
    scene, seen = await _scene(site, spread, "abc"), ""
    for number in range(12):
        await scene.ask(str(number), 10)
        seen += await scene.at(str(number))
        await scene.leave(str(number))
    return "turns" if seen == "abc" * 4 else "drawn" if len(set(seen)) > 1 else "the first"


async def steps_left(site: Site, spread: str) -> object:
    """Three small ones are more on their engine than a large one is, though they hold less."""
    scene = await _scene(site, spread)
    await scene.ask("large", 6000, limit=500)
    for number in range(3):
        await scene.ask(str(number), 500, limit=500)
    return "".join([await scene.at(str(number)) for number in range(3)])


async def who_waits_and_who_passes(site: Site, spread: str) -> object:
    scene = await _scene(site, spread, profile=SMALL)
    for name in "ab":
        await scene.ask(name, 400, limit=500)
    await scene.ask("large", 800)
    await scene.ask("small", 50)
    return await scene.at("large"), bool(await scene.at("small"))


async def at_its_peak(site: Site, spread: str) -> object:
    """Two fit now, and not once they have grown; unless answers are known to be short."""
    scene, seen = await _scene(site, spread, "a", profile=SMALL), []
    for name in ("before", "after"):
        await scene.ask(f"first {name}", 300, limit=500)
        await scene.ask(f"next {name}", 300, limit=500)
        seen.append(await scene.at(f"next {name}"))
        await scene.leave(f"first {name}")
        await scene.leave(f"next {name}")
        await asyncio.gather(*(scene.quickly(10, limit=2) for _ in range(25)))
    return seen


async def who_is_due(site: Site, spread: str) -> object:
    scene = await _scene(site, spread, "a", profile=SMALL)
    await scene.ask("runs", 600, limit=200)
    await scene.ask("any time", 700, limit=256)
    await scene.ask("due", 700, limit=256, headers={"X-Fairstow-Deadline": "20s"})
    return await scene.running("any time", "due")


async def who_is_fast(site: Site, spread: str) -> object:
    scene = await _scene(site, spread, speeds={"b": 3.0})
    await scene.ask("one", 100)
    return await scene.at("one")


async def where_it_was(site: Site, spread: str) -> object:
    scene = await _scene(site, spread)
    await scene.quickly(640)
    await scene.ask("busy", 100, first=66)
    assert await scene.at("busy") == "a"
    await scene.ask("again", 900)
    return await scene.at("again")


Play = Callable[[Site, str], Awaitable[object]]
SCENES: dict[str, tuple[Play, object, str]] = {
    "round-robin": (whose_turn, "a", "least-loaded"),
    "least-loaded": (few_or_small, "a", "load-aware"),
    "load-aware": (few_or_small, "b", "least-loaded"),
    "power-of-two": (drawn, "drawn", "round-robin"),
    "llumnix": (steps_left, "bba", "load-aware"),
    "virtual-usage": (who_waits_and_who_passes, ("", True), "llumnix"),
    "past-future": (at_its_peak, ["", "a"], "virtual-usage"),
    "jitserve": (who_is_due, "due", "virtual-usage"),
    "hexgen": (who_is_fast, "b", "least-loaded"),
    "prefix-aware": (where_it_was, "a", "load-aware"),
}
"""By policy: a scene, what it does there, and which other policy doesn't."""


def test_there_is_a_scene_for_every_policy_that_a_pool_may_name() -> None:
    field = ServingPoolSpec.model_fields["dispatch"]
    annotation = field.annotation
    assert get_origin(annotation) is Literal
    assert {policy(name).name for name in get_args(annotation)} == SCENES.keys() == POLICIES.keys()


@pytest.mark.parametrize("name", SCENES)
def test_a_policy_does_what_another_does_not(name: str) -> None:
    play, expected, other = SCENES[name]
    seen: list[object] = []

    for spread in (name, other):

        async def test(site: Site, spread: str = spread) -> None:
            seen.append(await play(site, spread))

        run(test, 30)
    assert seen[0] == expected
    assert seen[1] != expected, f"{other} does the same"


def test_what_an_engine_does_for_others_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "POLL_SECONDS", 0.05)

    async def test(site: Site) -> None:
        scene = await _scene(site, "load-aware")
        engine = site.servers["a"]
        body = {"model": MODEL, "prompt": [65] * 4000, "max_tokens": 5000}
        headers = {"Authorization": "Bearer an engine's key"}
        url = f"http://127.0.0.1:{engine.port}/v1/completions"
        stranger = asyncio.create_task(site.http.post(url, json=body, headers=headers).__aenter__())
        while not engine.runner.engine.batch:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # for some reports
        await scene.ask("one", 100)
        assert await scene.at("one") == "b"
        stranger.cancel()
        while engine.runner.engine.batch:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        await scene.ask("next", 100)
        assert await scene.at("next") == "a"

    run(test, 30)


LOW, HIGH = {"X-Fairstow-Priority": "low"}, {"X-Fairstow-Priority": "high"}


def test_the_less_urgent_gives_way_and_goes_on_without_a_lost_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And is paused for so long and no longer, though others more urgent wait."""
    monkeypatch.setattr(moving, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(moving, "PAUSE_SECONDS", 0.2)
    spread = replace(policy("virtual-usage"), pauser=Pausing(patience=0.05, most=1, rest=0.0))

    async def test(site: Site) -> None:
        await site.engine("a", profile=SMALL, speed=8)
        await site.gateway(spread=spread, keep_alive=0.1)
        await site.ready()
        scene = Scene(site)
        await scene.ask("low", 600, limit=100, headers=LOW)
        assert await scene.running("low") == "low"
        await scene.ask("high", 600, limit=100, headers=HIGH)
        await site.until(
            lambda now: any(each.generated and each.phase is Phase.PARKED for each in now.requests)
        )
        await asyncio.sleep(0.25)
        await scene.ask("next", 600, limit=20, headers=HIGH)
        assert await scene.at("next") == ""
        await scene.end("high")
        assert await scene.running("next", "low") == "low"
        answer = await scene.end("low")
        assert b": keep-alive" in answer
        assert said(answer) == text.decode(text.expected("1", [65] * 600, 100))
        await scene.end("next")

    run(test, 30)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Fairstow-Deadline": "soon"}, 400),
        ({"X-Fairstow-Deadline": "0s"}, 400),
        ({"X-Fairstow-Deadline": "9999h"}, 400),
        ({"X-Fairstow-Pace": "1e3s"}, 400),
        ({"X-Fairstow-Pace": "80ms", "X-Fairstow-Deadline": "2s"}, 400),
        ({"X-Fairstow-Pace": "80ms"}, 200),
    ],
)
def test_deadlines_are_times(headers: dict[str, str], status: int) -> None:
    given = {name.lower().encode(): value for name, value in headers.items()}
    anybody = asyncio.run(Tenants.anybody(lambda: 0.0).find(""))
    if status == 200:
        assert urgency(given.get, anybody).pace == 0.08
        return
    with pytest.raises(ApiError) as raised:
        urgency(given.get, anybody)
    assert raised.value.status == status


def test_deadlines_are_for_keys_that_may_name_them() -> None:
    said = "- {name: a, keys: [a]}\n- {name: b, keys: [b], deadlines: true}"
    tenants = parse("a test", said, lambda: 0.0)
    given = {b"x-fairstow-deadline": "2s"}
    may, may_not = (asyncio.run(tenants.find(f"Bearer {key}")) for key in "ba")
    assert urgency(given.get, may).deadline == 2.0
    with pytest.raises(ApiError) as raised:
        urgency(given.get, may_not)
    assert raised.value.status == 403
