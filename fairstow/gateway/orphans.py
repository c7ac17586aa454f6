"""Requests that were begun on a model which no engine is of any more.

Nothing but the same weights may go on with them, so that after a rollout of another model whoever
outlasted its engine would wait for good. Engines that are still to say what they are may be of that
model; so may one that is started anew, for which `ORPHANED_SECONDS` are left. Run by `service`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from fairstow.gateway.fleet import Fleet
from fairstow.gateway.streams import Stream
from fairstow.web.errors import ApiError

ORPHANED_SECONDS = 60.0
TURN_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Orphans:
    """See the module."""

    def __init__(
        self, fleet: Fleet, streams: Mapping[str, Stream], clock: Callable[[], float]
    ) -> None:
        self._fleet, self._streams, self._clock = fleet, streams, clock
        self._since: dict[str, float] = {}

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            await asyncio.sleep(TURN_SECONDS)
            self.look()

    def look(self) -> None:
        """End those that have been without a model for long."""
        now, found = self._clock(), self._orphans()
        self._since = {each.view.id: self._since.get(each.view.id, now) for each in found}
        for stream in found:
            if now - self._since[stream.view.id] >= ORPHANED_SECONDS:
                log.warning("its model is gone", request=stream.view.id)
                stream.outbox.fail(
                    ApiError(
                        503,
                        "The model that this answer was begun with isn't served any more.",
                        retry_after=1,
                    )
                )

    def _orphans(self) -> list[Stream]:
        waiting = [each for each in self._streams.values() if each.at is None]
        facts = [each.facts for each in self._fleet.instances.values()]
        there = {each.compatibility for each in facts if each is not None}
        if not waiting or None in facts or not there:
            return []
        return [each for each in waiting if each.view.compatibility not in there]
