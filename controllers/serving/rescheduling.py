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
from collections.abc import Callable

from controllers import metrics
from controllers.health import Turns
from controllers.pace import Pace
from controllers.serving.gateways import Gateways
from controllers.serving.objects import ServingObjects
from fairstow.api import ServingPool
from fairstow.cluster.errors import InputError
from fairstow.serving.rescheduling import proposals
from fairstow.serving.wire import Moves, Taken

logger = logging.getLogger(__name__)

_LEAST = 0.5
_IDLE = 5


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

    async def run(self) -> None:
        """Take turns until cancelled."""
        await self._objects.synced()  # gateways that nobody speaks to lead themselves
        await self._pace.run("rescheduling", self.turn)

    async def turn(self) -> int:
        """See to every pool once; return when the next turn is due."""
        pools = [each for each in self._objects.pools if each.spec.rescheduling.enabled]
        now = self.clock()
        led = [pool for pool in pools if len(await self._gateways.of(pool)) > 1]
        await asyncio.gather(*map(self._lead, led))
        return int(now if led else now + _IDLE)

    async def _lead(self, pool: ServingPool) -> None:
        # 1. What all of its gateways know.
        ledgers = await self._gateways.ledgers(pool)
        # 2. What had better move.
        with self._pace.work():
            found = proposals(pool.spec, ledgers, self.clock())
        # 3. Tell its owner.
        await asyncio.gather(*(self._propose(pool, name, moves) for name, moves in found.items()))

    async def _propose(self, pool: ServingPool, gateway: str, moves: Moves) -> None:
        ref = f"{pool.metadata.namespace}/{pool.metadata.name}"
        try:
            answer = await self._gateways.propose(pool, gateway, moves)
        except (InputError, OSError) as error:
            logger.warning("%s: nothing can be proposed to %s: %s", ref, gateway, error)
            answer = Taken((), {each.request: "no answer" for each in moves.moves})
        metrics.PROPOSED.labels(ref, "taken").inc(len(answer.taken))
        metrics.PROPOSED.labels(ref, "declined").inc(len(answer.declined))
        for request, why in answer.declined.items():
            logger.info("%s: %s declined to move %s: %s", ref, gateway, request, why)
