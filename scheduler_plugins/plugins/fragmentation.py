"""Where a pod leaves the fewest GPUs unusable for its pool's typical pods: *fragmentation*.

The measure is `fairstow.packing.fragmentation.cost` (its module derives it); here it is for all
candidate nodes of a request at once, by numpy, since the scheduler waits. For rooms of whole GPUs,
g of them free, c milli-CPU, m bytes, and typical demands d with popularity p_d:

    F = 1000 g · Σ p_d [d doesn't fit],    S = max(0, 1000 g − c / κ),    cost = S + F / 10,

in milli-GPUs; a pod's *gradient* on a node is the cost after it less the cost before, and the node
with the least gets 10 points, that with the most 0.

Pools are formed as `fairstow pools` shows them: nodes of one product in one accelerator resource.
What is typical is learned from the pods bound in a pool, and those that wait for its resource.
Kept up to date by `Rooms`: an event costs O(1); a request computes what has changed since the last
one for such a pod, a node or two, and looks the rest up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fairstow.cluster.live import LiveCluster
from fairstow.cluster.model import Node, Pod, Resources
from fairstow.cluster.pools import PRODUCTS, accelerators, is_accelerator, product
from fairstow.cluster.quantity import CPU
from fairstow.packing.fragmentation import GPU, Demand, Typical, typical

Floats = npt.NDArray[np.float64]
PoolKey = tuple[str, str]
"""Product and resource."""

BEST = 10
"""The highest score an extender may give."""
_F_SHARE = 0.1
_MOST_KNOWN = 100
_CPU, _MEMORY, _GPUS = range(3)


@dataclass(frozen=True)
class Profile:
    """A pool's typical pods. Attributes: wants: a row of CPU, memory, GPUs each; feed: κ⁻¹."""

    wants: Floats
    popularity: Floats
    feed: float

    @classmethod
    def of(cls, pods: Typical) -> Profile:
        """Return the profile of typical pods; all of them must be there, `pods.total > 0`."""
        rows = [(d.cpu, d.memory, d.gpus) for d, _ in pods.demands]
        counts = [count for _, count in pods.demands]
        return cls(
            wants=np.array(rows, dtype=float),
            popularity=np.array(counts, dtype=float) / pods.total,
            feed=pods.milli / pods.cpu if pods.cpu else np.inf,
        )


def costs(profile: Profile, rooms: Floats) -> Floats:
    """Return `cost` in milli-GPUs of rooms, a row of free CPU, memory and GPUs each."""
    unfit = np.zeros((len(rooms), len(profile.wants)), dtype=bool)
    for amount in (_CPU, _MEMORY, _GPUS):
        unfit |= rooms[:, amount, None] < profile.wants[None, :, amount]
    free = rooms[:, _GPUS] * GPU
    if np.isinf(profile.feed):
        stranded = np.zeros(len(rooms))
    else:
        stranded = np.maximum(0.0, free - np.maximum(rooms[:, _CPU], 0.0) * profile.feed)
    return stranded + free * (unfit @ profile.popularity) * _F_SHARE


def scores(gradients: Sequence[float]) -> list[int]:
    """Return points from 0 to 10, 10 for the least gradient; all 0 where none is better."""
    least, most = min(gradients, default=0.0), max(gradients, default=0.0)
    if most - least < 1.0:  # less than a thousandth of a GPU
        return [0] * len(gradients)
    scale = BEST / (most - least)
    return [round((most - gradient) * scale) for gradient in gradients]


@dataclass
class _Pool:
    """Attributes: rooms: free CPU, memory and GPUs by node; demands: pods by what they want."""

    resource: str
    rooms: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    demands: Counter[Demand] = field(default_factory=Counter)
    typical: Typical = field(default_factory=lambda: Typical(()))
    profile: Profile | None = None


@dataclass
class _Known:
    """Gradients by node of pods with the same requests, as of a moment in the log of changes."""

    moment: int = 0
    gradients: dict[str, float] = field(default_factory=dict)


class Rooms:
    """What is free in every pool, and what its pods are like. Told of each event by `index.py`."""

    def __init__(self, live: LiveCluster) -> None:
        self._live = live
        self._pools: dict[PoolKey, _Pool] = {}
        self._in: dict[str, tuple[PoolKey, ...]] = {}
        self._pods: dict[str, tuple[str, tuple[tuple[PoolKey, Demand], ...]]] = {}
        self._moment = 0
        self._changed: dict[str, int] = {}  # node: when; the latest last
        self._known: dict[Resources, _Known] = {}

    def node_changed(self, name: str) -> None:
        """Look at a node again: it is new, changed or gone."""
        node = self._live.nodes.get(name)
        before, pools = self._in.pop(name, ()), _pools_of(node) if node else ()
        new = [key for key in pools if key not in self._pools]
        for key in before:
            if key not in pools:
                del self._pools[key].rooms[name]
        for key in new:
            self._pools[key] = _Pool(key[1])
        if pools:
            self._in[name] = pools
        self._touch(name)
        if not pools:
            for known in self._known.values():
                known.gradients.pop(name, None)
        # Pods may have been seen before their node, or the first of a pool's nodes.
        pods = [*self._live.pods_on(name)] if pools != before else []
        for pod in (*pods, *(self._live.waiting() if new else ())):
            self.pod_changed(pod.ref)

    def pod_changed(self, name: str) -> tuple[str, str]:
        """Look at the pod "namespace/name" again; return the nodes it held room on, and does."""
        home, counted = self._pods.pop(name, ("", ()))
        pod = self._live.pod_named(name)
        for key, demand in counted:
            self._pools[key].demands[demand] -= 1
        self._touch(home)
        if pod is None:
            return home, ""
        counts = tuple(self._counts(pod))
        for key, demand in counts:
            self._pools[key].demands[demand] += 1
        self._touch(pod.home)
        if pod.home or counts:
            self._pods[name] = pod.home, counts
        return home, pod.home

    def learn(self) -> None:
        """Take the pods that there are now for typical."""
        for pool in self._pools.values():
            pool.demands = +pool.demands
            pool.typical = typical(pool.demands)
            pool.profile = Profile.of(pool.typical) if pool.typical.total else None
        self._known.clear()

    @property
    def typical(self) -> Mapping[PoolKey, Typical]:
        """Typical pods by pool, as last learned; pools without pods or nodes left out."""
        return {
            key: pool.typical
            for key, pool in self._pools.items()
            if pool.profile is not None and pool.rooms
        }

    @property
    def blank(self) -> bool:
        """Whether no pool has typical pods, so that no node is better than another."""
        return not self.typical

    def scores(self, requests: Resources, nodes: Sequence[str]) -> list[int]:
        """Return the points of each node for a pod with these requests."""
        known = self._known.pop(requests, None) or _Known()
        self._known[requests] = known
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]  # the one that was asked for longest ago
        if known.moment < self._moment:
            self._refresh(known.gradients, dict(requests), self._changed_since(known.moment))
            known.moment = self._moment
        gradients = known.gradients
        return scores([gradients.get(node, 0.0) for node in nodes])

    def _touch(self, name: str) -> None:
        """Read a node's room anew."""
        keys = self._in.get(name, ())
        if not keys:
            self._changed.pop(name, None)
            return
        free = self._live.free(name) or {}
        for key in keys:
            gpus = max(free.get(key[1], 0), 0)
            self._pools[key].rooms[name] = free.get(CPU, 0), free.get("memory", 0), gpus
        self._moment += 1
        self._changed.pop(name, None)
        self._changed[name] = self._moment

    def _changed_since(self, moment: int) -> list[str]:
        changed = []
        for name in reversed(self._changed):
            if self._changed[name] <= moment:
                break
            changed.append(name)
        return changed

    def _refresh(
        self, gradients: dict[str, float], wanted: Mapping[str, int], names: Iterable[str]
    ) -> None:
        """Compute the gradients of these nodes, summed over the pools each is in."""
        by_pool: dict[PoolKey, list[str]] = {}
        for name in names:
            gradients[name] = 0.0
            for key in self._in[name]:
                by_pool.setdefault(key, []).append(name)
        for key, members in by_pool.items():
            pool = self._pools[key]
            if pool.profile is None:
                continue
            rooms = np.array([pool.rooms[name] for name in members], dtype=float)
            changes = _gradients(pool.profile, rooms, _asks(wanted, pool.resource))
            for name, change in zip(members, changes.tolist(), strict=True):
                gradients[name] += change

    def _counts(self, pod: Pod) -> Iterable[tuple[PoolKey, Demand]]:
        """Yield in which pools a pod is counted: the one it is in, or all it waits for."""
        wanted = dict(pod.shape.requests)
        for resource in filter(is_accelerator, wanted):
            demand = Demand(wanted.get(CPU, 0), GPU, wanted[resource], wanted.get("memory", 0))
            keys = self._in.get(pod.home, ()) if pod.home else self._pools
            for key in keys:
                if key[1] == resource and (pod.home or _may_use(pod, key)):
                    yield key, demand


def _may_use(pod: Pod, pool: PoolKey) -> bool:
    """Whether a pod's node selector names no other product than the pool's."""
    return all(key not in PRODUCTS or value == pool[0] for key, value in pod.shape.node_selector)


def _pools_of(node: Node) -> tuple[PoolKey, ...]:
    return tuple((product(node), resource) for resource in accelerators(node))


def _asks(wanted: Mapping[str, Any], resource: str) -> Floats:
    return np.array(
        [wanted.get(CPU, 0), wanted.get("memory", 0), wanted.get(resource, 0)], dtype=float
    )


def _gradients(profile: Profile, rooms: Floats, asks: Floats) -> Floats:
    both = costs(profile, np.concatenate([rooms, np.maximum(rooms - asks, 0.0)]))
    change: Floats = both[len(rooms) :] - both[: len(rooms)]
    return change
