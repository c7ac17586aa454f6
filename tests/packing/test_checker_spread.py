"""Topology spread constraints, as the checker of plans judges arrivals.

Leaves out constraints that are mere wishes (test_checker_filters).
"""

from typing import Any

import pytest

from tests.packing.checker_clusters import (
    Json,
    arrival,
    in_zone,
    node,
    plan,
    pod,
    rules_broken,
    step,
)

WEB = {"app": "web"}


def spread(name: str = "p", on: str = "", labels: Json = WEB, **constraint: Any) -> Json:
    """A pod of app=web that is spread over zones with maxSkew 1; keywords change the constraint."""
    made = {
        "topologyKey": "zone",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": WEB},
    } | constraint
    return pod(name, on, gpu=0, labels=labels, topologySpreadConstraints=[made])


def webs(**numbers: int) -> list[Json]:
    """Running pods of app=web, so many per node."""
    return [
        pod(f"{on}-{i}", on, gpu=0, labels=WEB) for on, many in numbers.items() for i in range(many)
    ]


def judged(arriving: Json, *others: Json, **numbers: int) -> set[str]:
    """What a placement on node a breaks; zone z1 has the nodes a and b, z2 has c."""
    nodes = [in_zone("b", "z1"), in_zone("c", "z2")]
    return arrival(in_zone("a", "z1"), arriving, *nodes, *others, *webs(**numbers))


def test_the_skew_counts_the_arrival_itself() -> None:
    assert judged(spread()) == set()
    assert judged(spread(), a=1, c=1) == set()
    assert judged(spread(), b=1) == {"SpreadExceeded"}
    assert judged(spread(), b=1, c=1) == set()
    assert judged(spread(maxSkew=2), b=1) == set()
    assert judged(spread(maxSkew=2), a=1, b=1) == {"SpreadExceeded"}


def test_a_constraint_that_does_not_say_what_to_do_must_hold() -> None:
    assert judged(spread(whenUnsatisfiable=None), b=1) == {"SpreadExceeded"}
    assert judged(spread(whenUnsatisfiable="ScheduleAnyway"), b=1) == set()


def test_an_arrival_that_is_not_one_of_the_spread_adds_nothing() -> None:
    assert judged(spread(labels={}), b=1) == set()
    assert judged(spread(labels={}), a=1, b=1) == {"SpreadExceeded"}


def test_only_live_pods_of_the_namespace_count() -> None:
    [there] = webs(b=1)
    assert judged(spread(), there) == {"SpreadExceeded"}
    for part, change in (
        ("metadata", {"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        ("status", {"phase": "Failed"}),
        ("metadata", {"labels": {"app": "db"}}),
        ("metadata", {"namespace": "team-b"}),
    ):
        assert judged(spread(), there | {part: there[part] | change}) == set()


def test_a_node_without_the_key_takes_nothing_and_counts_nothing() -> None:
    assert arrival(node("a"), spread(), in_zone("b", "z1")) == {"SpreadExceeded"}
    assert judged(spread(), node("d"), d=5) == set()
    zones = [in_zone("b", "z1"), node("d")]
    assert arrival(in_zone("a", "z1"), spread(), *zones, *webs(b=1)) == set()


@pytest.mark.parametrize(("least", "broken"), [(1, False), (2, False), (3, True)])
def test_too_few_domains_count_as_one_that_is_empty(least: int, broken: bool) -> None:
    found = judged(spread(minDomains=least), b=1, c=1)
    assert found == ({"SpreadExceeded"} if broken else set())
    assert judged(spread(minDomains=3)) == set()


def test_only_nodes_with_the_keys_of_all_constraints_count() -> None:
    arriving = spread()
    by_rack = arriving["spec"]["topologySpreadConstraints"][0] | {"topologyKey": "rack"}
    arriving["spec"]["topologySpreadConstraints"].append(by_rack | {"maxSkew": 9})
    target = in_zone("a", "z1", rack="1")
    other = in_zone("c", "z2")
    assert arrival(target, arriving, other, *webs(a=1)) == set()
    other["metadata"]["labels"]["rack"] = "2"
    assert arrival(target, arriving, other, *webs(a=1)) == {"SpreadExceeded"}
    by_rack["maxSkew"] = 1
    arriving["spec"]["topologySpreadConstraints"] = [by_rack | {"topologyKey": "zone"}, by_rack]
    racks = [in_zone("c", "z2", rack="1"), in_zone("d", "z1", rack="2")]
    assert arrival(target, arriving, *racks, *webs(c=1, d=0)) == {"SpreadExceeded"}
    assert arrival(target, arriving, *racks, *webs(c=1, d=1)) == set()


@pytest.mark.parametrize(
    ("policy", "counts"), [({}, False), ({"nodeAffinityPolicy": "Ignore"}, True)]
)
def test_nodes_the_pod_may_not_choose_count_only_by_policy(policy: Json, counts: bool) -> None:
    pool = {"pool": "x"}
    target = in_zone("a", "z1", **pool)
    for rule in (
        {"nodeSelector": pool},
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}
                        ]
                    }
                }
            }
        },
    ):
        arriving = spread(**policy)
        arriving["spec"] |= rule
        found = arrival(target, arriving, in_zone("c", "z2"), *webs(a=1))
        assert found == ({"SpreadExceeded"} if counts else set())


@pytest.mark.parametrize(("policy", "counts"), [({}, True), ({"nodeTaintsPolicy": "Honor"}, False)])
def test_tainted_nodes_count_unless_the_policy_honors_taints(policy: Json, counts: bool) -> None:
    other = in_zone("c", "z2")
    for effect in ("NoSchedule", "NoExecute", "PreferNoSchedule"):
        other["spec"]["taints"] = [{"key": "gpu", "effect": effect}]
        found = arrival(in_zone("a", "z1"), spread(**policy), other, *webs(a=1))
        refused = counts or effect == "PreferNoSchedule"
        assert found == ({"SpreadExceeded"} if refused else set())
    other["spec"]["taints"][0]["effect"] = "NoSchedule"
    tolerant = spread(**policy)
    tolerant["spec"]["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
    assert arrival(in_zone("a", "z1"), tolerant, other, *webs(a=1)) == {"SpreadExceeded"}


def test_match_label_keys_narrow_the_spread_to_the_pods_own_version() -> None:
    keyed = spread(labels=WEB | {"version": "2"}, matchLabelKeys=["version"])
    old, new = (pod(f"v{v}", "b", labels=WEB | {"version": v}) for v in ("1", "2"))
    assert judged(keyed, old) == set()
    assert judged(keyed, new) == {"SpreadExceeded"}
    assert judged(spread(matchLabelKeys=["absent"]), old) == {"SpreadExceeded"}


@pytest.mark.parametrize("selector", [{}, None])
def test_an_empty_selector_counts_nobody_as_in_the_scheduler(selector: Json | None) -> None:
    assert judged(spread(labelSelector=selector), b=3) == set()


def test_nominated_pods_of_the_node_count() -> None:
    nominated = pod("n", gpu=0, labels=WEB)
    nominated["status"]["nominatedNodeName"] = "a"
    assert judged(spread(), nominated) == {"SpreadExceeded"}
    assert judged(spread(), nominated, c=1) == set()
    nominated["status"]["nominatedNodeName"] = "c"
    assert judged(spread(), nominated, a=1) == {"SpreadExceeded"}


def test_steps_build_on_one_another() -> None:
    pods = [spread(f"p{i}") for i in range(4)]
    objects = [in_zone("a", "z1"), in_zone("c", "z2"), *pods]

    def placed(*nodes: str) -> set[str]:
        binds = [step(bind=[pair]) for pair in zip(pods, nodes, strict=True)]
        return rules_broken(objects, plan(objects, *binds))

    assert placed("a", "c", "a", "c") == set()
    assert placed("a", "c", "c", "a") == set()
    assert placed("a", "a", "c", "c") == {"SpreadExceeded"}


def test_pods_of_one_spread_may_choose_among_different_nodes() -> None:
    anywhere, pool = spread("anywhere", maxSkew=2), spread("pool", maxSkew=2)
    pool["spec"]["nodeSelector"] = {"pool": "x"}
    objects = [in_zone("a", "z1", pool="x"), in_zone("c", "z2"), anywhere, pool, *webs(a=1)]
    binds = step(bind=[(anywhere, "a")]), step(bind=[(pool, "a")])
    assert rules_broken(objects, plan(objects, *binds)) == set()
    assert rules_broken(objects, plan(objects, *reversed(binds))) == {"SpreadExceeded"}


def test_a_moved_pod_no_longer_counts_where_it_was() -> None:
    moved = spread("m", "a")
    objects = [in_zone("a", "z1"), in_zone("c", "z2"), moved, *webs(c=1)]
    a_plan = plan(objects, step([moved], [(moved, "c")]))
    assert rules_broken(objects, a_plan) == {"SpreadExceeded"}
    objects += webs(a=1)
    assert rules_broken(objects, plan(objects, step([moved], [(moved, "c")]))) == set()
