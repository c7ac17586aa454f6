"""Proposes moves to the gateways of pools that have several: each of them sees its own alone.

Run by `controllers.runtime` under the operator's Lease. `fairstow.serving.rescheduling` decides;
gateways compare each proposal with what they know by then and may decline. While they are spoken
to they propose nothing to themselves; when the speaking ends, they do again.

The pace: freeness is measured against some 30 decode steps, one to three seconds of engines as they
are, so that looking twice a second sees a shortage well before it comes. A pool that nobody has to
lead costs nothing but a look at who its gateways are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from controllers import metrics
from controllers.health import Turns
from controllers.pace import Pace
from controllers.serving.gateways import Gateways
from controllers.serving.objects import ServingObjects
from fairstow.api import ServingPool
from fairstow.cluster.errors import InputError
from fairstow.serving.replicas import Pool, Replica
from fairstow.serving.rescheduling import proposals
from fairstow.serving.wire import Moves, Taken

logger = logging.getLogger(__name__)

_LEAST = 0.5
_FIND_SECONDS = 5.0


class ReschedulingLoop:
    """See the module.

    Args:
        clock: seconds since 1970.
    """

    def __init__(
        self,
        objects: ServingObjects,
        gateways: Gateways,
        *,
        clock: Callable[[], float],
        turns: Turns,
    ) -> None:
        self.clock, self.turns = clock, turns
        self._objects, self._gateways = objects, gateways
        self._pace = Pace(self, _LEAST)
        self._there: Mapping[Pool, tuple[Replica, ...]] = {}
        self._found = float("-inf")

    async def run(self) -> None:
        """Take turns until cancelled."""
        await self._pace.run("rescheduling", self.turn)

    async def turn(self) -> int:
        """See to every pool once; return when the next turn is due."""
        pools = [each for each in self._objects.pools if each.spec.rescheduling.enabled]
        now = self.clock()
        if pools and now - self._found >= _FIND_SECONDS:
            self._there, self._found = await self._gateways.find(), now
        led = [(pool, there) for pool in pools if len(there := self._there.get(_key(pool), ())) > 1]
        await asyncio.gather(*(self._lead(pool, there) for pool, there in led))
        return int(now if led else now + _FIND_SECONDS)

    async def _lead(self, pool: ServingPool, there: tuple[Replica, ...]) -> None:
        # 1. What all of its gateways know.
        try:
            ledgers = await self._gateways.ledgers(pool, there)
        except InputError as error:  # no token to ask with; the serving loop says so
            logger.debug("%s: %s", pool.metadata.name, error)
            return
        # 2. What had better move.
        with self._pace.work():
            found = proposals(pool.spec, ledgers, self.clock())
        # 3. Tell its owner.
        asked = (
            self._propose(pool, replica, found[replica.name])
            for replica in there
            if replica.name in found
        )
        await asyncio.gather(*asked)

    async def _propose(self, pool: ServingPool, replica: Replica, moves: Moves) -> None:
        ref = "/".join(_key(pool))
        try:
            answer = await self._gateways.propose(pool, replica, moves)
        except (InputError, OSError) as error:
            logger.warning("%s: nothing can be proposed to %s: %s", ref, replica.name, error)
            answer = Taken((), {each.request: "no answer" for each in moves.moves})
        metrics.PROPOSED.labels(ref, "taken").inc(len(answer.taken))
        metrics.PROPOSED.labels(ref, "declined").inc(len(answer.declined))
        for request, why in answer.declined.items():
            logger.info("%s: %s declined to move %s: %s", ref, replica.name, request, why)


def _key(pool: ServingPool) -> Pool:
    return pool.metadata.namespace or "", pool.metadata.name
