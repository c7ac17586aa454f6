"""Gangs in the planner: placed whole or not at all, by whom it is told, and what it proves of them.

Covered: random small clusters with gangs and moves against the whole truth and the checker; budgets
that stop half way; limits on changes; evictions; what isn't tried and how that is said. Not
covered: whether a pod is in a gang as the checker sees it (test_checker_gangs).
"""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.packing.formulate import formulate
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.model import Decision, Order, Proof, Request
from fairstow.packing.planner import find, inline
from fairstow.packing.relaxation import Relaxation
from fairstow.packing.schedule import schedule
from tests.packing.checker_clusters import Json, budget, node, pod
from tests.packing.clusters import Best, best, clusters, proofs_are_true, snapshot
from tests.packing.test_between import apart
from tests.packing.test_planner import AMPLE, placed, plan

slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
LABEL = "scheduling.x-k8s.io/pod-group"


def member(name: str, on: str = "", gang: str = "g", **more: Any) -> Json:
    return pod(name, on, labels={LABEL: gang}, **more)


def members(count: int, gang: str = "g", **more: Any) -> list[Json]:
    return [member(f"{gang}{i}", gang=gang, **more) for i in range(count)]


def pod_group(least: int, name: str = "g") -> Json:
    return {
        "apiVersion": "scheduling.x-k8s.io/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {"minMember": least},
    }


def names(decision: Decision) -> list[str]:
    return sorted(f"{p.pod.name} {p.node}" for p in decision.placements)


@st.composite
def gang_clusters(draw: st.DrawFn) -> list[Json]:
    """Small clusters, some waiting and a few running pods of which are in one of two gangs."""
    objects = draw(clusters())
    waiting = [o for o in objects if o["kind"] == "Pod" and "nodeName" not in o["spec"]]
    running = [o for o in objects if o["kind"] == "Pod" and "nodeName" in o["spec"]]
    for each in waiting:
        each["metadata"]["labels"] |= draw(st.sampled_from(({LABEL: "g"}, {LABEL: "g"}, {})))
        requests = each["spec"]["containers"][0]["resources"]["requests"]
        requests["nvidia.com/gpu"] = str(draw(st.integers(1, 4)))
    for each in running:
        if draw(st.integers(0, 5)) == 0:
            each["metadata"]["labels"][LABEL] = "g"
    if draw(st.booleans()):
        objects.append(pod_group(draw(st.integers(1, 4))))
    return objects


def truth(objects: list[Json]) -> Best:
    """The optimum, where members that run stay and of the gang none is placed, or enough."""
    sizes = [o["spec"]["minMember"] for o in objects if o["kind"] == "PodGroup"]
    gang = [o for o in objects if o["metadata"].get("labels", {}).get(LABEL)]
    needed = sizes[0] if sizes else len(gang)

    def allowed(pods: list[Json], layout: Sequence[str]) -> bool:
        on = {p["metadata"]["name"]: n for p, n in zip(pods, layout, strict=True)}
        here = [p["spec"].get("nodeName", "") for p in gang]
        there = [on[p["metadata"]["name"]] for p in gang]
        if any(was and was != now for was, now in zip(here, there, strict=True)):
            return False
        return sum(map(bool, there)) in (sum(map(bool, here)), *range(needed, len(gang) + 1))

    return best(objects, allowed)


@slow
@given(gang_clusters())
def test_the_plan_is_the_optimum_with_gangs_whole(objects: list[Json]) -> None:
    most, decision = truth(objects), plan(objects)
    assert placed(decision) == most.placed
    assert decision.cost == most.cost


@slow
@given(gang_clusters(), st.sampled_from(Order), st.sampled_from((0.02, 0.2)))
def test_a_proof_is_true_however_little_time_there_is(
    objects: list[Json], order: Order, window: float
) -> None:
    most, decision = truth(objects).placed, plan(objects, order=order, window=window)
    proofs_are_true(decision, most, order)


@slow
@given(gang_clusters())
def test_no_layout_beats_the_bound_of_the_relaxation(objects: list[Json]) -> None:
    request = Request(snapshot(objects), window=AMPLE)
    best_found = find(request, inline(time.monotonic), time.monotonic)
    relaxation = Relaxation.within(best_found.problem, Limits(), 1.0)
    assert relaxation is not None
    for level in best_found.bounds:
        value, bound = best_found.layout.value(level), relaxation.bound(level, 1.0)
        assert bound is not None
        assert value <= bound if level.places else value >= bound
        relaxation.hold(level, value)


def test_no_two_solves_together_leave_half_a_gang() -> None:
    problem, _ = formulate(snapshot([node("a"), *members(2)]))
    for count, whole in ((1, False), (2, True)):
        assert Limits().allow(Incumbent(problem, {(0, 0): count}), {(0, 0): count}) == whole


@slow
@given(gang_clusters(), st.integers(0, 2), st.integers(0, 3), st.integers(0, 2))
def test_limits_and_budgets_never_leave_half_a_gang(
    objects: list[Json], moves: int, evictions: int, disruptions: int
) -> None:
    guard = budget("guard", {"app": "a"}, disruptions)
    plan([*objects, guard], max_moves=moves, max_evictions=evictions, window=2.0)


FREE_EIGHT = [
    *(node(name, gpu=4) for name in "abcd"),
    *(pod(f"{name}{i}", name, gpu=1) for name in "abcd" for i in range(2)),
]
"""Eight GPUs free, two on each of four nodes (kueue#5243)."""


def test_room_in_pieces_is_put_together_for_a_gang() -> None:
    decision = plan([*FREE_EIGHT, *members(2, gpu=4, priority=100)])
    assert len({p.node for p in decision.placements}) == len(decision.placements) == 2
    assert len(decision.moves) == 4
    assert [len(step.bind) for step in decision.steps][-1] == 2
    assert all(t.proof is Proof.OPTIMAL for t in decision.tiers)


def test_a_gang_that_has_no_room_as_a_whole_gets_none_and_leaves_it_to_others() -> None:
    low = [pod(f"low{i}", gpu=4) for i in range(2)]
    decision = plan([*FREE_EIGHT, *members(3, gpu=4, priority=100), *low])
    assert sorted(p.pod.name for p in decision.placements) == ["low0", "low1"]
    assert [(t.after, t.proof) for t in decision.tiers] == [(0, Proof.OPTIMAL), (10, Proof.OPTIMAL)]


def test_a_gang_may_have_members_of_several_shapes_and_priorities() -> None:
    driver = member("driver", gpu=0, priority=1000)
    assert len(plan([*FREE_EIGHT, driver, *members(2, gpu=4)]).placements) == 3
    assert not plan([*FREE_EIGHT, driver, *members(3, gpu=4)]).placements


def test_a_pod_group_says_how_many_are_enough() -> None:
    objects = [node("a", gpu=3), *members(5)]
    assert not plan(objects).placements
    assert len(plan([*objects, pod_group(2)]).placements) == 3
    assert not plan([*objects, pod_group(4)]).placements


def test_who_comes_to_a_gang_that_runs_is_placed_alone() -> None:
    runs = [member(f"r{i}", "a") for i in range(2)]
    decision = plan([node("a", gpu=3), *runs, *members(3), pod_group(2)])
    assert len(decision.placements) == 1


def test_members_that_run_stay_where_they_are() -> None:
    objects = [
        node("a", gpu=1), node("b", gpu=1), member("r", "a"), pod("x", nodeSelector={"host": "a"})
    ]  # fmt: skip
    assert not plan(objects).moves


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([*members(3), pod_group(4)], "4 of its pods must run (minMember of its PodGroup), 0 run"),
        ([*members(2), member("gated", schedulingGates=[{"name": "x"}])], "all there are"),
        ([*members(2), member("dra", resourceClaims=[{"name": "x"}])], "0 run and 2 can be tried"),
    ],
)
def test_a_gang_that_cannot_be_whole_is_not_tried_and_said_so(
    objects: list[Json], said: str
) -> None:
    decision = plan([node("a"), *objects])
    assert not decision.placements
    assert any(s.startswith("2 pending pods of gang") or "3 pending pods of gang" in s
               for s in decision.not_considered)  # fmt: skip
    assert any(said in s for s in decision.not_considered)


def test_unknown_pod_groups_are_named() -> None:
    told = [s for s in plan([node("a"), *members(2)]).not_considered if "PodGroups" in s]
    assert len(told) == 1
    known = plan([node("a"), *members(2), pod_group(1)]).not_considered
    assert not any("PodGroups" in s for s in known)


def test_kueues_total_count_is_read() -> None:
    about: Any = {
        "labels": {"kueue.x-k8s.io/pod-group-name": "g"},
        "annotations": {"kueue.x-k8s.io/pod-group-total-count": "3"},
    }
    assert not plan([node("a"), *(pod(f"p{i}", **about) for i in range(2))]).placements
    assert len(plan([node("a"), *(pod(f"p{i}", **about) for i in range(3))]).placements) == 3


def test_budgets_that_forbid_the_way_for_one_member_keep_the_whole_gang_waiting() -> None:
    guarded = {"app": "guarded"}
    objects = [
        *(node(name, gpu=1) for name in "ab"),
        node("c", gpu=2),
        pod("free", "a"),
        pod("one", "b", labels=guarded),
        *members(2, priority=100, nodeSelector={}),
        budget("none", guarded, 0),
    ]
    objects[5]["spec"]["nodeSelector"] = {"host": "a"}
    objects[6]["spec"]["nodeSelector"] = {"host": "b"}
    assert not plan(objects).steps


SWAP = [
    node("a", gpu=3),
    node("b", gpu=2),
    node("c", gpu=1),
    pod("stays", "a", owner=""),
    pod("two", "a", gpu=2, labels={"app": "guarded"}),
    pod("one", "b", labels={"app": "guarded"}),
    member("held", priority=100, nodeSelector={"host": "a"}),
    member("easy", priority=100, nodeSelector={"host": "c"}),
    budget("one", {"app": "guarded"}, 1),
]
"""Member held needs a swap of two pods that may not be down together."""


def test_a_gang_waits_as_a_whole_where_the_way_for_a_member_is_barred() -> None:
    assert not plan(SWAP).steps
    free = [o for o in SWAP if o["kind"] != "PodDisruptionBudget"]
    assert [len(step.bind) for step in plan(free).steps] == [2, 2]


def test_a_gang_runs_with_enough_where_the_way_for_one_too_many_is_barred() -> None:
    assert names(plan([*SWAP, pod_group(1)])) == ["easy c"]


def test_members_apart_from_each_other_get_a_node_each_or_none() -> None:
    three = [member(f"p{i}", **apart_members()) for i in range(3)]
    assert not plan([node("a"), node("b"), *three]).placements
    assert len({p.node for p in plan([node("a"), node("b"), node("c"), *three]).placements}) == 3


def apart_members() -> Json:
    rule = apart("x", "host")
    terms = rule["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms[0]["labelSelector"]["matchLabels"] = {LABEL: "g"}
    return rule


def test_a_plan_that_is_cut_keeps_gangs_whole() -> None:
    cluster = snapshot([*FREE_EIGHT, *members(2, gpu=4, priority=100), pod("small", gpu=0)])
    problem, roster = formulate(cluster)
    asked = Request(cluster, window=AMPLE)
    layout = find(asked, inline(time.monotonic), time.monotonic).layout.at
    for most in range(1, 9):
        cut = schedule(cluster, problem, roster, layout, most=most)
        gang = [p for p in cut.placements if p.pod.gang]
        assert (len(gang), cut.cut) == (2 if most >= 7 else 0, most < 8)


def test_a_large_gang_is_found_in_a_large_cluster() -> None:
    nodes = [node(f"n{i:02}", gpu=4) for i in range(24)]
    small = [pod(f"s{i:02}", f"n{i:02}", gpu=1) for i in range(24)]
    decision = plan([*nodes, *small, *members(16, gpu=4, priority=100)])
    assert len(decision.placements) == 16
