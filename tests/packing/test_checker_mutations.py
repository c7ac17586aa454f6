"""Legal plans of generated clusters are accepted; every mutation that changes meaning is refused.

The plans come from the naive planner of checker_clusters: placements, chains of a move, swaps.
Leaves out which rule a mutation breaks: the other checker tests hold each rule by itself.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.packing.checker_clusters import (
    DISK,
    TRAITS,
    Json,
    Naive,
    ago,
    beating,
    budget,
    node,
    plan,
    pod,
    replays,
    rules_broken,
    step,
    with_trait,
)

OWNERS = ["ReplicaSet/web", "StatefulSet/train"]
LABELS = [{"app": "web"}, {"app": "db"}]


@st.composite
def clusters(draw: st.DrawFn) -> list[Json]:
    """Two to four nearly full nodes, up to nine running and up to four pending pods.

    Most pods of a cluster have one of at most two traits, so that these meet.
    """
    traits: list[str | None] = draw(st.lists(st.sampled_from(TRAITS), max_size=2))
    kinds = st.sampled_from([None, *traits, *traits])

    def maybe(item: Json) -> Json:
        trait = draw(kinds)
        return with_trait(item, trait) if trait else item

    objects = [beating(node(name, gpu=4, pods=6)) for name in "abcd"[: draw(st.integers(2, 4))]]
    free = {item["metadata"]["name"]: 4 for item in objects}
    for number in range(draw(st.integers(2, 9))):
        name = draw(st.sampled_from(sorted(free)))
        gpu = draw(st.integers(1, 3))
        if gpu <= free[name]:
            free[name] -= gpu
            labels = draw(st.sampled_from(LABELS))
            priority = draw(st.sampled_from([0, 10]))
            owner, hours = draw(st.sampled_from(OWNERS)), draw(st.sampled_from([0, 1, 30]))
            item = pod(f"r{number}", name, gpu=gpu, priority=priority, labels=labels, owner=owner,
                       hours=hours)  # fmt: skip
            objects.append(maybe(item))
    for number in range(draw(st.integers(1, 4))):
        gpu, priority = draw(st.integers(1, 4)), draw(st.sampled_from([0, 10]))
        objects.append(maybe(pod(f"p{number}", gpu=gpu, priority=priority)))
    objects += copy.deepcopy(DISK)
    if draw(st.booleans()):
        objects.append(budget("web", LABELS[0], draw(st.integers(1, 2))))
    return objects


@st.composite
def legal_plans(draw: st.DrawFn) -> tuple[list[Json], Json]:
    """A cluster and a plan that does something."""
    objects = draw(clusters())
    steps = Naive(objects).steps()
    assume(bool(steps))
    return objects, plan(objects, *steps)


Mutation = Callable[[Json, st.DataObject], Any]


def some_bind(spec: Json, data: st.DataObject) -> Json:
    found: Json = data.draw(st.sampled_from([b for s in spec["steps"] for b in s["bind"]]))
    return found


def some_change(spec: Json, data: st.DataObject) -> Json:
    found: Json = data.draw(st.sampled_from(spec["placements"] + spec["moves"]))
    return found


def bind_to_another_node(spec: Json, data: st.DataObject) -> None:
    some_bind(spec, data)["node"] += "x"


def swap_two_targets(spec: Json, data: st.DataObject) -> None:
    one, two = some_bind(spec, data), some_bind(spec, data)
    assume(one["node"] != two["node"])
    one["node"], two["node"] = two["node"], one["node"]


def list_another_node(spec: Json, data: st.DataObject) -> None:
    change = some_change(spec, data)
    change["to" if "to" in change else "node"] += "x"


def send_everywhere_to_a_node_that_is_not_there(spec: Json, data: st.DataObject) -> None:
    change = some_change(spec, data)
    change["to" if "to" in change else "node"] = "nowhere"
    for bind in (b for s in spec["steps"] for b in s["bind"]):
        if bind["uid"] == change["uid"]:
            bind["node"] = "nowhere"


def drop_a_step(spec: Json, data: st.DataObject) -> None:
    del spec["steps"][data.draw(st.integers(0, len(spec["steps"]) - 1))]


def repeat_a_step(spec: Json, data: st.DataObject) -> None:
    spec["steps"].append(data.draw(st.sampled_from(spec["steps"])))


def repeat_a_change(spec: Json, data: st.DataObject) -> None:
    change = some_change(spec, data)
    spec["moves" if "to" in change else "placements"].append(change)


def drop_a_change(spec: Json, data: st.DataObject) -> None:
    change = some_change(spec, data)
    spec["moves" if "to" in change else "placements"].remove(change)


def change_a_uid_in_a_step(spec: Json, data: st.DataObject) -> None:
    some_bind(spec, data)["uid"] += "x"


def change_a_uid_in_a_list(spec: Json, data: st.DataObject) -> None:
    some_change(spec, data)["uid"] += "x"


def change_a_uid_everywhere(spec: Json, data: st.DataObject) -> None:
    uid = some_change(spec, data)["uid"]
    entries = [*spec["placements"], *spec["moves"]]
    entries += [e for s in spec["steps"] for e in (*s["evict"], *s["bind"])]
    for entry in entries:
        if entry["uid"] == uid:
            entry["uid"] = uid + "x"


def change_an_owner(spec: Json, data: st.DataObject) -> None:
    some_change(spec, data)["owner"] = "ReplicaSet/other"


def evict_without_return(spec: Json, data: st.DataObject) -> None:
    assume(bool(spec["moves"]))
    uid = data.draw(st.sampled_from(spec["moves"]))["uid"]
    for each in spec["steps"]:
        each["bind"] = [b for b in each["bind"] if b["uid"] != uid]
    spec["steps"] = [s for s in spec["steps"] if s["evict"] or s["bind"]]


def bind_without_eviction(spec: Json, data: st.DataObject) -> None:
    assume(bool(spec["moves"]))
    uid = data.draw(st.sampled_from(spec["moves"]))["uid"]
    for each in spec["steps"]:
        each["evict"] = [e for e in each["evict"] if e["uid"] != uid]


def change_a_tier(spec: Json, data: st.DataObject) -> None:
    tier = data.draw(st.sampled_from(spec["tiers"]))
    key = data.draw(st.sampled_from(["placedBefore", "placedAfter", "pending", "bound", "gapPods"]))
    tier[key] += data.draw(st.sampled_from([-1, 1]))


def flip_a_proof(spec: Json, data: st.DataObject) -> None:
    data.draw(st.sampled_from(spec["tiers"]))["proof"] = "Gap"


def change_the_cost(spec: Json, data: st.DataObject) -> None:
    cost = data.draw(st.integers(0, spec["cost"] + 9))
    assume(cost != spec["cost"])
    spec["cost"] = cost


def forget_the_work(spec: Json, data: st.DataObject) -> None:
    restarts = len(spec["moves"]) + 100 * len(spec["evictions"])
    assume(spec["cost"] != restarts)
    spec["cost"] = restarts


def take_it_later(spec: Json, data: st.DataObject) -> None:
    spec["takenAt"] = ago(-data.draw(st.integers(1, 100)))


def demand_an_age_that_nobody_has(spec: Json, data: st.DataObject) -> None:
    assume(bool(spec["moves"]))
    spec["minimumAge"] = data.draw(st.sampled_from(["51h", "1h9999999ms", "99999h", "-1s", "1d"]))


MUTATIONS = [
    bind_to_another_node,
    swap_two_targets,
    list_another_node,
    send_everywhere_to_a_node_that_is_not_there,
    drop_a_step,
    repeat_a_step,
    repeat_a_change,
    drop_a_change,
    change_a_uid_in_a_step,
    change_a_uid_in_a_list,
    change_a_uid_everywhere,
    change_an_owner,
    evict_without_return,
    bind_without_eviction,
    change_a_tier,
    flip_a_proof,
    change_the_cost,
    forget_the_work,
    take_it_later,
    demand_an_age_that_nobody_has,
]

SLOW_DRAWS = settings(
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None
)


@SLOW_DRAWS
@given(legal_plans())
def test_legal_plans_are_accepted(made: tuple[list[Json], Json]) -> None:
    objects, a_plan = made
    assert rules_broken(objects, a_plan) == set()


@pytest.mark.parametrize("mutate", MUTATIONS)
@settings(SLOW_DRAWS, max_examples=25)
@given(made=legal_plans(), data=st.data())
def test_a_mutated_plan_is_refused(
    mutate: Mutation, made: tuple[list[Json], Json], data: st.DataObject
) -> None:
    objects, a_plan = made
    mutated = copy.deepcopy(a_plan)
    mutate(mutated["spec"], data)
    assert mutated != a_plan
    assert rules_broken(objects, mutated)


@SLOW_DRAWS
@given(legal_plans(), st.data())
def test_pods_that_are_a_gang_are_placed_all_or_none(
    made: tuple[list[Json], Json], data: st.DataObject
) -> None:
    objects, a_plan = made
    pending = [o for o in objects if o["kind"] == "Pod" and "nodeName" not in o["spec"]]
    members = data.draw(st.lists(st.sampled_from(pending), min_size=1, unique_by=id))
    placed = {p["uid"] for p in a_plan["spec"]["placements"]}
    for member in members:
        member["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] = "g"
    split = len({member["metadata"]["uid"] in placed for member in members}) > 1
    assert rules_broken(objects, a_plan) == ({"GangSplit"} if split else set())


@SLOW_DRAWS
@given(legal_plans(), st.data())
def test_another_order_is_accepted_exactly_if_it_is_feasible(
    made: tuple[list[Json], Json], data: st.DataObject
) -> None:
    objects, a_plan = made
    steps = data.draw(st.permutations(a_plan["spec"]["steps"]))
    a_plan["spec"]["steps"] = steps
    assert (not rules_broken(objects, a_plan)) == replays(objects, steps)


@SLOW_DRAWS
@given(legal_plans())
def test_steps_put_together_are_accepted_exactly_if_they_are_feasible(
    made: tuple[list[Json], Json],
) -> None:
    objects, a_plan = made
    steps = a_plan["spec"]["steps"]
    together = {key: [e for s in steps for e in s[key]] for key in ("evict", "bind")}
    a_plan["spec"]["steps"] = [together]
    assert (not rules_broken(objects, a_plan)) == replays(objects, [together])


def test_the_naive_planner_knows_placements_chains_and_swaps() -> None:
    small, large, new = pod("small", "b", gpu=2), pod("large", "a", gpu=3), pod("new", gpu=2)
    for nodes, kind in (
        ([node("a", gpu=5), node("b", gpu=2)], (0, 1)),
        ([node("a", gpu=4), node("b", gpu=5)], (0, 1)),
        ([node("a", gpu=3), node("b", gpu=3), node("c", gpu=1)], None),
        ([node("a", gpu=6), node("b", gpu=2)], (0, 1)),
        ([node("a", gpu=4), node("b", gpu=3)], (2, 3)),
    ):
        objects = [*nodes, small, large, new]
        kinds = [(len(s["evict"]), len(s["bind"])) for s in Naive(objects).steps()]
        assert kinds == ([kind] if kind else [])
    objects = [
        node("a", gpu=4),
        node("b", gpu=4),
        pod("one", "a"),
        pod("two", "b"),
        pod("p", gpu=4),
    ]
    [chain] = Naive(objects).steps()
    assert (len(chain["evict"]), len(chain["bind"])) == (1, 2)


def test_a_swap_taken_apart_has_no_room() -> None:
    small, large, new = pod("small", "b", gpu=2), pod("large", "a", gpu=3), pod("new", gpu=2)
    objects = [node("a", gpu=4), node("b", gpu=3), small, large, new]
    apart = step([small], [(small, "a")]), step([large], [(large, "b"), (new, "a")])
    assert rules_broken(objects, plan(objects, *apart)) == {"InsufficientResources"}
    assert rules_broken(objects, plan(objects, *Naive(objects).steps())) == set()
