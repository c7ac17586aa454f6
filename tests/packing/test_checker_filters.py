"""Which arrivals the checker of plans allows: each filter rule both ways.

Covers the node's state, taints, selectors, declared features, room, effective requests, and pods
with rules not modelled. Leaves out what looks beyond the node (test_checker_affinity,
test_checker_spread, test_checker_volumes), host ports (test_checker_ports), departures
(test_checker_departures) and the plan's own consistency (test_checker_plan).
"""

from collections.abc import Callable
from typing import Any

import pytest

from fairstow.packing.checker import CheckError, check
from tests.packing.checker_clusters import (
    GPU,
    Json,
    arrival,
    node,
    plan,
    pod,
    replays,
    rules_broken,
    step,
    verdict,
)


def test_a_pod_may_go_to_a_plain_node() -> None:
    found = verdict(
        objects := [node(), waiting := pod("p")], plan(objects, step(bind=[(waiting, "a")]))
    )
    assert found.accepted
    assert (found.steps_replayed, found.placements, found.moves, found.cost) == (1, 1, 0, 0)


def _ready(status: str) -> Callable[[Json], None]:
    def change(item: Json) -> None:
        item["status"]["conditions"] = [{"type": "Ready", "status": status}]

    return change


def _taint(key: str, effect: str = "NoSchedule", value: str = "") -> Callable[[Json], None]:
    def change(item: Json) -> None:
        item["spec"]["taints"] = [{"key": key, "effect": effect, "value": value}]

    return change


def _put(*path: str, value: object) -> Callable[[Json], None]:
    def change(item: Json) -> None:
        for key in path[:-1]:
            item = item.setdefault(key, {})
        item[path[-1]] = value

    return change


EVERYTHING = [{"operator": "Exists"}]


@pytest.mark.parametrize(
    ("change", "rule", "tolerations", "tolerated"),
    [
        (_ready("False"), "NodeNotReady", EVERYTHING, False),
        (_ready("Unknown"), "NodeNotReady", EVERYTHING, False),
        (_put("status", "conditions", value=[]), "NodeNotReady", EVERYTHING, False),
        (
            _put("metadata", "deletionTimestamp", value="2026-01-01T00:00:00Z"),
            "NodeBeingDeleted",
            EVERYTHING,
            False,
        ),
        (_taint("ToBeDeletedByClusterAutoscaler"), "NodeBeingDeleted", EVERYTHING, False),
        (_taint("karpenter.sh/disrupted"), "NodeBeingDeleted", EVERYTHING, False),
        (_put("spec", "unschedulable", value=True), "NodeUnschedulable", EVERYTHING, True),
        (_taint("gpu"), "TaintNotTolerated", EVERYTHING, True),
        (_taint("gpu", "NoExecute"), "TaintNotTolerated", EVERYTHING, True),
        (
            _taint("gpu", value="x"),
            "TaintNotTolerated",
            [{"key": "gpu", "value": "x", "effect": "NoSchedule"}],
            True,
        ),
        (_taint("gpu", value="x"), "TaintNotTolerated", [{"key": "gpu", "value": "y"}], False),
        (
            _taint("gpu", "NoExecute"),
            "TaintNotTolerated",
            [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            False,
        ),
        (_taint("gpu"), "TaintNotTolerated", [{"key": "cpu", "operator": "Exists"}], False),
        (
            _taint("sla", value="950"),
            "TaintNotTolerated",
            [{"key": "sla", "operator": "Gt", "value": "900"}],
            True,
        ),
        (
            _taint("sla", value="900"),
            "TaintNotTolerated",
            [{"key": "sla", "operator": "Gt", "value": "900"}],
            False,
        ),
    ],
)
def test_the_state_and_taints_of_a_node_keep_pods_off(
    change: Callable[[Json], None], rule: str, tolerations: list[Json], tolerated: bool
) -> None:
    target = node()
    change(target)
    assert rule in arrival(target, pod("p"))
    still = arrival(target, pod("p", tolerations=tolerations))
    assert (rule not in still) == tolerated


def test_a_preferred_taint_keeps_nobody_off() -> None:
    target = node()
    _taint("gpu", "PreferNoSchedule")(target)
    assert arrival(target, pod("p")) == set()


def test_the_node_selector_must_match() -> None:
    assert arrival(node(), pod("p", nodeSelector={"host": "a"})) == set()
    assert arrival(node(), pod("p", nodeSelector={"host": "b"})) == {"NodeSelectorMismatch"}
    assert arrival(node(), pod("p", nodeSelector={"gone": ""})) == {"NodeSelectorMismatch"}


def expression(key: str, operator: str, *values: str) -> Json:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("terms", "fits"),
    [
        ([expression("host", "In", "a", "b")], True),
        ([expression("host", "In", "b")], False),
        ([expression("host", "NotIn", "a")], False),
        ([expression("gone", "NotIn", "a")], True),
        ([expression("host", "Exists")], True),
        ([expression("host", "DoesNotExist")], False),
        ([expression("gone", "DoesNotExist")], True),
        ([expression("size", "Gt", "3")], True),
        ([expression("size", "Gt", "4")], False),
        ([expression("size", "Lt", "5")], True),
        ([expression("size", "Lt", "4")], False),
        ([expression("host", "Lt", "5")], False),
        ([expression("host", "In", "b"), expression("host", "In", "a")], True),
        ([expression("host", "In", "a") | {"matchFields": []}], True),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}], True),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}], False),
        ([{}], False),
        ([], False),
    ],
)
def test_one_term_of_the_required_node_affinity_must_hold(terms: list[Json], fits: bool) -> None:
    target = node()
    target["metadata"]["labels"]["size"] = "4"
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    arriving = pod("p", affinity={"nodeAffinity": required})
    assert arrival(target, arriving) == (set() if fits else {"NodeAffinityMismatch"})


@pytest.mark.parametrize("phase", ["Running", "Pending", "Unknown"])
def test_room_is_what_the_pods_there_leave(phase: str) -> None:
    there = pod("there", "a", gpu=5)
    there["status"]["phase"] = phase
    assert arrival(node(gpu=8), pod("p", gpu=3), there) == set()
    assert arrival(node(gpu=8), pod("p", gpu=4), there) == {"InsufficientResources"}


def test_the_message_gives_the_numbers() -> None:
    objects = [node(gpu=8), pod("there", "a", gpu=5), arriving := pod("p", gpu=4)]
    [violation] = verdict(objects, plan(objects, step(bind=[(arriving, "a")]))).violations
    assert "needs 4 nvidia.com/gpu, 3 free on a" in violation.message
    assert (violation.step, violation.pod, violation.node) == (1, "team-a/p", "a")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_hold_no_room(phase: str) -> None:
    there = pod("there", "a", gpu=8)
    there["status"]["phase"] = phase
    assert arrival(node(gpu=8), pod("p", gpu=8), there) == set()


def test_terminating_and_nominated_pods_hold_their_room() -> None:
    leaving, nominated = pod("leaving", "a", gpu=8), pod("nominated", gpu=8)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    nominated["status"]["nominatedNodeName"] = "a"
    for there in (leaving, nominated):
        assert arrival(node(gpu=8), pod("p", gpu=1), there) == {"InsufficientResources"}


def test_the_number_of_pods_is_a_resource() -> None:
    there = pod("there", "a", gpu=0)
    assert arrival(node(pods=2), pod("p", gpu=0), there) == set()
    assert arrival(node(pods=1), pod("p", gpu=0), there) == {"InsufficientResources"}


def test_a_resource_the_node_lacks_is_none_free() -> None:
    target = node()
    del target["status"]["allocatable"][GPU]
    assert arrival(target, pod("p", gpu=1)) == {"InsufficientResources"}
    assert arrival(target, pod("p", gpu=0)) == set()


def test_a_node_without_allocatable_offers_its_capacity() -> None:
    target = node(gpu=2)
    target["status"]["capacity"] = target["status"].pop("allocatable")
    assert arrival(target, pod("p", gpu=2)) == set()
    assert arrival(target, pod("p", gpu=3)) == {"InsufficientResources"}


def test_room_freed_and_taken_by_earlier_steps_counts() -> None:
    objects = [node("a"), node("b"), old := pod("old", "a", gpu=8), new := pod("new", gpu=8)]
    move, arrive = step([old], [(old, "b")]), step(bind=[(new, "a")])
    assert replays(objects, [move, arrive])
    assert rules_broken(objects, plan(objects, move, arrive)) == set()
    assert rules_broken(objects, plan(objects, arrive, move)) == {"InsufficientResources"}


def test_a_swap_between_full_nodes_is_one_step() -> None:
    one, two = pod("one", "a", gpu=8), pod("two", "b", gpu=8)
    objects = [node("a"), node("b"), one, two]
    both = step([one, two], [(one, "b"), (two, "a")])
    assert rules_broken(objects, plan(objects, both)) == set()
    halves = step([one], [(one, "b")]), step([two], [(two, "a")])
    assert rules_broken(objects, plan(objects, *halves)) == {"InsufficientResources"}


def requests(**amounts: Any) -> Json:
    return {"resources": {"requests": amounts}}


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "status", "millicores"),
    [
        ({"containers": [requests(cpu="1500m"), requests(cpu=2)]}, {}, 3500),
        ({"containers": [requests(cpu="0.0001")]}, {}, 1),
        ({"containers": [requests(cpu="1e-1"), requests(cpu=0.4)]}, {}, 500),
        ({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, {}, 2000),
        ({"containers": [requests(cpu="1")], "overhead": {"cpu": "250m"}}, {}, 1250),
        ({"containers": [requests(cpu="1")], "initContainers": [requests(cpu="3")]}, {}, 3000),
        (
            {
                "containers": [requests(cpu="1")],
                "initContainers": [requests(cpu="1") | SIDECAR, requests(cpu="3")],
            },
            {},
            4000,
        ),
        (
            {
                "containers": [requests(cpu="3")],
                "initContainers": [requests(cpu="3"), requests(cpu="1") | SIDECAR],
            },
            {},
            4000,
        ),
        ({"containers": [requests(cpu="4")], **requests(cpu="2")}, {}, 2000),
        (
            {"containers": [requests(cpu="1") | {"name": "m"}]},
            {"containerStatuses": [{"name": "m", "allocatedResources": {"cpu": "2"}}]},
            2000,
        ),
        (
            {"containers": [requests(cpu="1") | {"name": "m"}]},
            {"containerStatuses": [{"name": "m", **requests(cpu="3")}]},
            3000,
        ),
        (
            {"containers": [requests(cpu="1") | {"name": "m"}]},
            {
                "containerStatuses": [
                    {"name": "m", "allocatedResources": {"cpu": "2"}, **requests(cpu="1")}
                ]
            },
            2000,
        ),
        (
            {
                "containers": [requests(cpu="1")],
                "initContainers": [requests(cpu="1") | SIDECAR | {"name": "s"}],
            },
            {"initContainerStatuses": [{"name": "s", "allocatedResources": {"cpu": "2"}}]},
            3000,
        ),
        ({"containers": [requests(cpu="1")]}, {"allocatedResources": {"cpu": "2"}}, 2000),
        ({"containers": [], **requests(cpu="1")}, requests(cpu="2"), 2000),
    ],
)
def test_effective_requests(spec: Json, status: Json, millicores: int) -> None:
    arriving = pod("p", **spec)
    arriving["status"] |= status
    assert arrival(node(cpu=f"{millicores}m"), arriving) == set()
    assert arrival(node(cpu=f"{millicores - 1}m"), arriving) == {"InsufficientResources"}


def test_an_infeasible_resize_counts_only_when_the_pod_is_recreated() -> None:
    resized = pod("resized", "a", containers=[{"name": "m"} | requests(cpu="60")])
    resized["status"] |= {
        "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}],
        "containerStatuses": [{"name": "m", "allocatedResources": {"cpu": "2"}}],
    }
    beside = pod("p", containers=[requests(cpu="8")])
    assert arrival(node("a", cpu="10"), beside, resized) == set()
    assert arrival(node("a", cpu="9"), beside, resized) == {"InsufficientResources"}
    for cpu, broken in (("60", set[str]()), ("59", {"InsufficientResources"})):
        objects = [node("a", cpu="10"), node("b", cpu=cpu), resized]
        assert rules_broken(objects, plan(objects, step([resized], [(resized, "b")]))) == broken
    resized["status"]["conditions"][0]["reason"] = "Deferred"
    assert arrival(node("a", cpu="10"), beside, resized) == {"InsufficientResources"}


@pytest.mark.parametrize(
    ("quantity", "units"),
    [("1Ki", 1024), ("1.5k", 1500), ("2e3", 2000), ("1500m", 2), ("1M", 10**6), (".5Gi", 2**29)],
)
def test_quantities_are_exact_and_rounded_up(quantity: str, units: int) -> None:
    target = node()
    for room, expected in ((units, set[str]()), (units - 1, {"InsufficientResources"})):
        target["status"]["allocatable"]["memory"] = str(room)
        arriving = pod("p", containers=[requests(memory=quantity)])
        assert arrival(target, arriving) == expected


@pytest.mark.parametrize("quantity", ["", "1 Gi", "-1", "1e99", "x" * 70, "٣", True, [], "0x10"])
def test_a_malformed_quantity_is_named(quantity: object) -> None:
    arriving = pod("p", containers=[requests(memory=quantity)])
    with pytest.raises(CheckError, match=r"Pod team-a/p: spec\.containers\[0\]\.resources"):
        check([arriving], {}, budgets_known=True)


UNMODELLED: list[Json] = [
    {"resourceClaims": [{"name": "gpu"}]},
    {"schedulingGroup": {"podGroupName": "g"}},
    {"workloadRef": {"name": "g"}},
    {"volumes": [{"awsElasticBlockStore": {"volumeID": "v"}}]},
]
HARMLESS: list[Json] = [
    {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{}]}}},
    {"topologySpreadConstraints": [{"whenUnsatisfiable": "ScheduleAnyway"}]},
    {"containers": [{"ports": [{"containerPort": 80}]}]},
    {"volumes": [{"configMap": {}}, {"projected": {}}, {"emptyDir": {"medium": "Memory"}}]},
    {"affinity": None, "volumes": None, "tolerations": None},
]


@pytest.mark.parametrize("spec", UNMODELLED)
def test_a_pod_with_a_rule_not_modelled_is_never_bound(spec: Json) -> None:
    assert arrival(node(), pod("p", **spec)) == {"RuleNotModelled"}


@pytest.mark.parametrize("spec", HARMLESS)
def test_what_the_scheduler_only_prefers_or_ignores_is_no_hindrance(spec: Json) -> None:
    assert arrival(node(), pod("p", **spec)) == set()


def test_an_unknown_node() -> None:
    objects = [node(), arriving := pod("p")]
    assert "NodeUnknown" in rules_broken(objects, plan(objects, step(bind=[(arriving, "b")])))


@pytest.mark.parametrize(
    ("spec", "feature"),
    [
        (
            {"containers": [{"restartPolicyRules": [{"action": "RestartAllContainers"}]}]},
            "RestartAllContainersOnContainerExits",
        ),
        ({"hostNetwork": True, "hostUsers": False}, "UserNamespacesHostNetworkSupport"),
        (
            {"initContainers": [{"volumeMounts": [{"bindMountOptions": ["noexec"]}]}]},
            "VolumeBindMountOptions",
        ),
        ({"containers": [{"restartPolicyRules": [{"action": "Restart"}]}]}, ""),
        ({"hostNetwork": True}, ""),
        ({"hostNetwork": True, "hostUsers": True}, ""),
        ({"hostUsers": False}, ""),
    ],
)
def test_a_node_declares_the_features_that_a_pod_needs(spec: Json, feature: str) -> None:
    target = node()
    assert arrival(target, pod("p", **spec)) == ({"NodeLacksFeature"} if feature else set())
    target["status"]["declaredFeatures"] = ["Another", feature]
    assert arrival(target, pod("p", **spec)) == set()
