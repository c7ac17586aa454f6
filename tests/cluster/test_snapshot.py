"""What decisions read off a snapshot: room, order, hash. Hashes are compared within a run only."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cluster import project
from tests.cluster.objects import (
    GPU,
    budget,
    items,
    job,
    namespace,
    node,
    pod,
    priority_class,
    snapshot,
)

OBJECTS = [
    node("node-0"),
    node("node-1", labels={"zone": "a"}, taints=[{"key": "gpu", "effect": "NoSchedule"}]),
    pod("a", nodeName="node-0", labels={"app": "web"}),
    pod("b", nodeName="node-1", priority=5, requests={"cpu": "2", GPU: "1"}),
    pod("c", "other", tolerations=[{"operator": "Exists"}], nodeSelector={"zone": "a"}),
    budget(),
    job(),
    namespace("team", env="prod"),
    priority_class("high", 1000),
]


def test_free_room_is_what_bound_nominated_and_terminating_pods_leave() -> None:
    found = snapshot(
        node(),
        pod("bound", nodeName="node-0", requests={"cpu": "1"}),
        pod("nominated", requests={"cpu": "2"}, status={"nominatedNodeName": "node-0"}),
        pod("done", nodeName="node-0", requests={"cpu": "4"}, status={"phase": "Failed"}),
        pod("waiting", requests={"cpu": "4"}),
        pod("leaving", nodeName="node-0", requests={"cpu": "500m", GPU: "1"},
            metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    )  # fmt: skip
    (only,) = found.nodes
    assert [p.name for p in found.pods_on["node-0"]] == ["bound", "leaving", "nominated"]
    assert found.free(only) == {"cpu": 4500, "memory": 32 << 30, GPU: 3, "pods": 107}


def test_a_node_over_capacity_has_less_than_nothing() -> None:
    found = snapshot(node(), pod(nodeName="node-0", requests={"cpu": "9", "example.com/x": "1"}))
    free = found.free(found.nodes[0])
    assert free["cpu"] == -1000
    assert free["example.com/x"] == -1


def test_an_empty_node_has_an_entry_everywhere() -> None:
    found = snapshot(node())
    assert found.pods_on == {"node-0": ()}
    assert found.used == {"node-0": {}}


def test_pending_pods_come_by_priority_then_name() -> None:
    found = snapshot(
        pod("b", priority=1), pod("a", priority=1), pod("z", priority=9), pod("a", "alpha")
    )
    assert [p.ref for p in found.pending] == ["team/z", "team/a", "team/b", "alpha/a"]


@given(st.permutations(OBJECTS))
def test_order_of_the_input_changes_nothing(objects: list[dict[str, Any]]) -> None:
    assert project.build(items(*objects)) == project.build(items(*OBJECTS))
    assert project.build(items(*objects)).hash == project.build(items(*OBJECTS)).hash


CHANGES = [
    (0, ("metadata", "labels", "zone"), "b"),
    (0, ("spec", "unschedulable"), True),
    (0, ("status", "allocatable", "cpu"), "9"),
    (0, ("status", "conditions"), []),
    (1, ("spec", "taints", 0, "effect"), "NoExecute"),
    (2, ("metadata", "labels", "app"), "db"),
    (2, ("metadata", "annotations"), {"fairstow.dev/do-not-disrupt": "true"}),
    (2, ("metadata", "ownerReferences", 0, "kind"), "DaemonSet"),
    (2, ("metadata", "uid"), "another"),
    (2, ("spec", "nodeName"), "node-1"),
    (2, ("spec", "volumes"), [{"name": "d", "hostPath": {"path": "/"}}]),
    (3, ("spec", "priority"), 6),
    (3, ("spec", "preemptionPolicy"), "Never"),
    (3, ("spec", "containers", 0, "resources", "requests", GPU), "2"),
    (3, ("metadata", "deletionTimestamp"), "2026-01-01T00:00:00Z"),
    (4, ("spec", "nodeSelector", "zone"), "b"),
    (4, ("spec", "tolerations", 0, "effect"), "NoExecute"),
    (2, ("status", "startTime"), "2026-01-01T00:00:00Z"),
    (4, ("spec", "schedulingGates"), [{"name": "g"}]),
    (4, ("status", "nominatedNodeName"), "node-0"),
    (5, ("status", "disruptionsAllowed"), 2),
    (5, ("spec", "selector", "matchLabels", "app"), "db"),
    (6, ("spec", "podFailurePolicy"), None),
    (7, ("metadata", "labels", "env"), "dev"),
]


@pytest.mark.parametrize(("index", "path", "value"), CHANGES)
def test_what_a_decision_reads_changes_the_hash(
    index: int, path: tuple[str | int, ...], value: Any
) -> None:
    changed = copy.deepcopy(OBJECTS)
    *outer, last = path
    target: Any = changed[index]
    for key in outer:
        target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
    target[last] = value
    assert snapshot(*changed).hash != snapshot(*OBJECTS).hash


def test_what_no_decision_reads_leaves_the_hash() -> None:
    changed = copy.deepcopy(OBJECTS)
    changed[2]["metadata"]["annotations"] = {"note": "x"}
    changed[2]["status"]["podIP"] = "10.0.0.1"
    changed[0]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    changed.append({"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": {"name": "web"}})
    changed.append(pod("done", status={"phase": "Succeeded"}))
    assert snapshot(*changed).hash == snapshot(*OBJECTS).hash
    assert len(snapshot().hash) == 32


def test_unknown_is_not_empty() -> None:
    without = [o for o in OBJECTS if o["kind"] != "PodDisruptionBudget"]
    empty = {"kind": "PodDisruptionBudgetList", "items": []}
    assert snapshot(*without).hash != snapshot(*without, empty).hash
    assert "disruption budgets are unknown" in " ".join(snapshot(*without).unknowns)
