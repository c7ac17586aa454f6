"""Where a pod leaves the fewest GPUs unusable for its pool's typical pods: *fragmentation*.

The measure is `fairstow.packing.fragmentation.cost` (its module derives it); here it is for all
candidate nodes of a request at once, by numpy, since the scheduler waits. For rooms of whole GPUs,
g of them free, c milli-CPU, m bytes, and typical demands d with popularity p_d:

    F = 1000 g · Σ p_d [d doesn't fit],    S = max(0, 1000 g − c / κ),    cost = S + F / 10,

in milli-GPUs; a pod's *gradient* on a node is the cost after it less the cost before, and the node
with the least gets 10 points, that with the most 0.

Pools are formed as `fairstow pools` shows them: nodes of one product in one accelerator resource.
What is typical is learned from the pods bound in a pool, and those that wait for its resource.
Kept up to date by `Rooms`: an event costs O(1), a request O(its nodes).
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


def scores(gradients: Floats) -> list[int]:
    """Return points from 0 to 10, 10 for the least gradient; all 0 where none is better."""
    least, most = gradients.min(), gradients.max()
    if most - least < 1.0:  # less than a thousandth of a GPU
        return [0] * len(gradients)
    points: list[int] = np.rint((most - gradients) / (most - least) * BEST).astype(int).tolist()
    return points


@dataclass
class _Pool:
    """Attributes: rows: free CPU, memory and GPUs by row; row: of each node; dirty: to be read."""

    resource: str
    rows: Floats = field(default_factory=lambda: np.zeros((64, 3)))
    row: dict[str, int] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    demands: Counter[Demand] = field(default_factory=Counter)
    typical: Typical = field(default_factory=lambda: Typical(()))
    profile: Profile | None = None

    def put(self, node: str, room: tuple[int, int, int]) -> None:
        index = self.row.setdefault(node, len(self.row))
        if index >= len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        self.rows[index] = room

    def drop(self, node: str) -> None:
        """Forget a node; the last row takes its place."""
        self.dirty.discard(node)
        index = self.row.pop(node, None)
        if index is None or index == len(self.row):
            return
        last = next(name for name, at in self.row.items() if at == len(self.row))
        self.rows[index] = self.rows[len(self.row)]
        self.row[last] = index


class Rooms:
    """What is free in every pool, and what its pods are like. Told of each event by `index.py`."""

    def __init__(self, live: LiveCluster) -> None:
        self._live = live
        self._pools: dict[PoolKey, _Pool] = {}
        self._in: dict[str, tuple[PoolKey, ...]] = {}
        self._pods: dict[str, tuple[str, tuple[tuple[PoolKey, Demand], ...]]] = {}

    def node_changed(self, name: str) -> None:
        """Look at a node again: it is new, changed or gone."""
        node = self._live.nodes.get(name)
        before, pools = self._in.pop(name, ()), _pools_of(node) if node else ()
        new = [key for key in pools if key not in self._pools]
        for key in before:
            if key not in pools:
                self._pools[key].drop(name)
        if pools:
            self._in[name] = pools
        for key in pools:
            self._pools.setdefault(key, _Pool(key[1])).dirty.add(name)
        # Pods may have been seen before their node, or the first of a pool's nodes.
        pods = [*self._live.pods_on(name)] if pools != before else []
        for pod in (*pods, *(self._live.waiting() if new else ())):
            self.pod_changed(pod.ref)

    def pod_changed(self, name: str) -> None:
        """Look at the pod "namespace/name" again."""
        home, counted = self._pods.pop(name, ("", ()))
        pod = self._live.pod_named(name)
        for key, demand in counted:
            self._pools[key].demands[demand] -= 1
        self._touch(home)
        if pod is None:
            return
        counts = tuple(self._counts(pod))
        for key, demand in counts:
            self._pools[key].demands[demand] += 1
        self._touch(pod.home)
        if pod.home or counts:
            self._pods[name] = pod.home, counts

    def learn(self) -> None:
        """Take the pods that there are now for typical."""
        for pool in self._pools.values():
            pool.demands = +pool.demands
            pool.typical = typical(pool.demands)
            pool.profile = Profile.of(pool.typical) if pool.typical.total else None

    @property
    def typical(self) -> Mapping[PoolKey, Typical]:
        """Typical pods by pool, as last learned; pools without pods or nodes left out."""
        return {
            key: pool.typical
            for key, pool in self._pools.items()
            if pool.profile is not None and (pool.row or pool.dirty)
        }

    @property
    def blank(self) -> bool:
        """Whether no pool has typical pods, so that no node is better than another."""
        return not self.typical

    def scores(self, requests: Resources, nodes: Sequence[str]) -> list[int]:
        """Return the points of each node for a pod with these requests."""
        total = np.zeros(len(nodes))
        wanted = dict(requests)
        places: dict[PoolKey, list[int]] = {}
        for place, node in enumerate(nodes):
            for key in self._in.get(node, ()):
                places.setdefault(key, []).append(place)
        for key, at in places.items():
            pool = self._pools[key]
            if pool.profile is not None:
                self._refresh(pool)
                rows = pool.rows[[pool.row[nodes[place]] for place in at]]
                total[at] += _gradients(pool.profile, rows, _asks(wanted, pool.resource))
        return scores(total)

    def _touch(self, node: str) -> None:
        for key in self._in.get(node, ()):
            self._pools[key].dirty.add(node)

    def _refresh(self, pool: _Pool) -> None:
        for node in pool.dirty:
            free = self._live.free(node) or {}
            amounts = (free.get(CPU, 0), free.get("memory", 0), max(free.get(pool.resource, 0), 0))
            pool.put(node, amounts)
        pool.dirty.clear()

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
