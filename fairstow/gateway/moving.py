"""When requests move: away from engines that drain, and as the policy or the controller says.

A turn looks at every engine, begins what may begin, and ends; what is under way is in the streams.
One request at a time is copied from or to an engine: what the next one copies would hold up the
last stage of the one before, when a client waits. Those that are recomputed are bounded, too; those
that have said nothing yet carry nothing and go at once. What can't be moved is waited for.
The same turn pauses requests where the policy does, so that more urgent ones get their place, and
has those paused for `PAUSE_SECONDS` go on before all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from fairstow.gateway.fleet import Instance
from fairstow.gateway.streams import Pool, Stream
from fairstow.serving.policies.protocols import Rescheduler
from fairstow.serving.wire import Move, Moves, State, Taken

log = structlog.get_logger(__name__)

LEAVING = 4
"""Most requests that leave one engine at the same time and had begun to speak."""
DRAIN_TURN_SECONDS = 0.02
TURN_SECONDS = 0.5
LED_SECONDS = 3.0
"""After the last word of whoever decides for the whole pool, until a gateway decides alone."""
PAUSE_SECONDS = 30.0
"""Longest pause, but for the time until there is room; how often, the policy bounds."""


class Mover:
    """The moves of one gateway's requests.

    Attributes:
        leaving: most that leave one engine at once.
    """

    def __init__(
        self,
        pool: Pool,
        streams: Mapping[str, Stream],
        clock: Callable[[], float],
        rescheduler: Rescheduler | None = None,
        leaving: int = LEAVING,
    ) -> None:
        self._fleet = pool.fleet
        self._dispatcher = pool.dispatcher
        self._moved = pool.moved
        self._streams = streams
        self._clock = clock
        self.rescheduler = rescheduler
        self.leaving = leaving
        self._led_until = float("-inf")

    async def run(self) -> None:
        """Take turns until cancelled."""
        rescheduled = self._clock()
        while True:
            draining = self.drain()
            now = self._clock()
            if now - rescheduled >= TURN_SECONDS:
                rescheduled = now
                if self.rescheduler is not None and now >= self._led_until:
                    self._reschedule(self.rescheduler)
                self._pause(now)
            self._moved.clear()
            with suppress(TimeoutError):
                pause = DRAIN_TURN_SECONDS if draining else TURN_SECONDS
                await asyncio.wait_for(self._moved.wait(), pause)

    def drain(self) -> bool:
        """Move away what is on engines that drain; return whether anything is."""
        found = False
        for source in self._fleet.instances.values():
            if source.state is not State.DRAINING:
                continue
            # The longest to go first: who is about to end needs no other place.
            there = sorted(
                (each for each in self._streams.values() if each.at is source),
                key=lambda each: each.view.generated - each.view.limit,
            )
            found = found or bool(there)
            room = self.leaving - sum(bool(each.handover.destination) for each in there)
            for stream in there:
                if not stream.may_move(self._clock()):
                    continue
                decoding = stream.handover.decoding
                if decoding and room <= 0:
                    continue
                destination = self._dispatcher.choose(stream.view, but=source.name)
                if destination is None:
                    break
                begun = not stream.move(destination, "Drain")
                room -= decoding and begun
        return found

    def take(self, moves: Moves) -> Taken:
        """Begin what was proposed, as far as it is ours and still makes sense."""
        if moves.leads:
            self._led_until = self._clock() + LED_SECONDS
        taken: list[str] = []
        declined: dict[str, str] = {}
        for move in moves.moves:
            why = self._propose(move)
            if why:
                declined[move.request] = why
            else:
                taken.append(move.request)
        return Taken(taken, declined)

    def _propose(self, move: Move) -> str:
        stream = self._streams.get(move.request)
        destination = self._fleet.instances.get(move.destination)
        if stream is None:
            return "no such request runs here, or it can't be moved"
        if stream.at is None or stream.at.name != move.source:
            return "it isn't on that source"
        if destination is None or destination.state is not State.SERVING:
            return "the destination serves no requests"
        if self._leaving(stream.at) >= self.leaving:
            return "as many as may leave that source are on their way"
        return stream.move(destination, move.reason)

    def _reschedule(self, rescheduler: Rescheduler) -> None:
        views = []
        for each in self._fleet.answering():
            each.place.view.leaving = self._leaving(each)
            views.append(each.place.view)
        if len(views) < 2:
            return
        pool = self._dispatcher.pool(views, self._dispatcher.waiting())
        for found in rescheduler.migrations(pool):
            self._propose(Move(found.request, found.source, found.destination, found.reason))

    def _pause(self, now: float) -> None:
        # 1. Nobody is paused for ever.
        for stream in self._streams.values():
            if stream.paused is not None and now - stream.paused >= PAUSE_SECONDS:
                stream.hurry()
        # 2. Others give way, if the policy says so.
        pauser = self._dispatcher.policy.pauser
        if pauser is None or not len(self._dispatcher):
            return
        waiting = self._dispatcher.waiting()
        views = [each.place.view for each in self._fleet.serving()]
        for found in pauser.pauses(waiting, self._dispatcher.pool(views, waiting)):
            paused = self._streams.get(found.request)
            if paused is not None and paused.pause():
                log.info("paused", request=found.request, reason=found.reason)

    def _leaving(self, source: Instance) -> int:
        return sum(
            stream.at is source and bool(stream.handover.destination)
            for stream in self._streams.values()
        )
