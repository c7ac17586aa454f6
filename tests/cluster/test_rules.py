"""The scheduler's filters one by one: when a node refuses a pod, by which rule, in which words.

Not covered: agreement with the real scheduler (end-to-end tests), and rules that aren't modelled
yet, whose pods are left alone (test_project).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.cluster.rules import Deficit, Refusal, Rule, Rules, deficits
from tests.cluster.objects import GPU, namespace, node, pod, snapshot


def verdict(a_node: dict[str, Any], a_pod: dict[str, Any], *others: dict[str, Any]) -> Any:
    """The refusal of the first node for the first pod, among other objects."""
    found = snapshot(a_node, a_pod, *others)
    name, wanted = a_node["metadata"]["name"], a_pod["metadata"]["name"]
    (arriving,) = [p for p in found.pods if p.name == wanted]
    return Rules(found).static_refusal(arriving, found.node_by_name[name])


def rule(*objects: dict[str, Any]) -> Rule | None:
    refusal: Refusal | None = verdict(*objects)
    return None if refusal is None else refusal.rule


def test_an_ordinary_pod_may_arrive() -> None:
    assert verdict(node(), pod()) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conditions": [{"type": "Ready", "status": "False"}]}, "is not Ready"),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, "is not Ready"),
        ({"conditions": []}, "is not Ready"),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, "is being deleted"),
        (
            {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]},
            "is being removed by an autoscaler",
        ),
        (
            {"taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]},
            "is being removed by an autoscaler",
        ),
    ],
)
def test_a_node_that_goes_takes_nothing_whatever_is_tolerated(
    changes: dict[str, Any], said: str
) -> None:
    anything = pod(tolerations=[{"operator": "Exists"}])
    assert verdict(node(**changes), anything) == Refusal(Rule.CLOSED, said)


def test_a_cordon_holds_unless_tolerated() -> None:
    cordoned = node(spec={"unschedulable": True})
    assert verdict(cordoned, pod()) == Refusal(Rule.CORDONED, "is cordoned")
    key = "node.kubernetes.io/unschedulable"
    assert rule(cordoned, pod(tolerations=[{"key": key, "operator": "Exists"}])) is None
    no_execute = {"key": key, "operator": "Exists", "effect": "NoExecute"}
    assert rule(cordoned, pod(tolerations=[no_execute])) is Rule.CORDONED


@pytest.mark.parametrize(
    ("taint", "toleration", "tolerated"),
    [
        # (key, value, effect) against (key, operator, value, effect)
        (("gpu", "a100", "NoSchedule"), ("gpu", "Equal", "a100", "NoSchedule"), True),
        (("gpu", "a100", "NoSchedule"), ("gpu", "", "a100", ""), True),
        (("gpu", "a100", "NoSchedule"), ("gpu", "Equal", "h100", ""), False),
        (("gpu", "a100", "NoSchedule"), ("gpu", "Equal", "", ""), False),
        (("gpu", "", "NoSchedule"), ("gpu", "Equal", "", ""), True),
        (("gpu", "a100", "NoSchedule"), ("gpu", "Exists", "", ""), True),
        (("gpu", "a100", "NoSchedule"), ("gpu", "Exists", "", "NoExecute"), False),
        (("gpu", "a100", "NoExecute"), ("gpu", "Exists", "", "NoExecute"), True),
        (("gpu", "a100", "NoExecute"), ("gpu", "Exists", "", ""), True),
        (("gpu", "a100", "NoSchedule"), ("cpu", "Exists", "", ""), False),
        (("gpu", "a100", "NoSchedule"), ("", "Exists", "", ""), True),
        (("gpu", "a100", "NoSchedule"), ("", "Exists", "", "NoSchedule"), True),
        (("gpu", "a100", "NoExecute"), ("", "Exists", "", "NoSchedule"), False),
        (("sla", "950", "NoSchedule"), ("sla", "Gt", "900", ""), True),  # KEP-5471
        (("sla", "950", "NoSchedule"), ("sla", "Gt", "950", ""), False),
        (("sla", "950", "NoSchedule"), ("sla", "Lt", "999", ""), True),
        (("sla", "high", "NoSchedule"), ("sla", "Gt", "1", ""), False),
        (("gpu", "a100", "NoSchedule"), ("gpu", "Like", "a100", ""), False),
    ],
)
def test_taints_and_tolerations(
    taint: tuple[str, str, str], toleration: tuple[str, str, str, str], tolerated: bool
) -> None:
    tainted = node(taints=[dict(zip(("key", "value", "effect"), taint, strict=True))])
    given = dict(zip(("key", "operator", "value", "effect"), toleration, strict=True))
    found = rule(tainted, pod(tolerations=[{k: v for k, v in given.items() if v}]))
    assert found is (None if tolerated else Rule.TAINT)


def test_every_taint_must_be_tolerated_but_preferences_need_not() -> None:
    taints = [{"key": key, "effect": "NoSchedule"} for key in ("a", "b")]
    one = [{"key": "a", "operator": "Exists"}]
    assert rule(node(taints=taints), pod(tolerations=one)) is Rule.TAINT
    assert rule(node(taints=[{"key": "a", "effect": "PreferNoSchedule"}]), pod()) is None


def test_a_taint_is_named_as_kubectl_writes_it() -> None:
    taints = [{"key": "gpu", "value": "a100", "effect": "NoSchedule"}]
    assert verdict(node(taints=taints), pod()).detail == "has the taint gpu=a100:NoSchedule"
    assert verdict(node(taints=[{"key": "gpu", "effect": "NoExecute"}]), pod()).detail == (
        "has the taint gpu:NoExecute"
    )


def test_node_selector_needs_every_label() -> None:
    zoned = node(labels={"zone": "a"})
    assert rule(zoned, pod(nodeSelector={"zone": "a"})) is None
    refused = verdict(zoned, pod(nodeSelector={"zone": "a", "gpu": "h100"}))
    assert refused == Refusal(Rule.AFFINITY, "lacks the label gpu=h100")


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    """The affinity of a pod that asks for one of these node terms."""
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"nodeAffinity": {key: {"nodeSelectorTerms": list(terms)}}}


@pytest.mark.parametrize(
    ("terms", "fits"),
    [
        ([{"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["4"]}]}], True),
        ([{"matchExpressions": [{"key": "size", "operator": "Lt", "values": ["4"]}]}], False),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-0"]}]}],
         True),
        ([{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-0"]}]}],
         False),
        ([{}], False),
        ([], False),
        ([{}, {"matchExpressions": [{"key": "size", "operator": "Exists"}]}], True),
    ],
)  # fmt: skip
def test_required_node_affinity(terms: list[dict[str, Any]], fits: bool) -> None:
    found = rule(node(labels={"size": "8"}), pod(affinity=required(*terms)))
    assert found is (None if fits else Rule.AFFINITY)


def test_selector_and_affinity_must_both_hold() -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}
    both = pod(nodeSelector={"zone": "b"}, affinity=required(term))
    assert rule(node(labels={"zone": "a"}), both) is Rule.AFFINITY


def apart(**term: Any) -> dict[str, Any]:
    """A pod spec's affinity that keeps pods of app=web out of its own topology domain."""
    whole = {"topologyKey": "kubernetes.io/hostname"} | term
    whole.setdefault("labelSelector", {"matchLabels": {"app": "web"}})
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"podAntiAffinity": {key: [whole]}}


WEB = {"app": "web"}


def guarded(term: dict[str, Any], *others: dict[str, Any], **arriving: Any) -> Rule | None:
    """The verdict on `arriving` where a pod in namespace guards with that anti-affinity runs."""
    guard = pod("guard", "guards", nodeName="node-0", affinity=apart(**term))
    wanted = {"labels": WEB} | arriving
    return rule(node(), pod("arriving", wanted.pop("namespace", "team"), **wanted), guard, *others)


def test_a_running_pods_anti_affinity_speaks_of_its_own_namespace() -> None:
    assert guarded({}, namespace="guards") is Rule.ANTI_AFFINITY
    assert guarded({}, namespace="team") is None
    assert guarded({}, namespace="guards", labels={"app": "db"}) is None


@pytest.mark.parametrize(
    ("term", "team", "refused"),
    [
        ({"namespaces": ["team"]}, {}, True),
        ({"namespaces": ["other"]}, {}, False),
        ({"namespaceSelector": {}}, {}, True),
        ({"namespaceSelector": {"matchLabels": {"env": "prod"}}}, {"env": "prod"}, True),
        ({"namespaceSelector": {"matchLabels": {"env": "prod"}}}, {"env": "dev"}, False),
        (
            {"namespaces": ["team"], "namespaceSelector": {"matchLabels": {"env": "x"}}},
            {"env": "dev"},
            True,
        ),
        ({"namespaces": ["team"], "labelSelector": {}}, {}, True),
        ({"namespaces": ["team"], "labelSelector": None}, {}, False),
        ({"namespaces": ["team"], "topologyKey": "no/such-label"}, {}, False),
    ],
)
def test_anti_affinity_across_namespaces(
    term: dict[str, Any], team: dict[str, str], refused: bool
) -> None:
    found = guarded(term, namespace("team", **team))
    assert found is (Rule.ANTI_AFFINITY if refused else None)


def test_a_namespace_whose_labels_are_unknown_is_taken_to_match() -> None:
    assert guarded({"namespaceSelector": {"matchLabels": {"env": "x"}}}) is Rule.ANTI_AFFINITY


def test_anti_affinity_covers_the_whole_topology_domain() -> None:
    zone = "topology.kubernetes.io/zone"
    guard = pod("guard", nodeName="there", affinity=apart(topologyKey=zone))
    there = node("there", labels={zone: "a"})
    arriving = pod("arriving", labels=WEB)
    refused = verdict(node("here", labels={zone: "a"}), arriving, there, guard)
    assert refused.detail == f"lies in {zone}=a, which a pod there keeps it out of"
    assert rule(node("here", labels={zone: "b"}), arriving, there, guard) is None
    assert rule(node("here"), arriving, there, guard) is None


def test_pods_on_the_way_guard_their_node_too_and_finished_ones_do_not() -> None:
    arriving = pod("arriving", labels=WEB)
    guard = pod("guard", affinity=apart(), status={"nominatedNodeName": "node-0"})
    assert rule(node(), arriving, guard) is Rule.ANTI_AFFINITY
    done = pod("guard", nodeName="node-0", affinity=apart(), status={"phase": "Succeeded"})
    assert rule(node(), arriving, done) is None
    waiting = pod("guard", affinity=apart())
    assert rule(node(), arriving, waiting) is None


def test_room_is_short_of_each_resource_by_itself() -> None:
    found = snapshot(
        node(allocatable={"cpu": "8", "memory": "8Gi", "pods": "2", GPU: "4"}),
        pod("there", nodeName="node-0", requests={"cpu": "7", "memory": "1Gi", GPU: "1"}),
        pod("arriving", requests={"cpu": "2", "memory": "7Gi", GPU: "4", "example.com/x": "1"}),
    )
    (arriving,) = found.pending
    free = found.free(found.nodes[0])
    assert deficits(arriving.shape, free) == (
        Deficit("cpu", 2000, 1000),
        Deficit("example.com/x", 1, 0),
        Deficit(GPU, 4, 3),
    )
    assert [d.missing for d in deficits(arriving.shape, free)] == [1000, 1, 1]
    assert deficits(arriving.shape, dict(arriving.shape.requests)) == ()


def test_what_is_over_capacity_adds_nothing_to_what_is_missing() -> None:
    assert Deficit("cpu", 1000, -3000).missing == 1000


def test_the_number_of_pods_is_a_resource() -> None:
    full = node(allocatable={"cpu": "8", "pods": "1"})
    found = snapshot(full, pod("there", nodeName="node-0"), pod("arriving"))
    (arriving,) = found.pending
    assert [d.resource for d in deficits(arriving.shape, found.free(found.nodes[0]))] == ["pods"]
