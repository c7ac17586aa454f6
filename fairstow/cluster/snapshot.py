"""The immutable snapshot: what every decision reads.

Records are sorted, so that equal clusters give equal snapshots, equal hashes and equal plans
whatever order the API listed them in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import msgspec

from fairstow.cluster.engines import Engines
from fairstow.cluster.kept import open_rooms
from fairstow.cluster.model import Budget, EngineDrain, EnginePool, KeptRoom, Node, Pod
from fairstow.cluster.storage import Storage

ESSENTIAL = {
    "PodDisruptionBudget": "disruption budgets are unknown: moves can be shown, never approved",
    "Job": "no Job is known to tolerate disruption: pods of Jobs stay where they are",
    "Namespace": "namespace labels are unknown: namespace selectors are taken to match",
    "PriorityClass": "priority classes are unknown: priorities are shown as numbers",
}
"""Kinds whose absence from the input changes what may be decided, and how."""


@dataclass(frozen=True)
class Snapshot:
    """A cluster at one moment.

    Attributes:
        nodes: by name.
        pods: all that hold or want room, by namespace and name; finished pods are left out.
        budgets: PodDisruptionBudgets by namespace and name.
        disruptable_jobs: UIDs of Jobs whose podFailurePolicy ignores DisruptionTarget.
        priority_classes: name of a class by its value.
        namespaces: labels by namespace, for those in the input.
        known: the kinds that the input held. A kind that isn't here is unknown, not empty.
        storage: claims, volumes and what else decides where pods with claims may run.
        gang_sizes: minMember of each PodGroup that has one, by "namespace/name".
        engine_pools: ServingPools by namespace and name; engine_drains: InstanceDrains.
        kept: rooms for pods of Spark applications that were let go, filled ones too.
        taken_at: newest time in the input (an object made, a pod started, a node's heartbeat), in
            seconds since 1970; None without any.
    """

    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    budgets: tuple[Budget, ...]
    disruptable_jobs: frozenset[str]
    priority_classes: Mapping[int, str]
    namespaces: Mapping[str, Mapping[str, str]]
    known: frozenset[str]
    storage: Storage = field(default_factory=Storage)
    gang_sizes: Mapping[str, int] = field(default_factory=dict)
    engine_pools: tuple[EnginePool, ...] = ()
    engine_drains: tuple[EngineDrain, ...] = ()
    kept: tuple[KeptRoom, ...] = ()
    taken_at: int | None = None

    @cached_property
    def node_by_name(self) -> Mapping[str, Node]:
        """Node by name."""
        return {n.name: n for n in self.nodes}

    @cached_property
    def pods_on(self) -> Mapping[str, tuple[Pod, ...]]:
        """Pods that hold room by node: bound, terminating or nominated; every node has an entry."""
        held: dict[str, list[Pod]] = {n.name: [] for n in self.nodes}
        for pod in self.pods:
            if pod.home in held:
                held[pod.home].append(pod)
        return {name: tuple(pods) for name, pods in held.items()}

    @cached_property
    def used(self) -> Mapping[str, Mapping[str, int]]:
        """What the pods of a node hold of each resource; every node has an entry."""
        totals: dict[str, dict[str, int]] = {}
        for name, pods in self.pods_on.items():
            total = totals.setdefault(name, {})
            for pod in pods:
                for resource, amount in pod.shape.requests:
                    total[resource] = total.get(resource, 0) + amount
        return totals

    @cached_property
    def kept_on(self) -> Mapping[str, tuple[KeptRoom, ...]]:
        """Rooms by node that are kept for pods which have no node yet; few nodes have an entry."""
        found: dict[str, list[KeptRoom]] = {}
        for room in open_rooms(self.kept, self.pods, self.taken_at) if self.kept else ():
            found.setdefault(room.node, []).append(room)
        return {name: tuple(rooms) for name, rooms in found.items()}

    @cached_property
    def pending(self) -> tuple[Pod, ...]:
        """Pods that wait for a node, highest priority first."""
        waiting = [p for p in self.pods if p.pending]
        return tuple(sorted(waiting, key=lambda p: (-p.shape.priority, p.namespace, p.name)))

    @cached_property
    def engines(self) -> Engines:
        """Which pods are LLM engines, and which of them can be spared."""
        return Engines(
            self.engine_pools, self.engine_drains, self.pods if self.engine_pools else ()
        )

    @cached_property
    def hash(self) -> str:
        """Provenance: 32 hex digits that differ when anything a decision reads differs.

        All but the moment: a cluster that stays as it is keeps its hash.
        """
        digest = blake2b(digest_size=16)
        encoder = msgspec.json.Encoder(order="sorted")
        others = (
            sorted(self.disruptable_jobs),
            self.namespaces,
            sorted(self.known),
            self.gang_sizes,
        )
        records = (*self.nodes, None, *self.pods, None, *self.budgets, None)
        engines = (*self.engine_pools, *self.engine_drains)
        kept = [room for _, rooms in sorted(self.kept_on.items()) for room in rooms]
        for part in (*records, *others, *self.storage.parts, *engines, *kept):
            digest.update(encoder.encode(part) + b"\n")
        return digest.hexdigest()

    @property
    def unknowns(self) -> tuple[str, ...]:
        """What isn't known because a kind is missing, a sentence each."""
        return tuple(said for kind, said in ESSENTIAL.items() if kind not in self.known)

    def free(self, node: Node) -> dict[str, int]:
        """What is left of each resource of a node; below 0 where it is over capacity.

        Room that is kept isn't free.
        """
        used = self.held(node.name)
        names = node.allocatable.keys() | used.keys()
        return {r: node.allocatable.get(r, 0) - used.get(r, 0) for r in names}

    def held(self, node: str) -> Mapping[str, int]:
        """What of each resource of a node its pods have, or is kept for pods to come."""
        if node not in self.kept_on:
            return self.used[node]
        held = dict(self.used[node])
        for room in self.kept_on[node]:
            for resource, amount in room.requests:
                held[resource] = held.get(resource, 0) + amount
        return held

    def priority_name(self, priority: int) -> str:
        """A tier as people know it: its priority class, or the number."""
        return self.priority_classes.get(priority, str(priority))
