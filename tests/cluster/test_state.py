"""`State`: each rule that hangs on where pods stand, on the smallest cluster that shows it.

Whether the rules are the scheduler's is asked in e2e/test_rules_against_scheduler.py; volumes are
in test_state_volumes.py, undoing in test_state_undo.py, node rules in test_rules.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.cluster.rules import Refusal, Rule
from fairstow.cluster.state import State
from tests.cluster.objects import Object, namespace, node, pod, snapshot
from tests.cluster.state_clusters import ZONE, verdicts, zones

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
WEB = {"matchLabels": {"app": "web"}}


def term(key: str = ZONE, selector: Any = WEB, **more: Any) -> Object:
    return {"topologyKey": key, "labelSelector": selector, **more}


def near(*terms: Object) -> Object:
    return {"podAffinity": {REQUIRED: list(terms)}}


def apart(*terms: Object) -> Object:
    return {"podAntiAffinity": {REQUIRED: list(terms)}}


# Affinity


def test_a_pod_goes_where_one_stands_that_matches_all_its_terms() -> None:
    both = near(term(), term(selector={"matchLabels": {"tier": "1"}}))
    half = [
        pod("web", nodeName="a", labels={"app": "web"}),
        pod("tier", nodeName="a", labels={"tier": "1"}),
    ]
    whole = pod("both", nodeName="b", labels={"app": "web", "tier": "1"})
    nodes = zones(a="x", b="y", c="y", d="")
    assert verdicts([*nodes, *half, whole, pod("new", affinity=both)]) == {
        "a": "POD_AFFINITY",
        "b": "",
        "c": "",
        "d": "POD_AFFINITY",
    }


def test_the_first_of_its_kind_goes_anywhere_that_has_the_label() -> None:
    first = pod("new", labels={"app": "web"}, affinity=near(term()))
    other = pod("db", nodeName="a", labels={"app": "db"})
    nodes = zones(a="x", b="y", c="")
    assert verdicts([*nodes, other, first]) == {"a": "", "b": "", "c": "POD_AFFINITY"}
    second = pod("web", nodeName="b", labels={"app": "web"})
    assert verdicts([*nodes, second, first])["a"] == "POD_AFFINITY"
    stranger = pod("new", labels={"app": "db"}, affinity=near(term()))
    assert set(verdicts([*nodes, stranger]).values()) == {"POD_AFFINITY"}


def test_anti_affinity_holds_both_ways() -> None:
    web, shy = {"app": "web"}, apart(term())
    nodes = zones(a="x", b="y", c="")
    running = pod("old", nodeName="a", labels=web)
    arriving = [*nodes, running, pod("new", affinity=shy)]
    assert verdicts(arriving) == {"a": "OWN_ANTI_AFFINITY", "b": "", "c": ""}
    guarded = [*nodes, pod("old", nodeName="a", affinity=shy), pod("new", labels=web)]
    assert verdicts(guarded) == {"a": "ANTI_AFFINITY", "b": "", "c": ""}


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({}, False),
        ({"namespaces": ["other"]}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"color": "red"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"color": "blue"}}}, False),
        ({"namespaces": ["x"], "namespaceSelector": {"matchLabels": {"color": "red"}}}, True),
    ],
    ids=str,
)
def test_terms_speak_of_the_namespaces_they_name(fields: Object, refused: bool) -> None:
    known = [namespace("team"), namespace("other", color="red")]
    old = pod("old", "other", nodeName="a", labels={"app": "web"})
    said = verdicts([*zones(a="x"), *known, old, pod("new", affinity=apart(term(**fields)))])
    assert (said["a"] != "") == refused


def test_unknown_namespace_labels_let_nobody_in() -> None:
    red: Object = {"namespaceSelector": {"matchLabels": {"color": "red"}}}
    old = pod("old", "other", nodeName="a", labels={"app": "web"})
    both = [*zones(a="x", b="y"), old]
    away = pod("new", affinity=apart(term(**red)))
    assert verdicts([*both, away]) == {"a": "OWN_ANTI_AFFINITY", "b": ""}
    close = pod("new", "other", labels={"app": "web"}, affinity=near(term(**red)))
    assert set(verdicts([*both, close]).values()) == {"POD_AFFINITY"}


# Spread


def spread(**fields: Any) -> dict[str, Any]:
    constraint = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    return {
        "labels": {"app": "web"},
        "topologySpreadConstraints": [constraint | {"labelSelector": WEB} | fields],
    }


def web(name: str, on: str, **more: Any) -> Object:
    fields: dict[str, Any] = {"labels": {"app": "web"}} | more
    return pod(name, nodeName=on, **fields)


def test_spread_fills_the_emptiest_domain_first() -> None:
    nodes = zones(a="x", b="x", c="y", d="")
    placed = [web("1", "a")]
    expected = {"a": "SPREAD", "b": "SPREAD", "c": "", "d": "SPREAD"}
    assert verdicts([*nodes, *placed, pod("new", **spread())]) == expected
    assert verdicts([*nodes, *placed, pod("new", **spread(maxSkew=2))])["a"] == ""
    assert verdicts([*nodes, *placed, web("2", "c"), pod("new", **spread())])["a"] == ""


@pytest.mark.parametrize(
    "ignored",
    [
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"labels": {"app": "db"}},
        {"status": {"phase": "Succeeded"}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_spread_counts_living_pods_that_match(ignored: Object) -> None:
    nodes = zones(a="x", b="y")
    assert verdicts([*nodes, web("1", "a"), pod("new", **spread())])["a"] == "SPREAD"
    assert verdicts([*nodes, web("1", "a", **ignored), pod("new", **spread())])["a"] == ""


def test_spread_counts_the_own_namespace_alone() -> None:
    other = pod("1", "other", nodeName="a", labels={"app": "web"})
    assert verdicts([*zones(a="x", b="y"), other, pod("new", **spread())])["a"] == ""


def test_too_few_domains_count_as_one_that_is_empty() -> None:
    everywhere = [*zones(a="x", b="y"), web("1", "a"), web("2", "b")]
    assert verdicts([*everywhere, pod("new", **spread())])["a"] == ""
    assert verdicts([*everywhere, pod("new", **spread(minDomains=3))])["a"] == "SPREAD"


@pytest.mark.parametrize(
    ("policies", "refused"),
    [
        ({}, False),
        ({"nodeAffinityPolicy": "Ignore"}, True),
        ({"nodeTaintsPolicy": "Honor"}, False),
        ({"nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor"}, False),
    ],
    ids=str,
)
def test_nodes_it_cannot_use_count_as_the_policies_say(policies: Object, refused: bool) -> None:
    taints = [{"key": "k", "value": "", "effect": "NoSchedule"}]
    empty = node("b", labels={ZONE: "y"}, taints=taints)
    wants: Object = {"nodeSelector": {ZONE: "x"}}
    objects = [*zones(a="x"), empty, web("1", "a"), pod("new", **spread(**policies), **wants)]
    assert (verdicts(objects)["a"] == "SPREAD") == refused


def test_each_pod_counts_the_nodes_it_may_use_itself() -> None:
    taint = [{"key": "k", "value": "", "effect": "NoSchedule"}]
    nodes = [*zones(a="x", b="y"), node("c", labels={ZONE: "z"}, taints=taint)]
    placed = [web("1", "a"), web("2", "b")]
    rule = spread(nodeTaintsPolicy="Honor")
    only_x: Object = {"nodeSelector": {ZONE: "x"}}
    tolerant: Object = {"tolerations": [{"operator": "Exists"}]}
    pods = [pod("one", **rule), pod("two", **rule, **tolerant), pod("three", **rule, **only_x)]
    found = snapshot(*nodes, *placed, web("3", "a"), *pods)
    state, by_name = State(found), {p.name: p for p in found.pods}
    said = {n: state.refusal(by_name[n], found.nodes[1]) is None for n in ("one", "two", "three")}
    assert said == {"one": True, "two": False, "three": False}
    assert state.refusal(by_name["three"], found.nodes[0]) is None


def test_a_node_without_all_keys_of_a_pod_counts_for_none_of_them() -> None:
    rule = spread()
    rule["topologySpreadConstraints"] += spread(topologyKey="rack")["topologySpreadConstraints"]
    half = [*zones(a="x", b="y"), web("1", "a"), pod("new", **rule)]
    half[0]["metadata"]["labels"]["rack"] = "r"
    assert verdicts(half) == {"a": "", "b": "SPREAD"}
    half[1]["metadata"]["labels"]["rack"] = "r"
    assert verdicts(half) == {"a": "SPREAD", "b": ""}


def test_a_pod_that_does_not_match_its_own_spread_adds_nothing() -> None:
    rule = spread()
    rule["labels"] = {"app": "db"}
    assert verdicts([*zones(a="x", b="y"), web("1", "a"), pod("new", **rule)])["a"] == ""


def test_spread_by_revision_counts_pods_with_the_same_label() -> None:
    rule = spread(matchLabelKeys=["revision", "absent"])
    rule["labels"] = rule["labels"] | {"revision": "2"}
    nodes = zones(a="x", b="y")
    old = web("1", "a", labels={"app": "web", "revision": "1"})
    assert verdicts([*nodes, old, pod("new", **rule)])["a"] == ""
    same = web("1", "a", labels={"app": "web", "revision": "2"})
    assert verdicts([*nodes, same, pod("new", **rule)])["a"] == "SPREAD"


# Ports, features, room


def ports(*wanted: Object, where: str = "containers", **container: Any) -> dict[str, Any]:
    return {where: [{"name": "x", "ports": list(wanted), **container}]}


@pytest.mark.parametrize(
    ("taken", "wanted", "refused"),
    [
        ({}, {}, True),
        ({"hostIP": "10.0.0.1"}, {}, True),
        ({}, {"hostIP": "10.0.0.1"}, True),
        ({"hostIP": "10.0.0.1"}, {"hostIP": "10.0.0.2"}, False),
        ({"hostIP": "10.0.0.1"}, {"hostIP": "10.0.0.1"}, True),
        ({"protocol": "UDP"}, {}, False),
        ({"hostPort": 81}, {}, False),
        ({"hostPort": 0}, {}, False),
    ],
)
def test_a_port_is_taken_once_per_address_and_protocol(
    taken: Object, wanted: Object, refused: bool
) -> None:
    port = {"containerPort": 8080, "hostPort": 80}
    old = pod("old", nodeName="node-0", **ports(port | taken))
    said = verdicts([node(), node("node-1"), old, pod("new", **ports(port | wanted))])
    assert said == {"node-0": "PORTS" if refused else "", "node-1": ""}


def test_ports_of_sidecars_and_of_the_host_network_count_those_of_init_containers_do_not() -> None:
    port = {"containerPort": 80, "hostPort": 80}
    wanted = pod("new", **ports(port))
    init = ports(port, where="initContainers")
    assert verdicts([node(), pod("old", nodeName="node-0", **init), wanted])["node-0"] == ""
    sidecar = ports(port, where="initContainers", restartPolicy="Always")
    assert verdicts([node(), pod("old", nodeName="node-0", **sidecar), wanted])["node-0"] == "PORTS"
    host = ports({"containerPort": 80})
    on_host = pod("old", nodeName="node-0", hostNetwork=True, **host)
    assert verdicts([node(), on_host, wanted])["node-0"] == "PORTS"


@pytest.mark.parametrize(
    ("spec", "feature"),
    [
        (
            {"containers": [{"restartPolicyRules": [{"action": "RestartAllContainers"}]}]},
            "RestartAllContainersOnContainerExits",
        ),
        ({"hostNetwork": True, "hostUsers": False}, "UserNamespacesHostNetworkSupport"),
        (
            {"containers": [{"volumeMounts": [{"bindMountOptions": ["noexec"]}]}]},
            "VolumeBindMountOptions",
        ),
    ],
)
def test_a_node_must_declare_what_the_pod_uses(spec: Object, feature: str) -> None:
    declares = node("a")
    declares["status"]["declaredFeatures"] = [feature]
    assert verdicts([declares, node("b"), pod("new", **spec)]) == {"a": "", "b": "FEATURES"}


def test_room_names_what_is_missing() -> None:
    found = snapshot(
        pod("old", nodeName="node-0", requests={"cpu": "6"}), pod("new", requests={"cpu": "3"})
    )
    asked = next(p for p in found.pods if p.name == "new")
    assert State(found).refusal(asked, found.nodes[0]) == Refusal(Rule.ROOM, "lacks 1 cpu")


def test_what_is_nominated_holds_its_room_but_attracts_nobody() -> None:
    waits = pod("waits", status={"nominatedNodeName": "a"}, labels={"app": "web"})
    waits["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "6"}
    nodes = zones(a="x", b="y")
    assert verdicts([*nodes, waits, pod("new", requests={"cpu": "3"})]) == {"a": "ROOM", "b": ""}
    close = pod("new", affinity=near(term()))
    assert verdicts([*nodes, waits, close])["a"] == "POD_AFFINITY"


def test_a_rule_that_is_not_judged_refuses() -> None:
    claims = pod("new", resourceClaims=[{"name": "gpu"}])
    assert verdicts([node(), claims])["node-0"] == "NOT_CONSIDERED"
