"""From objects to records: defaults, interning, what is left out, and rules not modelled yet.

Not covered here: malformed objects (test_bad_input), requests (test_requests).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.cluster import project
from fairstow.cluster.items import item
from fairstow.cluster.model import Owner
from fairstow.cluster.movable import Movability
from fairstow.cluster.state import JUDGED
from tests.cluster.objects import (
    budget,
    items,
    job,
    namespace,
    node,
    only_pod,
    pod,
    priority_class,
    snapshot,
)

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
TERM = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}


def test_what_kubernetes_leaves_out_takes_its_default() -> None:
    bare = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    found = only_pod(bare)
    assert (found.namespace, found.name, found.owner) == ("default", "p", None)
    assert (found.shape.priority, found.shape.preempts) == (0, True)
    assert found.shape.scheduler == "default-scheduler"
    assert found.pending
    assert found.ref == "default/p"


def test_null_is_as_good_as_nothing() -> None:
    fields = ("nodeSelector", "tolerations", "affinity", "volumes", "overhead", "initContainers")
    absent: dict[str, Any] = dict.fromkeys((*fields, "labels", "annotations"))
    nothing = pod(**absent)
    nothing["status"] = None
    assert only_pod(nothing).shape == only_pod(pod()).shape


def test_a_waiting_pod_keeps_what_the_scheduler_said() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available",
    }
    found = only_pod(pod(status={"conditions": [condition]}))
    assert (found.unschedulable, found.pending) == ("0/1 nodes are available", True)
    assert found.waiting_since is None
    since = condition | {"lastTransitionTime": "1970-01-01T00:01:00Z"}
    found = only_pod(pod(status={"conditions": [since]}))
    assert found.waiting_since == 60
    gated = since | {"reason": "SchedulingGated"}
    assert only_pod(pod(status={"conditions": [gated]})).waiting_since is None


def test_pods_that_are_not_pending() -> None:
    gated = pod("gated", schedulingGates=[{"name": "quota"}])
    bound = pod("bound", nodeName="node-0")
    nominated = pod("nominated", status={"nominatedNodeName": "node-0"})
    leaving = pod("leaving", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    found = snapshot(node(), gated, bound, nominated, leaving, pod("waiting"))
    assert [p.name for p in found.pending] == ["waiting"]


def test_a_nomination_for_a_node_that_is_gone_is_none() -> None:
    found = only_pod(pod(status={"nominatedNodeName": "gone"}))
    assert found.pending
    assert found.home == ""


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_hold_no_room_and_need_no_node(phase: str) -> None:
    assert snapshot(pod(nodeName="gone", status={"phase": phase})).pods == ()


def test_what_terminates_on_a_node_that_is_gone_holds_no_room() -> None:
    leaving = pod(nodeName="gone", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert snapshot(leaving).pods == ()


def test_the_controller_is_the_owner() -> None:
    references = [
        {"kind": "Foo", "name": "watcher", "uid": "1"},
        {"kind": "ReplicaSet", "name": "web-5d9", "uid": "2", "controller": True},
    ]
    found = only_pod(pod(owner=None, metadata={"ownerReferences": references}))
    assert found.owner == Owner("ReplicaSet", "web-5d9", "2")
    assert str(found.owner) == "ReplicaSet/web-5d9"


def test_equal_pods_share_one_shape() -> None:
    found = snapshot(
        node(), pod("a", nodeName="node-0"), pod("b", "other"), pod("c", requests={"cpu": "2"})
    )
    shapes = {p.name: p.shape for p in found.pods}
    assert shapes["a"] is shapes["b"]
    assert shapes["a"] != shapes["c"]
    assert len({id(p.owner) for p in found.pods}) == 1


def test_only_annotations_about_placement_are_kept() -> None:
    found = only_pod(pod(annotations={"fairstow.dev/movable": "true", "note": "x" * 1000}))
    assert found.annotations == (("fairstow.dev/movable", "true"),)


def test_capacity_stands_in_for_allocatable() -> None:
    reported = node()
    reported["status"]["capacity"] = reported["status"].pop("allocatable")
    assert snapshot(reported).nodes[0].allocatable["cpu"] == 8000


INFEASIBLE = {
    "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
}


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ({"affinity": {"podAffinity": {REQUIRED: [TERM]}}}, "required pod affinity"),
        ({"affinity": {"podAntiAffinity": {REQUIRED: [TERM]}}}, "required pod anti-affinity"),
        (
            {
                "topologySpreadConstraints": [
                    {"whenUnsatisfiable": "DoNotSchedule", "topologyKey": "z", "maxSkew": 1}
                ]
            },
            "topology spread (DoNotSchedule)",
        ),
        ({"resourceClaims": [{"name": "gpu"}]}, "resource claims (DRA)"),
        ({"schedulingGroup": {"podGroupName": "g"}}, "gang scheduling"),
        ({"labels": {"pod-group-name": "g"}}, "gang scheduling"),
        ({"labels": {"leaderworkerset.sigs.k8s.io/name": "g"}}, "gang scheduling"),
        ({"volumes": [{"name": "d", "csi": {"driver": "x"}}]}, "csi volume"),
        (
            {
                "status": {
                    "containerStatuses": [{"name": "main", "allocatedResources": {"cpu": "2"}}]
                }
            },
            "an unfinished in-place resize",
        ),
        ({"status": INFEASIBLE}, "an unfinished in-place resize"),
        ({"hostNetwork": True, "hostUsers": False}, "features that its node must declare"),
    ],
)
def test_a_rule_is_named_and_keeps_a_pod_where_it_is_unless_it_is_modelled(
    spec: dict[str, Any], rule: str
) -> None:
    found = snapshot(pod(nodeName="node-0", **spec))
    assert found.pods[0].shape.unmodelled == (rule,)
    stays = "" if rule in JUDGED else f"it uses {rule}"
    assert Movability(found).refusal(found.pods[0]) == stays


@pytest.mark.parametrize("where", ["containers", "initContainers"])
def test_host_ports_are_not_modelled(where: str) -> None:
    ports = {"name": "x", "ports": [{"containerPort": 80}, {"containerPort": 1, "hostPort": 80}]}
    spec: dict[str, Any] = {where: [ports]}
    assert only_pod(pod(**spec)).shape.unmodelled == ("host ports",)
    del ports["ports"]
    assert only_pod(pod(**spec)).shape.unmodelled == ()


@pytest.mark.parametrize(
    "spec",
    [
        {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}},
        {"affinity": {"podAntiAffinity": {REQUIRED: []}}},
        {
            "topologySpreadConstraints": [
                {"whenUnsatisfiable": "ScheduleAnyway", "topologyKey": "z", "maxSkew": 1}
            ]
        },
    ],
)
def test_preferences_are_no_rules(spec: dict[str, Any]) -> None:
    assert only_pod(pod(**spec)).shape.unmodelled == ()


def test_preemption_policy() -> None:
    assert not only_pod(pod(preemptionPolicy="Never")).shape.preempts
    assert only_pod(pod(preemptionPolicy="PreemptLowerPriority")).shape.preempts


def test_kinds_that_were_in_the_input_are_known_even_if_empty() -> None:
    empty = {"kind": "PodDisruptionBudgetList", "apiVersion": "policy/v1", "items": []}
    found = project.build(items(node(), empty, {"kind": "ConfigMap", "apiVersion": "v1"}))
    assert found.known == {"Node", "PodDisruptionBudget"}
    assert len(found.unknowns) == 3
    everything = snapshot(
        node(), pod(), budget(), job(), namespace("team"), priority_class("low", 1)
    )
    assert everything.unknowns == ()


def test_another_apis_kind_of_the_same_name_is_not_taken_for_it() -> None:
    other = {"kind": "Node", "apiVersion": "longhorn.io/v1beta2", "metadata": {"name": "x"}}
    found = project.build([*items(node()), item("test", 1, other)])
    assert [n.name for n in found.nodes] == ["node-0"]


def test_priority_classes_name_tiers() -> None:
    found = snapshot(node(), priority_class("low", 5), priority_class("bulk", 5))
    assert found.priority_name(5) == "bulk"
    assert found.priority_name(6) == "6"
