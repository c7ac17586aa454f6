"""Keeps drains and statuses of every ServingPool as the pods and their gateways are.

Run by `controllers.runtime` under the operator's Lease. `fairstow.serving` decides; gateways carry
drains out by themselves, whether or not anybody runs here.

Rights used: servingpools/status, instancedrains/status (patch), instancedrains (create, delete),
and those of `scaling`.
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
from controllers.serving.scaling import Scaler
from controllers.statuses import write_status
from fairstow.api import InstanceDrain, Reason, ServingPool
from fairstow.api.model import CustomResource, Model
from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import Kind
from fairstow.cluster.live import LiveCluster
from fairstow.cluster.selectors import selector, selects
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.aio.recorder import Recorder
from fairstow.kube.problems import ApiError
from fairstow.serving.drains import Seen, decide, ended
from fairstow.serving.instances import of_pool
from fairstow.serving.pool_status import pool_status
from fairstow.serving.workloads import MARK, EnginePod, place

logger = logging.getLogger(__name__)

MANAGER = "fairstow-serving"
_LOOP = "serving"
_LEAST = 1.0
"""Seconds between turns while a drain waits; a status is written when it changed."""
_IDLE = 5
_HURRIED = 1
"""While an instance drains, comes or goes."""
_CHANGING = {Reason.SCALING_IN, Reason.SCALING_OUT, Reason.STARTING}
_DRAIN_API = ("fairstow.dev/v1alpha1", "InstanceDrain")


class ServingLoop:
    """See the module.

    Args:
        clock: seconds since 1970.
    """

    def __init__(
        self,
        api: Api,
        cluster: LiveCluster,
        objects: ServingObjects,
        gateways: Gateways,
        *,
        recorder: Recorder | None = None,
        clock: Callable[[], float],
        turns: Turns,
    ) -> None:
        self.clock, self.turns = clock, turns
        self._api, self._cluster = api, cluster
        self._objects, self._gateways = objects, gateways
        self._scaler = Scaler(api, recorder, self._create, self._remove, clock)
        self._pace = Pace(self, _LEAST)
        cluster.listeners.append(self._changed)

    async def run(self) -> None:
        """Take turns until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._objects.changes(self._pace.wake))
                group.create_task(self._pace.run(_LOOP, self.turn))
        finally:
            await self._gateways.close()

    async def turn(self) -> int | None:
        """See to every pool once; return when the next turn is due."""
        pools = self._objects.pools
        metrics.forget_serving_pools({_ref(pool) for pool in pools})
        if not pools:
            return None
        hurried = False
        for pool in pools:
            hurried = await self._guarded(pool) or hurried
        return int(self.clock()) + (_HURRIED if hurried else _IDLE)

    async def _guarded(self, pool: ServingPool) -> bool:
        """See to a pool; what fails for one is tried again soon and keeps nobody else waiting.

        A server that can't be reached is the matter of the whole loop.
        """
        try:
            return await self._see_to(pool)
        except ApiError as error:
            logger.warning("%s: %s", _ref(pool), error)
        except InputError:
            raise
        except Exception:
            logger.exception("%s: a turn failed by a fault of Fairstow's own", _ref(pool))
        metrics.TURN_FAILURES.labels(_LOOP).inc()
        return False

    async def _see_to(self, pool: ServingPool) -> bool:
        """See to one pool; return whether it changes."""
        # 1. Its pods, its drains and what its gateways know.
        seen = Seen(
            pool=pool,
            pods=self._pods(pool),
            drains=of_pool(self._objects.drains, pool),
            ledgers=await self._gateways.ledgers(pool),
            now=int(self.clock()),
        )
        # 2. Drains: those that begin, those that are over, how far the others are.
        decision = decide(seen)
        for drain in decision.delete:
            await self._remove(drain)
        for drain in decision.create:
            await self._create(drain)
        for drain, progress in decision.report:
            await self._report(drain, progress)
            if (reason := ended(drain, progress)) is not None:
                metrics.DRAINS_ENDED.labels(_ref(pool), reason).inc()
        # 3. Its workload.
        scaling = await self._scaler.turn(seen)
        # 4. The pool itself.
        status = pool_status(seen, scaling)
        metrics.show_serving_pool(_ref(pool), seen.ledgers, status)
        if status != pool.status:
            await self._report(pool, status)
        return bool(decision.report) or (scaling is not None and scaling.reason in _CHANGING)

    def _pods(self, pool: ServingPool) -> tuple[EnginePod, ...]:
        wanted = selector(pool.spec.engines.selector)
        pods = self._cluster.pods_in(pool.metadata.namespace or "")
        found = [pod for pod in pods if selects(wanted, dict(pod.labels))]
        nodes = self._cluster.nodes
        return tuple(
            EnginePod(
                name=pod.name,
                uid=pod.uid,
                terminating=pod.terminating,
                cordoned=pod.node in nodes and nodes[pod.node].unschedulable,
                ready=pod.ready and bool(pod.node),
                marked=MARK in dict(pod.annotations),
                place=place(pod),
            )
            for pod in sorted(found, key=lambda each: (each.name, each.uid))
        )

    async def _create(self, drain: InstanceDrain) -> None:
        """Make a drain; one of its name is this very drain, begun a moment ago."""
        path = path_of(*_DRAIN_API, namespace=drain.metadata.namespace or "")
        try:
            self._objects.put(await self._api.create(path, drain.to_object()))
        except ApiError as error:
            if error.status != 409:
                raise

    async def _remove(self, drain: InstanceDrain) -> bool:
        """Delete a drain; return whether it was there."""
        there = await self._api.delete(self._path(drain), uid=drain.metadata.uid)
        self._objects.drop(drain)
        return there

    async def _report(self, obj: CustomResource, status: Model) -> None:
        """Write a status; an object that is gone needs none."""
        found = await write_status(self._api, obj, status, MANAGER)
        if found is not None:
            self._objects.put(found)

    @staticmethod
    def _path(drain: CustomResource) -> str:
        meta = drain.metadata
        return path_of(*_DRAIN_API, namespace=meta.namespace or "", name=meta.name)

    def _changed(self, kind: Kind, _name: str) -> None:
        if kind.name == "Node":
            self._pace.wake()


def _ref(pool: ServingPool) -> str:
    return f"{pool.metadata.namespace}/{pool.metadata.name}"
