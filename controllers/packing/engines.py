"""LLM engines that a plan moves: their InstanceDrains are made, looked at and removed here.

Called by `controllers.packing.plans`, which evicts an engine's pod only once its drain is over.
Drains belong to their plan: Kubernetes removes them with it, and `release` removes those whose step
isn't under way (any more), so that an engine that stays serves again.

Rights used: instancedrains (create, get, delete).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fairstow.api import PackingPlan
from fairstow.api.model import OwnerReference
from fairstow.cluster.live import DRAIN, LiveCluster
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.packing.reservations import holds_of, reserves
from fairstow.serving.drains import drain_of

if TYPE_CHECKING:
    from fairstow.cluster.model import EngineDrain, EnginePool, Pod
    from fairstow.kube.aio.api import Api

logger = logging.getLogger(__name__)


async def begin(
    api: Api, known: LiveCluster, plan: PackingPlan, pool: EnginePool, pod: Pod
) -> None:
    """Have an engine hand its requests over; a drain of it that there is already will do.

    It is known at once, so that no other plan drains another engine of the pool meanwhile.
    """
    meta = plan.metadata
    owner = OwnerReference(
        api_version=plan.api_version, kind=plan.kind, name=meta.name, uid=meta.uid or ""
    )
    drain = drain_of(pool.namespace, pool.name, pod.name, pod.uid, "Packing", owner)
    try:
        made = await api.create(_path(pool.namespace), drain.to_object())
    except ApiError as error:
        if error.status != 409:
            raise
        return
    if all(each.pod != pod.uid for each in known.engine_drains):  # the watch may know more
        known.upsert(DRAIN, made)


async def still_drains(api: Api, drain: EngineDrain | None) -> bool:
    """Whether a drain is still there: without it the engine gets requests again.

    A watch may lag, so the API server is asked. A drain that is over stays so.
    """
    if drain is None:
        return True
    try:
        found = await api.get(_path(drain.namespace, drain.name))
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return bool(found["metadata"]["uid"] == drain.uid)


async def release(api: Api, drains: Iterable[EngineDrain], plans: Iterable[PackingPlan]) -> None:
    """Remove the drains that plans made and that no step under way needs."""
    wanted = {
        (plan.metadata.name, pod.uid)
        for plan in plans
        if reserves(plan)
        for step in plan.spec.steps[holds_of(plan).step :][:1]
        for pod in step.evict
    }
    for drain in drains:
        if drain.plan and (drain.plan, drain.pod) not in wanted:
            path = _path(drain.namespace, drain.name)
            try:
                await api.delete(path, uid=drain.uid)
            except ApiError as error:  # plans are carried out, and end, whatever becomes of it
                logger.warning("InstanceDrain %s/%s: %s", drain.namespace, drain.name, error)


def _path(namespace: str, name: str = "") -> str:
    return path_of(DRAIN.api_version, DRAIN.name, namespace=namespace, name=name)
