"""Instances of the paper, and how the default scheduler places them.

Generator (section 4 of the paper, reproducible): a child generator is seeded by
blake2b(seed as 16 bytes big-endian, then 0x00 + label for each label), 16 bytes, big-endian.

    rs-sizes   replicas randint(1, 4), at most what is left, until the pods are used up
    rs-cpu     randint(100, 1000) milli-CPU per ReplicaSet
    rs-mem     randint(1e8, 1e9) bytes per ReplicaSet
    base       priority randint(1, k) per ReplicaSet

All nodes are equal: capacity = max(largest pod, ceil(ceil(total / usage) / nodes)) for CPU and
memory alike. ReplicaSets arrive one after the other.

Checked against the authors' own records: requests, priorities and capacities of their seeds are
the same to the last digit. Their seeds at 90 and 95 % are the first hundred for which a scheduler
without randomness left pods pending, at 100 and 105 % one fixed list of a hundred.

Default placement: see `placement`; ties are broken at random by a generator of the seed's own.
"""

import random
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from math import ceil

from benchmarks.paper_grid.placement import place
from benchmarks.paper_grid.scheduler import MOST_PODS, Nodes, ReplicaSet


@dataclass(frozen=True)
class Cell:
    """One cell of the grid. Attributes: usage: requested share of the capacity, in per cent."""

    nodes: int
    pods_per_node: int
    priorities: int
    usage: int


@dataclass(frozen=True)
class Instance:
    """One instance. Attributes: placed: node index of each pod of each ReplicaSet, or None."""

    cell: Cell
    seed: int
    cpu: int
    memory: int
    sets: tuple[ReplicaSet, ...]
    placed: tuple[tuple[int | None, ...], ...]

    @property
    def pending(self) -> int:
        """Pods the default scheduler gave up on."""
        return sum(node is None for nodes in self.placed for node in nodes)


def child(seed: int, *labels: str) -> random.Random:
    """Return the paper's child generator."""
    content = seed.to_bytes(16, "big") + b"".join(b"\0" + label.encode() for label in labels)
    return random.Random(int.from_bytes(blake2b(content, digest_size=16).digest(), "big"))


@cache
def instance(cell: Cell, seed: int) -> Instance:
    """Return one instance with its default placement."""
    sizes, cpu, memory, base = (child(seed, x) for x in ("rs-sizes", "rs-cpu", "rs-mem", "base"))
    left = cell.nodes * cell.pods_per_node
    sets: list[ReplicaSet] = []
    while left:
        replicas = sizes.randint(1, min(4, left))
        left -= replicas
        sets.append(
            ReplicaSet(
                name=f"rs-{len(sets):03d}",
                replicas=replicas,
                cpu=cpu.randint(100, 1000),
                memory=memory.randint(100_000_000, 1_000_000_000),
                priority=base.randint(1, cell.priorities),
            )
        )
    capacity = [
        max(largest, ceil(ceil(total * 100 / cell.usage) / cell.nodes))
        for total, largest in (
            (sum(s.cpu * s.replicas for s in sets), max(s.cpu for s in sets)),
            (sum(s.memory * s.replicas for s in sets), max(s.memory for s in sets)),
        )
    ]
    placed = place(sets, Nodes(cell.nodes, capacity[0], capacity[1]), child(seed, "ties"))
    return Instance(cell, seed, capacity[0], capacity[1], tuple(sets), placed)


def as_objects(case: Instance) -> list[dict[str, object]]:
    """Return the instance as Kubernetes objects, placed by the default scheduler."""
    room = {"cpu": f"{case.cpu}m", "memory": str(case.memory), "pods": str(MOST_PODS)}
    ready = [{"type": "Ready", "status": "True"}]
    objects: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"node-{n:03d}", "uid": f"node-{n:03d}"},
            "status": {"capacity": room, "allocatable": room, "conditions": ready},
        }
        for n in range(case.cell.nodes)
    ]
    for wanted, nodes in zip(case.sets, case.placed, strict=True):
        for i, node in enumerate(nodes):
            objects.append(_pod(wanted, i, node))
    return objects


def _pod(wanted: ReplicaSet, index: int, node: int | None) -> dict[str, object]:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": wanted.name, "uid": wanted.name}
    name = f"{wanted.name}-{index}"
    requests = {"cpu": f"{wanted.cpu}m", "memory": str(wanted.memory)}
    spec: dict[str, object] = {
        "priority": wanted.priority,
        "containers": [{"name": "main", "resources": {"requests": requests}}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "grid",
            "uid": name,
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": spec if node is None else spec | {"nodeName": f"node-{node:03d}"},
        "status": {"phase": "Pending" if node is None else "Running"},
    }
