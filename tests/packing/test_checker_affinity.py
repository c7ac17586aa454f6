"""Required affinity and anti-affinity between pods, as the checker of plans judges arrivals.

Covers terms of the arriving pod and of those that are there, their namespaces, the first pod of
its kind, and that steps build on one another. Leaves out terms that are mere wishes
(test_checker_filters).
"""

from typing import Any

import pytest

from tests.packing.checker_clusters import (
    Json,
    arrival,
    in_zone,
    plan,
    pod,
    rules_broken,
    step,
)


def repelling(name: str, on: str, **term: Any) -> Json:
    """A pod with required anti-affinity against pods labelled app=web."""
    required = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"} | term
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": [required]}
    return pod(name, on, gpu=0, affinity={"podAntiAffinity": rule})


@pytest.mark.parametrize(
    ("term", "conflict"),
    [
        ({}, True),
        ({"labelSelector": {}}, True),
        ({"labelSelector": None}, False),
        ({"labelSelector": {"matchLabels": {"app": "db"}}}, False),
        ({"topologyKey": "host"}, False),
        ({"topologyKey": "rack"}, False),
        ({"namespaces": ["team-b"]}, False),
        ({"namespaces": ["team-a", "team-b"]}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"tier": "x"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"tier": "y"}}}, False),
        ({"matchLabelKeys": ["app"]}, False),
    ],
)
def test_anti_affinity_of_pods_there_keeps_a_pod_out_of_their_domain(
    term: Json, conflict: bool
) -> None:
    guard = repelling("guard", "b", **term)
    guard["metadata"]["labels"] = {"app": "guard"}
    namespace = {"kind": "Namespace", "metadata": {"name": "team-a", "labels": {"tier": "x"}}}
    arriving = pod("p", labels={"app": "web"})
    found = arrival(in_zone("a", "z1"), arriving, in_zone("b", "z1"), guard, namespace)
    assert found == ({"AntiAffinityConflict"} if conflict else set())
    assert arrival(in_zone("a", "z2"), arriving, in_zone("b", "z1"), guard, namespace) == set()


def test_a_namespace_nobody_knows_may_be_meant_by_a_selector() -> None:
    guard = repelling("guard", "b", namespaceSelector={"matchLabels": {"tier": "y"}})
    arriving = pod("p", labels={"app": "web"})
    found = arrival(in_zone("a", "z"), arriving, in_zone("b", "z"), guard)
    assert found == {"AntiAffinityConflict"}


def test_anti_affinity_leaves_with_its_pod() -> None:
    guard = repelling("guard", "b")
    arriving = pod("p", priority=10, labels={"app": "web"})
    objects = [in_zone("a", "z"), in_zone("b", "z"), guard, arriving]
    a_plan = plan(objects, step([guard], [(arriving, "a")]))
    assert rules_broken(objects, a_plan) == set()


def near(name: str, on: str = "", *terms: Json, kind: str = "podAffinity", **labels: str) -> Json:
    """A pod with required affinity; each term says what differs from app=web in its zone."""
    web = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": [web | t for t in terms or ({},)]}
    return pod(name, on, gpu=0, affinity={kind: rule}, labels=labels)


ZONES = (in_zone("b", "z1"), in_zone("c", "z2"))
TIER = {"kind": "Namespace", "metadata": {"name": "team-a", "labels": {"tier": "x"}}}


@pytest.mark.parametrize(
    ("term", "meant"),
    [
        ({}, True),
        ({"labelSelector": {}}, True),
        ({"labelSelector": None}, False),
        ({"labelSelector": {"matchLabels": {"app": "db"}}}, False),
        ({"topologyKey": "host"}, False),
        ({"namespaces": ["team-b"]}, False),
        ({"namespaces": ["team-a", "team-b"]}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"tier": "x"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"tier": "y"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"tier": "y"}}, "namespaces": ["team-a"]}, True),
        ({"matchLabelKeys": ["version"]}, True),
        ({"matchLabelKeys": ["color"]}, False),
        ({"mismatchLabelKeys": ["version"]}, False),
        ({"mismatchLabelKeys": ["color"]}, True),
        ({"mismatchLabelKeys": ["absent"], "matchLabelKeys": ["absent"]}, True),
    ],
)
def test_the_arriving_pods_own_terms(term: Json, meant: bool) -> None:
    there = pod("there", "b", gpu=0, labels={"app": "web", "version": "1", "color": "red"})
    mine = {"app": "other", "version": "1", "color": "blue"}
    for kind, broken in (("podAffinity", "AffinityUnmet"), ("podAntiAffinity", "")):
        rule = broken or "AntiAffinityConflict"
        arriving = near("p", "", term, kind=kind, **mine)
        found = arrival(in_zone("a", "z1"), arriving, *ZONES, there, TIER)
        assert found == ({rule} if meant == (not broken) else set())


@pytest.mark.parametrize("kind", ["podAffinity", "podAntiAffinity"])
def test_only_pods_of_the_nodes_own_domain_are_near(kind: str) -> None:
    there = pod("there", "c", gpu=0, labels={"app": "web"})
    found = arrival(in_zone("a", "z1"), near("p", kind=kind), *ZONES, there)
    assert found == ({"AffinityUnmet"} if kind == "podAffinity" else set())


def test_one_pod_must_be_meant_by_all_terms() -> None:
    terms: tuple[Json, ...] = ({}, {"labelSelector": {"matchLabels": {"size": "l"}}})
    apart = [pod("x", "b", labels={"app": "web"}), pod("y", "b", labels={"size": "l"})]
    both = pod("z", "b", labels={"app": "web", "size": "l"})
    assert arrival(in_zone("a", "z1"), near("p", "", *terms), *ZONES, *apart) == {"AffinityUnmet"}
    assert arrival(in_zone("a", "z1"), near("p", "", *terms), *ZONES, both) == set()


def test_each_term_has_its_own_domain() -> None:
    terms: tuple[Json, ...] = ({}, {"topologyKey": "rack"})
    there = [pod("x", "b", labels={"app": "web"}), pod("y", "d", labels={"app": "web"})]
    nodes = [in_zone("b", "z1", rack="1"), in_zone("d", "z2", rack="2")]
    for zone, rack, fits in (("z1", "1", True), ("z1", "2", True), ("z1", "3", False)):
        target = in_zone("a", zone, rack=rack)
        found = arrival(target, near("p", "", *terms), *nodes, *there)
        assert found == (set() if fits else {"AffinityUnmet"})


def test_a_node_without_the_topology_key_is_near_nobody() -> None:
    terms: tuple[Json, ...] = ({"topologyKey": "rack"},)
    there = pod("x", "a", labels={"app": "web"})
    found = arrival(in_zone("a", "z1"), near("p", "", *terms), there)
    assert found == {"AffinityUnmet"}
    found = arrival(in_zone("a", "z1"), near("p", "", *terms, kind="podAntiAffinity"), there)
    assert found == set()
    assert arrival(in_zone("a", "z1"), near("p", "", *terms, app="web")) == {"AffinityUnmet"}


def test_the_first_pod_of_its_kind_is_let_in() -> None:
    target, first = in_zone("a", "z1"), near("p", app="web")
    assert arrival(target, first, *ZONES) == set()
    assert arrival(target, near("p", app="db"), *ZONES) == {"AffinityUnmet"}
    another = pod("x", "c", labels={"app": "web"})
    assert arrival(target, first, *ZONES, another) == {"AffinityUnmet"}
    elsewhere = pod("x", "c", labels={"app": "web"}, namespace="team-b")
    assert arrival(target, first, *ZONES, elsewhere) == set()


def test_the_second_follows_the_first() -> None:
    first, second = near("one", app="web"), near("two", app="web")
    objects = [in_zone("a", "z1"), *ZONES, first, second]
    for on, broken in (("b", set[str]()), ("c", {"AffinityUnmet"})):
        binds = step(bind=[(first, "a")]), step(bind=[(second, on)])
        assert rules_broken(objects, plan(objects, *binds)) == broken


def test_who_has_left_is_near_nobody() -> None:
    web, other = near("web", "b", app="web"), near("other", app="db")
    objects = [*ZONES, web, other]
    beside, move = step(bind=[(other, "b")]), step([web], [(web, "c")])
    assert rules_broken(objects, plan(objects, beside, move)) == set()
    assert rules_broken(objects, plan(objects, move, beside)) == {"AffinityUnmet"}


def test_who_has_left_is_no_longer_avoided_nor_first() -> None:
    web = near("web", "b", app="web")
    shy, shier = (near(name, kind="podAntiAffinity") for name in ("shy", "shier"))
    shier["spec"]["priority"] = 9
    objects = [in_zone("a", "z1"), *ZONES, web, shy, shier]
    away = step(bind=[(shy, "c")])
    instead, move = step([web], [(shier, "b")]), step([web], [(web, "a")])
    assert rules_broken(objects, plan(objects, away, instead)) == set()
    assert rules_broken(objects, plan(objects, away, move)) == set()


def test_a_moved_pod_is_judged_with_itself_gone() -> None:
    alone, other = near("one", "b", app="web"), near("two", "b", app="web")
    objects = [*ZONES, alone]
    assert rules_broken(objects, plan(objects, step([alone], [(alone, "c")]))) == set()
    objects.append(other)
    a_plan = plan(objects, step([alone], [(alone, "c")]))
    assert rules_broken(objects, a_plan) == {"AffinityUnmet"}
    both = step([alone, other], [(alone, "c"), (other, "c")])
    assert rules_broken(objects, plan(objects, both)) == set()
    apart = near("one", "b", kind="podAntiAffinity", app="web")
    objects = [*ZONES, in_zone("a", "z1"), apart]
    assert rules_broken(objects, plan(objects, step([apart], [(apart, "a")]))) == set()


def test_pods_that_end_or_never_ran_are_near_nobody() -> None:
    done, nominated = pod("x", "b", labels={"app": "web"}), pod("y", labels={"app": "web"})
    done["status"]["phase"] = "Succeeded"
    nominated["status"]["nominatedNodeName"] = "b"
    target = in_zone("a", "z1")
    for there in (done, nominated):
        assert arrival(target, near("p"), *ZONES, there) == {"AffinityUnmet"}
    apart = near("p", kind="podAntiAffinity")
    assert arrival(target, apart, *ZONES, done) == set()
    assert arrival(target, apart, *ZONES, nominated) == {"AntiAffinityConflict"}


def test_a_terminating_pod_is_still_near() -> None:
    leaving = pod("x", "b", labels={"app": "web"})
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    target = in_zone("a", "z1")
    assert arrival(target, near("p"), *ZONES, leaving) == set()
    found = arrival(target, near("p", kind="podAntiAffinity"), *ZONES, leaving)
    assert found == {"AntiAffinityConflict"}


def test_a_namespace_nobody_knows_is_avoided_and_not_relied_on() -> None:
    there = pod("x", "b", labels={"app": "web"}, namespace="team-b")
    term = {"namespaceSelector": {"matchLabels": {"tier": "y"}}}
    for kind, rule in (
        ("podAffinity", "AffinityUnmet"),
        ("podAntiAffinity", "AntiAffinityConflict"),
    ):
        found = arrival(in_zone("a", "z1"), near("p", "", term, kind=kind), *ZONES, there)
        assert found == {rule}


def test_a_selector_of_all_namespaces_needs_no_labels() -> None:
    there = pod("x", "b", labels={"app": "web"}, namespace="team-b")
    found = arrival(in_zone("a", "z1"), near("p", "", {"namespaceSelector": {}}), *ZONES, there)
    assert found == set()
