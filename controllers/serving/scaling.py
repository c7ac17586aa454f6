"""Carries out what `fairstow.serving.scaling` decides about a pool's workload.

Called by the serving loop for each pool, each turn. Every step may be the last one: what was begun
is in the cluster's objects, and the next turn goes on from there or undoes it.

Rights used: instancedrains (create, delete), those of `workloads`, and Events on the pool.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from controllers import metrics
from controllers.serving.workloads import Workloads
from fairstow.api import InstanceDrain, Reason, ServingPool
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.recorder import About, Recorder
from fairstow.kube.problems import ApiError
from fairstow.serving.drains import Seen
from fairstow.serving.scaling import Decision, Happened, Obstacle, Workload, decide
from fairstow.serving.workloads import marked, unmarked

logger = logging.getLogger(__name__)

Make = Callable[[InstanceDrain], Awaitable[None]]
Remove = Callable[[InstanceDrain], Awaitable[bool]]


class Scaler:
    """See the module.

    Args:
        recorder: None: nobody is told by Events.
        make, remove: of drains; `remove` returns whether there was one.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        api: Api,
        recorder: Recorder | None,
        make: Make,
        remove: Remove,
        clock: Callable[[], float],
    ) -> None:
        self._workloads = Workloads(api, clock)
        self._recorder = recorder
        self._make, self._remove = make, remove

    async def turn(self, seen: Seen) -> Decision | None:
        """See to one pool; return what its status says of it."""
        # 1. What there is.
        target = await self._workloads.read(seen.pool)
        # 2. What to do.
        decision = decide(seen, target)
        if decision is None:
            return None
        # 3. Do it.
        try:
            done = await self._act(seen.pool, target, decision)
        except ApiError as error:
            if error.status != 403:
                raise
            # What was begun is undone, else its instance would serve nobody meanwhile.
            refused = Obstacle(Reason.TARGET_REFUSED, error.said)
            decision = decide(seen, refused)
            if decision is not None:
                await self._act(seen.pool, refused, decision)
            return decision
        # 4. Say so.
        if done and decision.happened is not None:
            self._tell(seen.pool, decision.happened)
        return decision

    async def _act(
        self, pool: ServingPool, target: Workload | Obstacle | None, decision: Decision
    ) -> bool:
        """Return whether what the decision is about was done now, and by us."""
        done = False
        for drain in decision.end:
            done = await self._remove(drain) or done
        for pod in decision.unmark:
            await self._workloads.annotate(pool, pod, unmarked)
        for pod in decision.mark:
            await self._workloads.annotate(pool, pod, marked)
        if decision.begin is not None:
            await self._make(decision.begin)
            done = True
        if decision.replicas is not None and isinstance(target, Workload):
            done = await self._workloads.scale(pool, target, decision.replicas)
        return done

    def _tell(self, pool: ServingPool, happened: Happened) -> None:
        meta = pool.metadata
        ref = f"{meta.namespace}/{meta.name}"
        logger.info("%s: %s: %s", ref, happened.reason.value, happened.said)
        metrics.SCALED.labels(ref, happened.reason.value).inc()
        if self._recorder is not None:
            about = About(
                pool.api_version, pool.kind, meta.namespace or "", meta.name, meta.uid or ""
            )
            self._recorder.record(
                about,
                happened.reason.value,
                happened.said,
                action="Scale",
                warning=happened.warning,
            )
