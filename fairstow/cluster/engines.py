"""Which pods are LLM engines, and which of them can be spared now.

Read by who decides on moves: an engine's requests have to go elsewhere before its pod may go, and
there has to be an elsewhere. A pool is disturbed one instance at a time:

    an instance may go  iff  the pool has others, and each of them is Ready, isn't going away and
                             doesn't hand its requests over

where instances are the pool's pods that have a node: who waits for one serves nobody. So there is
always one that serves, and never are two of a pool away at once by what is decided here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.model import EngineDrain, EnginePool, Labels, Pod
from fairstow.cluster.selectors import selects
from fairstow.cluster.shapes import read_selector

AT_ONCE = 1
"""Instances of a pool that may be away at once."""

_NAMESPACE = "default"


class Engines:
    """Answers for the pods of one snapshot."""

    def __init__(
        self, pools: Iterable[EnginePool], drains: Iterable[EngineDrain], pods: Iterable[Pod]
    ) -> None:
        self._in: dict[str, list[EnginePool]] = {}
        for pool in pools:
            self._in.setdefault(pool.namespace, []).append(pool)
        self._drains = {drain.pod: drain for drain in drains}
        self._found: dict[tuple[str, Labels], tuple[EnginePool, ...]] = {}
        self._members: dict[EnginePool, list[Pod]] = {}
        for pod in pods:
            for pool in self.pools(pod) if pod.node else ():
                self._members.setdefault(pool, []).append(pod)

    def pools(self, pod: Pod) -> tuple[EnginePool, ...]:
        """Return the pools that a pod is an engine of: one, unless somebody erred."""
        there = self._in.get(pod.namespace)
        if there is None:
            return ()
        key = pod.namespace, pod.labels
        if key not in self._found:
            labels = dict(pod.labels)
            self._found[key] = tuple(pool for pool in there if selects(pool.selector, labels))
        return self._found[key]

    def drain(self, pod: Pod) -> EngineDrain | None:
        """Return the drain of a pod, if it has begun."""
        return self._drains.get(pod.uid)

    def needed(self, pod: Pod) -> str:
        """Return why a pod can't be spared now, as a phrase; "" if it can or is no engine."""
        for pool in self.pools(pod):
            others = [each for each in self._members.get(pool, ()) if each.uid != pod.uid]
            if not others:
                return f"it is the only instance of serving pool {pool.ref}"
            for other in others:
                if other.terminating or not other.ready or other.uid in self._drains:
                    return f"another instance of serving pool {pool.ref}, {other.name}, is away"
        return ""

    def spare(self, pod: Pod) -> bool:
        """Whether the others of an engine's pools have memory for all requests."""
        return all(pool.spare for pool in self.pools(pod))


def _pool(raw: wire.ServingPool) -> EnginePool:
    engines = raw.spec.engines if raw.spec else None
    status = raw.status or wire.ServingPoolStatus()
    return EnginePool(
        namespace=raw.metadata.namespace or _NAMESPACE,
        name=raw.metadata.name,
        selector=read_selector(engines.selector) if engines else None,
        # Without a gateway there are no requests; without a word of it nobody knows.
        spare=status.gateways == 0 or (status.spare_instances or 0) > 0,
    )


def _drain(raw: wire.InstanceDrain) -> EngineDrain:
    conditions = (raw.status.conditions if raw.status else None) or ()
    over = (c.reason for c in conditions if c.type == "Drained" and c.status == "True")
    plans = (o.name for o in raw.metadata.owner_references or () if o.kind == "PackingPlan")
    return EngineDrain(
        namespace=raw.metadata.namespace or _NAMESPACE,
        name=raw.metadata.name,
        uid=raw.metadata.uid or "",
        pool=raw.spec.pool,
        pod=raw.spec.pod_uid,
        over=next(over, None) or "",
        plan=next(plans, ""),
    )


READERS: dict[str, tuple[str, type[msgspec.Struct], Callable[[Any], Any]]] = {
    "ServingPool": ("fairstow.dev", wire.ServingPool, _pool),
    "InstanceDrain": ("fairstow.dev", wire.InstanceDrain, _drain),
}
"""By kind: its API group, its wire form and what makes a record of it."""
