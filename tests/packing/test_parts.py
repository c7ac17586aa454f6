"""Parts that don't touch each other: found, left alone where nobody waits, added up.

Covered: two random clusters behind a selector each are planned together as well as apart, with
true proofs; what joins parts (nodes, rules, gangs); limits over the whole plan. Not covered: that
parts are faster (benchmarks).
"""

import copy
import time

from hypothesis import HealthCheck, given, settings

from fairstow.packing.formulate import formulate
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.model import Order, Proof, RuleSet
from fairstow.packing.neighbourhoods import Neighbourhoods
from fairstow.packing.objective import levels
from fairstow.packing.parts import parts, separable
from fairstow.packing.problem import pin
from fairstow.packing.task import Task
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import best, clusters, snapshot
from tests.packing.test_planner import plan

POOL = "pool"


def walled(objects: list[Json], pool: str) -> list[Json]:
    """The same cluster as a pool of its own, its names prefixed."""
    found = copy.deepcopy(objects)
    for each in found:
        metadata, spec = each["metadata"], each.get("spec", {})
        metadata["name"] = f"{pool}-{metadata['name']}"
        metadata["uid"] = f"{pool}-{metadata.get('uid', '')}"
        if each["kind"] == "Node":
            metadata["labels"] |= {POOL: pool, "host": metadata["name"]}
            continue
        selector = {k: f"{pool}-{v}" for k, v in spec.get("nodeSelector", {}).items()}
        spec["nodeSelector"] = selector | {POOL: pool}
        if "nodeName" in spec:
            spec["nodeName"] = f"{pool}-{spec['nodeName']}"
    return found


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(clusters(), clusters())
def test_two_pools_are_planned_as_well_together_as_apart(one: list[Json], two: list[Json]) -> None:
    both = [*walled(one, "x"), *walled(two, "y")]
    decision, apart = plan(both), [best(walled(one, "x")), best(walled(two, "y"))]
    wanted: dict[int, int] = {}
    for truth, objects in zip(apart, (one, two), strict=True):
        pods = [o for o in objects if o["kind"] == "Pod"]
        tiers = sorted({p["spec"].get("priority", 0) for p in pods}, reverse=True)
        for tier, count in zip(tiers, truth.placed, strict=True):
            wanted[tier] = wanted.get(tier, 0) + count
    assert {t.priority: t.after for t in decision.tiers} == wanted
    assert all(t.proof is Proof.OPTIMAL for t in decision.tiers)
    assert decision.cost == sum(truth.cost for truth in apart)


def sizes(objects: list[Json]) -> list[int]:
    return [len(part) for part in parts(formulate(snapshot(objects))[0])]


def small(pool: str, *, waits: bool) -> list[Json]:
    objects = [node("n", gpu=2), pod("run", "n", gpu=1, owner="ReplicaSet/web")]
    return walled([*objects, *([pod("wait", gpu=2)] if waits else [])], pool)


def test_a_pool_in_which_nobody_waits_is_left_alone() -> None:
    assert sizes([*small("x", waits=True), *small("y", waits=False)]) == [2]


def test_a_pod_that_may_go_to_either_pool_joins_them() -> None:
    pools = [*small("x", waits=True), *small("y", waits=True)]
    assert sizes(pools) == [2, 2]
    assert sizes([*pools, pod("anywhere", gpu=1)]) == [5]


def test_a_rule_between_pods_joins_pools() -> None:
    pools = [*small("x", waits=True), *small("y", waits=True)]
    term = {"topologyKey": POOL, "labelSelector": {"matchLabels": {"app": "a"}}}
    kind = "requiredDuringSchedulingIgnoredDuringExecution"
    for each in pools:
        if "wait" in each["metadata"]["name"]:
            each["metadata"]["labels"] = {"app": "a"}
            each["spec"]["affinity"] = {"podAntiAffinity": {kind: [term]}}
    assert sizes(pools) == [4]


def test_many_pools_are_searched_as_a_few() -> None:
    pools = [each for i in range(20) for each in small(f"p{i}", waits=True)]
    assert sorted(sizes(pools), reverse=True) == [6] * 4 + [4] * 4


def test_bounds_add_up_whatever_the_search_begins_with() -> None:
    pools = [*small("x", waits=True), *small("y", waits=True)]
    pools += [walled([node("free", gpu=4)], pool)[0] for pool in "xy"]
    problem, _ = formulate(snapshot(pools))
    order = levels(Order.PLACE_FIRST, problem.priorities)
    start = {
        (index, max(group.targets)): 1
        for index, group in enumerate(problem.groups)
        if group.pending
    }
    for begin in ({}, start):
        task = Task(problem, begin, order, Limits(), Limits(), seed=0, workers=2)
        found = task.run(time.monotonic, time.monotonic() + 10, lambda _: None)
        layout = Incumbent(problem, found.changes)
        assert [layout.value(level) for level in order] == list(found.bounds) == [4, 0]


def test_no_neighbourhood_is_for_pods_of_another_part() -> None:
    problem, _ = formulate(snapshot([*small("x", waits=True), *small("y", waits=True)]))
    here, elsewhere = parts(problem)
    chooser = Neighbourhoods(Incumbent(pin(problem, elsewhere), {}), [], seed=0)
    assert {chooser._waiting() for _ in range(20)} <= here


def test_a_limit_over_the_whole_plan_keeps_parts_together() -> None:
    problem, _ = formulate(snapshot(small("x", waits=True)))
    assert separable(problem, Limits())
    assert not separable(problem, Limits(moves=3))
    assert not separable(problem, Limits(evictions=1))
    assert not separable(problem, Limits(tier_caps={0: 1}))
    paper, _ = formulate(snapshot(small("x", waits=True)), RuleSet.PAPER)
    assert separable(paper, Limits(evictions=1))


def test_a_limit_on_moves_holds_over_all_pools() -> None:
    objects = [
        *(node(name, gpu=4) for name in "ab"),
        *(pod(f"run-{name}", name, gpu=1, owner="ReplicaSet/web") for name in "ab"),
        pod("wait", gpu=4),
    ]
    both = [*walled(objects, "x"), *walled(objects, "y")]
    assert len(plan(both, max_moves=1).placements) == 1
    assert len(plan(both).placements) == 2
