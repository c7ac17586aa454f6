"""Small random clusters that exercise the scheduler's filters, from a seed.

Used by test_state.py and, with the real scheduler's verdicts beside, by
e2e/test_rules_against_scheduler.py. Values come from pools so small that rules meet: three
zones, two applications, four namespaces. Running pods stand anywhere, legal or not, since a real
cluster holds pods that no longer could arrive where they are.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.cluster import random_pods, random_volumes
from tests.cluster.random_pods import FEATURES, GPU, HOSTNAME, NAMESPACES, RACK, ZONE, Json, Uses


@dataclass
class Cluster:
    """Objects of one cluster.

    Attributes:
        pods: by UID; those that run say so in spec.nodeName.
        others: nodes, namespaces and all else.
    """

    nodes: list[Json]
    pods: dict[str, Json]
    others: list[Json] = field(default_factory=list)

    @property
    def objects(self) -> list[Json]:
        """All of them."""
        return [*self.nodes, *self.pods.values(), *self.others]


def cluster(seed: int, uses: Uses, *, nodes: int = 6, pods: int = 14) -> Cluster:
    """Return the cluster of a seed; about half of its pods run."""
    rng = random.Random(seed)
    made = Cluster([_node(rng, i, uses) for i in range(nodes)], {})
    made.others += [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": labels}}
        for n, labels in NAMESPACES.items()
    ]
    names = [n["metadata"]["name"] for n in made.nodes]
    if Uses.VOLUMES in uses:
        made.others += random_volumes.storage(rng, names, tuple(NAMESPACES))
    taken: dict[str, set[tuple[Any, ...]]] = {name: set() for name in names}
    for index in range(pods):
        runs = rng.random() < 0.5
        pod = random_pods.pod(rng, index, uses, runs=runs)
        if runs:
            # Two pods with one port of one node can't be: the kubelet refuses the second.
            ports = random_pods.ports_taken(pod)
            free = [name for name in names if not ports & taken[name]]
            node = rng.choice(free or names)
            pod["spec"]["nodeName"] = node
            taken[node] |= ports
        elif Uses.NOMINATED in uses and rng.random() < 0.3:
            pod["status"]["nominatedNodeName"] = rng.choice(names)
        made.pods[pod["metadata"]["uid"]] = pod
        made.others += random_volumes.own_claims(rng, pod)
    return made


def _node(rng: random.Random, index: int, uses: Uses) -> Json:
    name = f"node-{index}"
    labels = {HOSTNAME: name} if rng.random() < 0.95 else {}
    for key, values, chance in (
        (ZONE, ("a", "b", "c"), 0.9),
        (RACK, ("1", "2"), 0.7),
        ("gpu", ("a100", "h100", ""), 0.7),
        ("size", ("4", "8", "0x10", "-3"), 0.6),
    ):
        if rng.random() < chance:
            labels[key] = rng.choice(values)
    spec: Json = {}
    if Uses.NODES in uses:
        spec["taints"] = [_taint(rng) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))]
        if rng.random() < 0.12:
            spec["unschedulable"] = True
    allocatable = {"cpu": "64", "memory": "256Gi", "pods": "110"}
    if Uses.ROOM in uses:
        allocatable = {
            "cpu": rng.choice(("2", "4", "3500m", "8")),
            "memory": rng.choice(("4Gi", "8Gi", "6000M")),
            "pods": rng.choice(("3", "4", "110")),
            "ephemeral-storage": rng.choice(("1Gi", "10Gi")),
        }
        if rng.random() < 0.7:
            allocatable[GPU] = rng.choice(("1", "2", "4"))
        if rng.random() < 0.3:
            allocatable["hugepages-2Mi"] = "64Mi"
    status: Json = {
        "allocatable": allocatable,
        "capacity": allocatable,
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    if Uses.FEATURES in uses:
        status["declaredFeatures"] = sorted(f for f in FEATURES if rng.random() < 0.5)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
        "spec": spec,
        "status": status,
    }


def _taint(rng: random.Random) -> Json:
    value = rng.choice(("", "yes", "3", "7"))
    taint = {"key": rng.choice(("dedicated", "load")), "value": value}
    return taint | {"effect": rng.choice(("NoSchedule", "NoExecute", "PreferNoSchedule"))}
