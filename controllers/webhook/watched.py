"""What the webhook knows of the cluster, kept by watches: nodes, namespaces, Fairstow's own kinds.

Run by `serve`. Pods aren't watched: whether one can ever run doesn't depend on who runs now.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import structlog

from fairstow.api import (
    GpuPool,
    InstanceDrain,
    PackingPolicy,
    SemanticCache,
    ServingPool,
    SparkQueue,
)
from fairstow.cluster.kinds import NODE, READ, Kind, own_kind
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.connection import Json
from fairstow.kube.aio.reflector import Reflector, Store
from fairstow.packing.admission.world import World

T = TypeVar("T")
log = structlog.get_logger(__name__)


POOL, POLICY = own_kind(GpuPool), own_kind(PackingPolicy)
SERVING, DRAIN = own_kind(ServingPool), own_kind(InstanceDrain)
QUEUE, CACHE = own_kind(SparkQueue), own_kind(SemanticCache)
NAMESPACE = next(kind for kind in READ if kind.name == "Namespace")


class Watched:
    """The cluster as far as it has been listed."""

    def __init__(self, api: Api) -> None:
        self._cluster = LiveCluster()
        self._store = Store()
        self._nodes = Reflector(api, NODE, self._cluster)
        kinds = (POOL, POLICY, SERVING, DRAIN, QUEUE, CACHE, NAMESPACE)
        self._others = {kind: Reflector(api, kind, self._store) for kind in kinds}

    def tasks(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what has to run for it to stay true."""
        return (self._nodes.run(), *(reflector.run() for reflector in self._others.values()))

    async def synced(self) -> None:
        """Wait until everything has been listed once."""
        reflectors = (self._nodes, *self._others.values())
        await asyncio.gather(*(reflector.synced.wait() for reflector in reflectors))

    def world(self) -> World:
        """Return what is known now; it changes as the cluster does."""
        return World(
            nodes=self._cluster.nodes if self._known(self._nodes) else None,
            pools=self._read(POOL, GpuPool.model_validate),
            policies=self._read(POLICY, PackingPolicy.model_validate),
        )

    def serving(self) -> tuple[list[ServingPool], list[InstanceDrain]]:
        """Return serving pools and drains; none where they aren't known."""
        pools = self._read(SERVING, ServingPool.model_validate) or {}
        drains = self._read(DRAIN, InstanceDrain.model_validate) or {}
        return list(pools.values()), list(drains.values())

    def queues(self) -> Mapping[str, SparkQueue] | None:
        """Return the Spark queues by name; None where they aren't known."""
        return self._read(QUEUE, SparkQueue.model_validate)

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """Return a namespace's labels, none where it isn't known."""
        found = self._store.of(NAMESPACE).get(namespace, {})
        labels: Mapping[str, str] = found.get("metadata", {}).get("labels") or {}
        return labels

    def caches(self) -> list[SemanticCache]:
        """Return semantic caches; none where they aren't known."""
        return list((self._read(CACHE, SemanticCache.model_validate) or {}).values())

    def _known(self, reflector: Reflector) -> bool:
        return reflector.synced.is_set() and not (reflector.problem and not reflector.lists)

    def _read(self, kind: Kind, read: Callable[[Json], T]) -> Mapping[str, T] | None:
        if not self._known(self._others[kind]):
            return None
        found = {}
        for name, raw in self._store.of(kind).items():
            try:
                found[name] = read(raw)
            except ValueError as error:  # an object of another version
                log.warning("passed over", kind=kind.name, name=name, error=str(error))
        return found
