"""The cluster that arms play on, a `LiveCluster` as the operator has it, and its scheduler.

Feasible is what `fairstow.cluster` says has room; these pods have no other rules. Scores are those
of kube-scheduler's default profile that differ between nodes for such pods: NodeResourcesFit
(LeastAllocated) and NodeResourcesBalancedAllocation, 1 each, of CPU and memory, in whole numbers;
with the extender its 0–10 points, which the scheduler takes times ten and times the profile's
weight. All nodes are looked at; ties are broken at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from fairstow.cluster.kinds import NODE, POD, READ
from fairstow.cluster.live import LiveCluster
from fairstow.cluster.quantity import CPU
from fairstow.cluster.rules import deficits
from scheduler_plugins.plugins.fragmentation import BEST, Rooms
from scheduler_plugins.profile import WEIGHT

if TYPE_CHECKING:
    from benchmarks.churn.day import Arrival, Host
    from fairstow.cluster.kinds import Kind
    from fairstow.cluster.model import Pod

GPU = "nvidia.com/gpu"
BEGAN = 1_767_225_600
"""The first moment, in seconds since 1970."""
_LEARN = 30.0
"""Seconds after which the extender learns anew which pods are typical, as it does."""
_MOST = 100
_FULL = 100 // BEST

Json = dict[str, Any]


def moment(at: float) -> str:
    """Return a moment of the day as Kubernetes writes it."""
    return datetime.fromtimestamp(BEGAN + int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def host_object(host: Host) -> Json:
    """Return a node's object."""
    room = {"cpu": f"{host.cpu}m", "memory": f"{host.memory}Mi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": host.name,
            "uid": host.name,
            "labels": {"nvidia.com/gpu.product": host.model, "kubernetes.io/hostname": host.name},
        },
        "status": {
            "allocatable": room | {GPU: str(host.gpus)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod_object(arrival: Arrival, name: str, now: float, node: str = "") -> Json:
    """Return a pod's object: running since now on a node, or waiting since now."""
    ask = arrival.ask
    requests = {"cpu": f"{ask.cpu}m", "memory": f"{ask.memory}Mi"}
    if ask.gpus:
        requests[GPU] = str(ask.gpus)
    group, kind = ("apps", "ReplicaSet") if ask.service else ("batch", "Job")
    owner = {"apiVersion": f"{group}/v1", "kind": kind, "name": f"w-{arrival.number}"}
    spec: Json = {
        "priority": ask.priority,
        "preemptionPolicy": "Never",
        "containers": [{"name": "main", "resources": {"requests": requests}}],
    }
    status: Json = {"phase": "Running", "startTime": moment(now)}
    if node:
        spec["nodeName"] = node
    else:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        condition["lastTransitionTime"] = moment(now)
        status = {"phase": "Pending", "conditions": [condition]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "day",
            "name": name,
            "uid": name,
            "ownerReferences": [owner | {"uid": owner["name"], "controller": True}],
        },
        "spec": spec,
        "status": status,
    }


@dataclass
class Scheduler:
    """Places pods on a cluster. Attributes: rooms: the extender's memory, if it is attached."""

    live: LiveCluster
    rng: random.Random
    rooms: Rooms | None = None
    _learned: float = field(default=-_LEARN, init=False)

    @classmethod
    def of(cls, hosts: Iterable[Host], seed: int, *, extender: bool) -> Scheduler:
        """Return an empty cluster with its scheduler."""
        live = LiveCluster()
        rooms = Rooms(live) if extender else None
        if rooms is not None:
            live.listeners.append(partial(_follow, rooms))
        live.replace(NODE, [host_object(host) for host in hosts])
        for kind in READ[1:]:
            live.replace(kind, ())
        return cls(live, random.Random(seed), rooms)

    def fits(self, pod: Pod, node: str) -> bool:
        """Whether a node has room for a pod."""
        return not deficits(pod.shape, self.live.free(node) or {})

    def choose(self, pod: Pod, now: float) -> str:
        """Return the node that a pod gets, "" where none has room."""
        feasible = [name for name in self.live.nodes if self.fits(pod, name)]
        if len(feasible) < 2:
            return feasible[0] if feasible else ""
        scores = [self._stock(pod, name) for name in feasible]
        if self.rooms is not None:
            if now - self._learned >= _LEARN:
                self.rooms.learn()
                self._learned = now
            ours = self.rooms.scores(pod.shape.requests, feasible)
            scores = [s + WEIGHT * _FULL * o for s, o in zip(scores, ours, strict=True)]
        best = max(scores)
        return self.rng.choice([n for n, s in zip(feasible, scores, strict=True) if s == best])

    def put(self, obj: Json) -> None:
        """Take in a pod as a watch would show it."""
        self.live.upsert(POD, obj)

    def gone(self, name: str) -> None:
        """Take in that a pod has ended."""
        self.live.delete(POD, {"metadata": {"namespace": "day", "name": name}})

    def _stock(self, pod: Pod, name: str) -> int:
        wants = dict(pod.shape.requests)
        total, used = self.live.nodes[name].allocatable, self.live.used(name)
        return stock_score(
            tuple((total[r], used.get(r, 0), wants.get(r, 0)) for r in (CPU, "memory"))
        )


def _follow(rooms: Rooms, kind: Kind, name: str) -> None:
    """Tell the extender's memory of an event, as its index does."""
    if kind == NODE:
        rooms.node_changed(name)
    elif kind == POD:
        rooms.pod_changed(name)


def stock_score(rooms: tuple[tuple[int, int, int], ...]) -> int:
    """Return what the default profile gives a node; rooms: total, used, wanted of two resources."""
    least = sum((total - used - wants) * _MOST // total for total, used, wants in rooms)
    before = _even([used / total for total, used, _ in rooms])
    after = _even([(used + wants) / total for total, used, wants in rooms])
    return least // len(rooms) + _MOST // 2 + (_MOST // 2 + after - before) // 2


def _even(shares: list[float]) -> int:
    return int((1 - abs(shares[0] - shares[1]) / 2) * _MOST)
