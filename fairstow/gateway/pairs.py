"""How requests may move between each two engines, tried out before anybody depends on it.

A probe migration goes from each engine to each other of its class as soon as both answer, one after
the other; until it has, requests between them are recomputed. What a probe said is asked again when
an engine was started anew. Used by `streams`, shown by the ledger, run by `service`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import permutations

import structlog

from fairstow.gateway.engines.canary import BEST_FIRST, Canary
from fairstow.gateway.engines.protocol import Movement
from fairstow.gateway.fleet import Fleet, Instance

AGAIN_SECONDS = 30.0
"""A probe that couldn't be made says nothing for good."""

log = structlog.get_logger(__name__)


class Pairs:
    """Verdicts, by source and destination."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._canary = Canary()
        self._movements: dict[tuple[str, str], Movement] = {}
        self._failed: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()
        fleet.answered = self._answered

    def movement(self, source: Instance, destination: Instance) -> Movement:
        """Return how requests move from one to the other."""
        return self._movements.get((source.name, destination.name), Movement.RECOMPUTE)

    @property
    def failed(self) -> int:
        """How many pairs should hand memory over and failed the probe."""
        there = self._fleet.instances
        return sum(one in there and other in there for one, other in self._failed)

    def best(self, source: Instance) -> Movement | None:
        """Return the best way to leave an engine; None before any was tried."""
        found = [way for (name, _), way in self._movements.items() if name == source.name]
        return min(found, key=BEST_FIRST.index, default=None)

    async def run(self) -> None:
        """Try pairs until cancelled."""
        while True:
            self._changed.clear()
            for source, destination in permutations(self._fleet.answering(), 2):
                await self._try(source, destination)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), AGAIN_SECONDS)

    async def _try(self, source: Instance, destination: Instance) -> None:
        if source.facts is None or destination.facts is None:
            return
        pair = source.name, destination.name
        verdict = await self._canary.verdict(
            source.engine, source.facts, destination.engine, destination.facts
        )
        self._failed.discard(pair)
        if verdict is None:
            self._movements.pop(pair, None)
            return
        if verdict.failed:
            self._failed.add(pair)
        if self._movements.get(pair) is not verdict.movement:
            log.info(
                "pair",
                source=source.name,
                destination=destination.name,
                movement=verdict.movement,
                reason=verdict.reason,
            )
        self._movements[pair] = verdict.movement

    def _answered(self, instance: Instance) -> None:
        self._canary.forget(instance.engine.url)
        for pair in [pair for pair in self._movements if instance.name in pair]:
            del self._movements[pair]
            self._failed.discard(pair)
        self._changed.set()
