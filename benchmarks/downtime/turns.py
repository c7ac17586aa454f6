"""One stream, moved once, as its client hears it.

    downtime = longest time between two tokens since the move was asked for − the median before it
    slowed   = median time between tokens while it is copied ÷ the median before it − 1
    lost     = what all these times, the downtime aside, took longer than as many before it

The gateway is the product's own, with its ports, in this process; the move is what a drain of the
source's engine does. How the KV cache gets over is steered by what the engine's adapter says of
itself. Each turn has a prompt of its own, so that no prefix of it is anywhere. Called by
`__main__`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from random import Random
from typing import Any, cast

import aiohttp
import msgspec
import structlog

from fairstow.gateway.app import Limits
from fairstow.gateway.engines.canary import BEST_FIRST
from fairstow.gateway.engines.protocol import Capabilities, Engine, EngineError, Hold, Movement
from fairstow.gateway.service import MakeEngine, Ports, Settings, serve
from fairstow.kube.aio.tasks import first
from fairstow.kube.flags import Address
from fairstow.serving.policies import policy
from fairstow.serving.wire import Drains, Ledger, State

BEFORE, AFTER = 32, 16
"""Tokens heard before a move is asked for, and after it is over."""
MOST = 3_900
"""Tokens that a stream may have: recomputing beforehand takes its time."""
SETTLING = 4
"""First of these that don't count: the prefill's end."""
ENOUGH = 8
"""Tokens during a copy from which a slow-down can be told."""
TOGETHER = 0.001
"""Seconds."""
LETTERS = "abcdefghijklmnopqrstuvwxyz "
LOCAL = Address("127.0.0.1", 0)


class Way(StrEnum):
    """How a request gets over."""

    PRE_COPY = "pre-copy"
    BLOCKING = "blocking copy"
    RECOMPUTE = "recompute"  # after its source was lost: what Llumnix calls so
    BACKGROUND = "recompute beforehand"  # while the source decodes on


MOVEMENTS = {
    Way.PRE_COPY: Movement.PRE_COPY,
    Way.BLOCKING: Movement.COPY,
    Way.RECOMPUTE: Movement.COPY,
    Way.BACKGROUND: Movement.RECOMPUTE,
}


@dataclass(frozen=True)
class Pair:
    """Two engines alike.

    Attributes:
        extra: what a request needs here beside its prompt and its length.
        ways: those that these engines can.
        check: whether a text continues a prompt as it has to; None where nobody can say.
    """

    engines: Sequence[Callable[[aiohttp.ClientSession], Engine]]
    model: str
    ways: Sequence[Way] = tuple(Way)
    extra: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[str, str], bool] | None = None


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one move was like, in milliseconds. Attributes: slowed: None if too few tokens tell."""

    way: str
    length: int
    round: int
    downtime_ms: float
    step_ms: float
    lost_ms: float = 0.0
    slowed: float | None = None


class Steered:
    """An engine as it is, but for how what it has computed leaves it."""

    def __init__(self, engine: Engine, movement: Movement) -> None:
        self._engine = engine
        self._movement = movement
        self.lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def probe(self) -> Capabilities:
        """Say no better way than the one that is measured."""
        facts = await self._engine.probe()
        movement = max(facts.movement, self._movement, key=BEST_FIRST.index)
        return msgspec.structs.replace(facts, movement=movement)

    async def hold(self, tokens: Sequence[int], salt: str) -> Hold:
        """Keep what it has computed, unless that is lost."""
        if self.lost:
            raise EngineError(None, "nothing is left of what it had computed")
        return await self._engine.hold(tokens, salt)


async def measure(
    pair: Pair, way: Way, lengths: Sequence[int], rounds: int, told: Callable[[Turn], None]
) -> None:
    """Move a stream of each length in each round."""
    steered: list[Steered] = []

    def make(engine: Callable[[aiohttp.ClientSession], Engine]) -> MakeEngine:
        def made(session: aiohttp.ClientSession) -> Engine:
            steered.append(Steered(engine(session), MOVEMENTS[way]))
            return cast(Engine, steered[-1])

        return made

    async with aiohttp.ClientSession() as http, _gateway([make(e) for e in pair.engines]) as ports:
        site = _Site(http, ports, pair)
        await site.until(
            lambda ledger: all(
                each.state is State.SERVING and each.movement == MOVEMENTS[way]
                for each in ledger.instances
            )
        )
        for engine in steered:
            engine.lost = way is Way.RECOMPUTE
        for number in range(rounds):
            for length in lengths:
                heard = await site.moved(length, seed=f"{way} {length} {number}")
                told(turn(way, length, number, heard))


@dataclass
class Heard:
    """When each token came, when the move was asked for, and how many tokens had come then."""

    times: list[float] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    asked: float = 0.0


def turn(way: Way, length: int, number: int, heard: Heard) -> Turn:
    """Return what was heard as figures."""
    gaps = [(one, later - one) for one, later in pairwise(_arrivals(heard.times))]
    before = [gap for at, gap in gaps[SETTLING:] if at + gap <= heard.asked]
    after = [(at, gap) for at, gap in gaps if at + gap > heard.asked]
    switched, longest = max(after, key=lambda each: each[1])
    during = [gap for at, gap in after if at < switched]
    step = statistics.median(before)
    return Turn(
        way=str(way),
        length=length,
        round=number,
        downtime_ms=round(1000 * max(0.0, longest - step), 2),
        step_ms=round(1000 * step, 2),
        lost_ms=round(1000 * (sum(during) - len(during) * statistics.fmean(before)), 2),
        slowed=round(statistics.median(during) / step - 1, 4) if len(during) >= ENOUGH else None,
    )


def _arrivals(times: Sequence[float]) -> list[float]:
    """Return when something came: tokens that a busy machine put together came at once."""
    found = [times[0]]
    for each in times[1:]:
        if each - found[-1] > TOGETHER:
            found.append(each)
    return found


class _Site:
    """A gateway that runs, and a client of it."""

    def __init__(self, http: aiohttp.ClientSession, ports: Ports, pair: Pair) -> None:
        self._http = http
        self._clients = f"http://127.0.0.1:{ports.clients}"
        self._admin = f"http://127.0.0.1:{ports.admin}"
        self._pair = pair

    async def moved(self, length: int, *, seed: str) -> Heard:
        """Return what a client heard of one stream that had so many tokens when it moved."""
        await self._drain()
        letters = Random(seed)
        prompt = "".join(letters.choice(LETTERS) for _ in range(length - BEFORE))
        body = {
            "model": self._pair.model,
            "prompt": prompt,
            "max_tokens": MOST,
            "temperature": 0.0,
            "stream": True,
            "logprobs": 1,  # so that tokens within a character show, too
            **self._pair.extra,
        }
        heard = Heard()
        async with self._http.post(f"{self._clients}/v1/completions", json=body) as reply:
            if reply.status != 200:
                raise RuntimeError(f"the gateway answers {reply.status}: {await reply.text()}")
            listening = asyncio.create_task(_listen(reply, heard))
            await _until(listening, lambda: len(heard.times) >= BEFORE)
            (request,) = (await self.ledger()).requests
            heard.asked = time.perf_counter()
            await self._drain(request.instance)
            while True:
                at = (await self.ledger()).requests
                if at and at[0].instance not in ("", request.instance) and not at[0].moving:
                    break
                await _until(listening, lambda: True)
            there = len(heard.times)
            await _until(listening, lambda: len(heard.times) >= there + AFTER)
            listening.cancel()
        check = self._pair.check
        if check is not None and not check(prompt, "".join(heard.text)):
            raise RuntimeError(f"a stream of {length} tokens isn't what it has to be")
        await self.until(lambda ledger: not ledger.requests)
        return heard

    async def _drain(self, *names: str) -> None:
        body = msgspec.json.encode(Drains(names))
        async with self._http.put(f"{self._admin}/drains", data=body) as reply:
            reply.raise_for_status()

    async def ledger(self) -> Ledger:
        """Read the gateway's ledger."""
        async with self._http.get(f"{self._admin}/ledger") as reply:
            return msgspec.json.decode(await reply.read(), type=Ledger)

    async def until(self, holds: Callable[[Ledger], object]) -> None:
        """Wait until the ledger is so."""
        async with asyncio.timeout(600):
            while not holds(await self.ledger()):
                await asyncio.sleep(0.1)


async def _until(listening: asyncio.Task[None], holds: Callable[[], bool]) -> None:
    """Look again every few milliseconds; fail with the stream."""
    async with asyncio.timeout(300):
        while True:
            await asyncio.sleep(0.02)
            if listening.done():
                listening.result()
                raise RuntimeError("the stream ended before its request had moved")
            if holds():
                return


async def _listen(reply: aiohttp.ClientResponse, heard: Heard) -> None:
    """Note when each token comes; those that come together came together."""
    async for line in reply.content:
        if not line.startswith(b"data: {"):
            continue
        said = json.loads(line[6:])
        if "error" in said:
            raise RuntimeError(f"the stream broke: {said['error']}")
        for choice in said["choices"]:
            heard.text.append(choice["text"])
            count = len((choice["logprobs"] or {"tokens": ()})["tokens"])
            heard.times += [time.perf_counter()] * count


@asynccontextmanager
async def _gateway(engines: Sequence[MakeEngine]) -> AsyncIterator[Ports]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings(
        listen=LOCAL,
        admin=LOCAL,
        engines=engines,
        tenants=None,
        admin_token=None,
        secret=b"of this run",
        policy=policy("least-loaded"),
        reschedule=False,
        limits=Limits(10 << 20, 10.0),
        grace=1.0,
        replicas=1,
        name="benchmark",
        pool="benchmark",
    )
    stopped = asyncio.Event()
    found: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(settings, stopped, found.set_result))
    try:
        await first(running, found)
        yield found.result()
    finally:
        stopped.set()
        await running
