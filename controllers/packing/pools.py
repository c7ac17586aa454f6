"""Keeps the status and the metrics of every GpuPool as the cluster is.

Run by `controllers.runtime` under the operator's Lease. Decides nothing and changes nothing else.
"""

import asyncio

from controllers import metrics
from controllers.pace import Pace
from controllers.packing.parts import Parts
from fairstow.cluster.kinds import Kind
from fairstow.packing.policy.pool_status import pool_status, survey

MANAGER = "fairstow-pools"
_LEAST = 5.0
"""Seconds between turns: a status isn't there to change with every pod."""


class PoolLoop:
    """See the module."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pace = Pace(parts, _LEAST)
        parts.cluster.listeners.append(self._changed)
        parts.objects.listeners.append(self._own_changed)

    async def run(self) -> None:
        """Take turns until cancelled."""
        await self._pace.run("pools", self.turn)

    async def turn(self) -> int | None:
        """Describe every pool once."""
        parts = self._parts
        pools, now = parts.objects.pools, parts.now
        # 1. Pools that are gone take their metrics with them.
        metrics.forget_pools(frozenset(pool.metadata.name for pool in pools))
        if not pools:
            return None
        # 2. The cluster as it is, and each pool in it; large ones take a while.
        with self._pace.work():
            snapshot = parts.cluster.snapshot()
        for pool in pools:
            with self._pace.work():
                view = await asyncio.to_thread(survey, pool, snapshot)
                status = await asyncio.to_thread(pool_status, view, snapshot, now)
            # 3. Report what changed.
            metrics.show_pool(pool.metadata.name, status)
            if status != pool.status:
                await parts.report(pool, status, MANAGER)
        return None

    def _changed(self, kind: Kind, _name: str) -> None:
        if kind.name in ("Node", "Pod"):
            self._pace.wake()

    def _own_changed(self, kind: str, _name: str) -> None:
        if kind == "GpuPool":
            self._pace.wake()
