"""Plans that free blocks: against the whole truth on tiny clusters, and against the checker.

Covered: optimum and fewest moves by brute force, limits, bounds, legality, what a block is, who
stays where it is, cut plans, claims that the checker refuses. Not covered: large clusters (the
benchmark), texts (tests/cli), rules of arrival beyond room and selectors (the rules' own tests).
"""

import copy
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.packing.checker import check
from fairstow.packing.defragment.counting import CountingBound
from fairstow.packing.defragment.phases import Found
from fairstow.packing.defragment.planner import in_order, state_of
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.model import Decision, Goal, Proof, Request
from fairstow.packing.outcome import Outcome
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, inline
from fairstow.packing.task import Task
from fairstow.packing.worker import Worker
from tests.packing.checker_clusters import GPU, Json, budget, node, pod, rules_broken, step
from tests.packing.checker_clusters import plan as written
from tests.packing.clusters import snapshot

AMPLE = 30.0
slow = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
PRODUCT = "nvidia.com/gpu.product"


def plan(objects: list[Json], **request: object) -> Decision:
    """Decide in this process and have the checker accept the plan."""
    given_: dict[str, object] = {"window": AMPLE, "goal": Goal.DEFRAGMENT} | request
    decision = decide(
        Request(snapshot(objects), **given_),  # type: ignore[arg-type]
        inline(time.monotonic),
        time.monotonic,
    )
    verdict = check(objects, to_plan(decision).to_object(), budgets_known=decision.budgets_known)
    assert verdict.accepted, verdict.violations
    return decision


def after(decision: Decision) -> tuple[int, ...]:
    return tuple(b.after for b in decision.blocks)


def gpu_node(name: str, gpu: int, product: str = "A", **more: object) -> Json:
    item = node(name, gpu=gpu, **more)  # type: ignore[arg-type]
    item["metadata"]["labels"][PRODUCT] = product
    return item


@st.composite
def clusters(draw: st.DrawFn, *, budgets: bool = False) -> list[Json]:
    """Two to four nodes of two products, up to six running pods where they fit."""
    sizes = draw(st.lists(st.sampled_from((2, 4, 8)), min_size=2, max_size=4))
    room, objects = {}, list[Json]()
    for i, size in enumerate(sizes):
        product = draw(st.sampled_from("AAB"))
        shut = {"unschedulable": True} if draw(st.integers(0, 7)) == 0 else {}
        cpu = draw(st.sampled_from(("4", "16")))
        objects.append(gpu_node(f"n{i}", size, product, cpu=cpu, **shut))
        room[f"n{i}"] = [size, int(cpu)]
    for i in range(draw(st.integers(1, 6))):
        on, gpu = draw(st.sampled_from(sorted(room))), draw(st.integers(0, 4))
        if gpu <= room[on][0] and room[on][1]:
            room[on] = [room[on][0] - gpu, room[on][1] - 1]
            stays = draw(st.integers(0, 4)) == 0
            owner = "" if stays else "ReplicaSet/web"
            labels = {"app": draw(st.sampled_from("ab"))}
            objects.append(pod(f"run-{i}", on, gpu=gpu, labels=labels, owner=owner))
            if draw(st.integers(0, 5)) == 0:
                objects[-1]["spec"]["nodeSelector"] = {"host": on}
    if draw(st.booleans()):
        objects.append(pod("wait", gpu=draw(st.integers(1, 8))))
    if budgets:
        objects.append(budget("guard", {"app": "a"}, draw(st.integers(0, 2))))
    return objects


def truth(objects: list[Json], sizes: Sequence[int], most: int | None) -> tuple[int, ...]:
    """Try every layout: blocks by size, then the fewest moves (below 0)."""
    nodes = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Node"}
    pods = [o for o in objects if o["kind"] == "Pod"]
    running = [p for p in pods if "nodeName" in p["spec"]]
    held_fast = {
        label
        for o in objects
        if o["kind"] == "PodDisruptionBudget" and not o["status"]["disruptionsAllowed"]
        for label in o["spec"]["selector"]["matchLabels"].values()
    }
    asking = [p for p in pods if gpus(p)]
    need = len(asking) * 1000 // max(1, sum(map(gpus, asking)))
    found = []
    for layout in itertools.product(*(places(p, nodes, held_fast) for p in running)):
        moved = [p for p, on in zip(running, layout, strict=True) if p["spec"]["nodeName"] != on]
        if most is not None and len(moved) > most:
            continue
        held = {n: [p for p, on in zip(running, layout, strict=True) if on == n] for n in nodes}
        arrived = {on for p, on in zip(running, layout, strict=True) if p in moved}
        if all(fits(nodes[n], held[n]) for n in arrived):
            counts = (sum(free(nodes[n], held[n], s, need) for n in nodes) for s in sizes)
            found.append((*counts, -len(moved)))
    return max(found)


def gpus(item: Json) -> int:
    return int(item["spec"]["containers"][0]["resources"]["requests"][GPU])


def places(item: Json, nodes: dict[str, Json], held_fast: set[str]) -> list[str]:
    here = item["spec"]["nodeName"]
    if not item["metadata"]["ownerReferences"] or item["metadata"]["labels"]["app"] in held_fast:
        return [here]
    wanted = item["spec"].get("nodeSelector", {}).items()
    product = nodes[here]["metadata"]["labels"][PRODUCT]
    return [
        n
        for n, there in nodes.items()
        if n == here
        or (
            wanted <= there["metadata"]["labels"].items()
            and not there["spec"].get("unschedulable")
            and (there["metadata"]["labels"][PRODUCT] == product or not gpus(item))
        )
    ]


def fits(item: Json, pods: list[Json]) -> bool:
    room = item["status"]["allocatable"]
    return sum(map(gpus, pods)) <= int(room[GPU]) and len(pods) <= int(room["cpu"])


def free(item: Json, pods: list[Json], size: int, need: int) -> int:
    if item["spec"].get("unschedulable"):
        return 0
    room = item["status"]["allocatable"]
    total, cpu = int(room[GPU]), int(room["cpu"]) * 1000
    each = size * (min(need, cpu * 3 // (4 * total)) // 100 * 100)
    left = (total - sum(map(gpus, pods))) // size
    return min(left, (cpu - 1000 * len(pods)) // each) if each else left


@slow
@given(clusters(), st.sampled_from((None, 0, 1, 2, 3)))
def test_without_budgets_the_plan_is_the_optimum(objects: list[Json], most: int | None) -> None:
    decision = plan(objects, max_moves=most)
    sizes = [b.size for b in decision.blocks]
    assert (*after(decision), -len(decision.moves)) == truth(objects, sizes, most)
    assert all(b.proof is Proof.OPTIMAL for b in decision.blocks)
    assert decision.proved_least_cost


@slow
@given(clusters(budgets=True), st.sampled_from((None, 1, 3)), st.sampled_from((0.02, 0.1, 1.0)))
def test_every_plan_is_legal_never_worse_and_never_disproves_its_bounds(
    objects: list[Json], most: int | None, window: float
) -> None:
    decision = plan(objects, max_moves=most, window=window)
    before = tuple(b.before for b in decision.blocks)
    assert after(decision) >= before
    assert after(decision) > before or not decision.moves
    assert most is None or len(decision.moves) <= most
    assert not decision.placements
    assert not decision.evictions
    best = truth(objects, [b.size for b in decision.blocks], most)
    for level, block in enumerate(decision.blocks):
        assert block.bound >= best[level]
        if block.after != best[level]:
            break  # bounds of smaller sizes are given what this one got


@slow
@given(clusters(), st.sampled_from((None, 1, 2)))
def test_counting_never_bounds_too_low(objects: list[Json], most: int | None) -> None:
    state = state_of(Request(snapshot(objects)))
    found, rooms = state.blocks, Incumbent(state.problem, {}).room
    now = [
        [found.count(n, i, room) for i in range(len(found.sizes))] for n, room in enumerate(rooms)
    ]
    counting = CountingBound(found, now, most)
    best = truth(objects, [b.size for b in found.sizes], most)
    for level in range(len(found.sizes)):
        bound = counting.most(level, AMPLE)
        assert bound is not None
        assert bound >= best[level]
        counting.hold(level, best[level])
    least = counting.least_cost(AMPLE)
    assert least is not None
    assert least <= -best[-1]


@slow
@given(clusters(), st.sampled_from((None, 1, 2)))
def test_a_bound_holds_whatever_was_found(objects: list[Json], most: int | None) -> None:
    search = inline(time.monotonic)

    def forgetful(task: Task, seconds: float) -> Outcome:
        return replace(search(task, seconds), changes={})

    asked = Request(snapshot(objects), goal=Goal.DEFRAGMENT, window=AMPLE, max_moves=most)
    decision = decide(asked, forgetful, time.monotonic)
    best = truth(objects, [b.size for b in decision.blocks], most)
    assert decision.blocks[0].bound >= best[0]


HALVES = [
    *(gpu_node(name, 8) for name in "abc"),
    pod("a", "a", gpu=4),
    pod("b", "b", gpu=4),
    pod("c", "c", gpu=2),
    pod("big", gpu=8, priority=100),
    budget("other", {"app": "other"}, 1),
]


def test_the_largest_block_is_freed_with_the_fewest_moves() -> None:
    decision = plan(HALVES, max_moves=1)
    assert [(b.size, b.before, b.after, b.bound) for b in decision.blocks] == [
        (8, 0, 1, 1),
        (4, 3, 3, 3),
        (2, 7, 7, 7),
    ]
    assert len(decision.moves) == 1
    assert decision.proved_least_cost


def test_sizes_asked_for_are_the_only_ones_freed() -> None:
    decision = plan(HALVES, blocks=(6,))
    assert [(b.size, b.before, b.after) for b in decision.blocks] == [(6, 1, 2)]
    assert len(decision.moves) == 1
    assert not plan(HALVES, blocks=(16,)).blocks


def test_pods_stay_on_the_product_they_run_on() -> None:
    objects = [gpu_node("a", 8, "H100"), gpu_node("b", 8, "T4"), pod("x", "a"), pod("y", "b")]
    assert not plan(objects).moves
    objects[1]["metadata"]["labels"][PRODUCT] = "H100"
    assert len(plan(objects).moves) == 1


def test_a_node_without_cpu_left_has_no_free_block() -> None:
    # Two pods ask for one CPU and one GPU each: a block of 4 takes 3 CPUs on a node of 4.
    crowd = [pod(f"cpu{i}", "a", gpu=0) for i in range(2)]
    objects = [gpu_node("a", 4, cpu="4"), gpu_node("b", 4, cpu="8"), *crowd, pod("x", "b")]
    decision = plan(objects, blocks=(4,))
    assert [(b.before, b.after) for b in decision.blocks] == [(0, 1)]
    assert len(decision.moves) == 1


def test_slices_of_a_device_are_no_blocks() -> None:
    item = node("a")
    item["status"]["allocatable"] |= {"nvidia.com/mig-1g.5gb": "56", GPU: "1"}
    assert not plan([item, pod("x", "a")]).blocks


def test_a_way_that_budgets_bar_moves_nobody() -> None:
    labels = {"app": "guarded"}
    objects = [
        gpu_node("a", 4, pods=2),
        gpu_node("b", 4, pods=2),
        pod("a1", "a", gpu=3, labels=labels),
        pod("a2", "a", gpu=1, labels=labels),
        pod("b1", "b", gpu=2, labels=labels, owner="ReplicaSet/b"),
        pod("b2", "b", gpu=1, labels=labels, owner=""),
        budget("guard", labels, 1),
    ]
    decision = plan(objects, blocks=(1,))
    assert after(decision) >= tuple(b.before for b in decision.blocks)
    assert all(len(s.evict) == 1 for s in decision.steps)


def test_steps_end_where_most_blocks_are_free() -> None:
    idle = pod("idle", "x", gpu=0)
    idle["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "60"
    asked = Request(snapshot([*HALVES, node("x", gpu=0), node("y", gpu=0), idle]))
    state = state_of(asked)
    group = {
        p.name: g for g, at in enumerate(state.roster.running) for ps in at.values() for p in ps
    }
    at = {name: n for n, name in enumerate(state.problem.nodes)}
    fours = group["a"]
    changes = {(fours, at["a"]): 0, (fours, at["b"]): 2}
    further = {(group["idle"], at["x"]): 0, (group["idle"], at["y"]): 1}
    for layout in (changes, changes | further):
        done, totals = in_order(asked, state, Found(layout, (1, 3, 7), (1, 3, 7), 1))
        assert [m.pod.name for m in done.moves] == ["a"]
        assert [len(step.bind) for step in done.steps] == [1]
        assert totals == (1, 3, 7)


def test_a_worker_frees_blocks_too() -> None:
    asked = Request(snapshot(HALVES), goal=Goal.DEFRAGMENT, window=AMPLE)
    with Worker() as worker:
        assert after(decide(asked, worker, time.monotonic)) == (1, 3, 7)
        late = Request(asked.snapshot, goal=Goal.DEFRAGMENT, window=0.0)
        assert after(decide(late, worker, time.monotonic)) == (0, 3, 7)


def claim_one_more(spec: Json) -> None:
    spec["blocks"][0] |= {"after": 2, "bound": 2}


def claim_fewer_before(spec: Json) -> None:
    spec["blocks"][1]["before"] -= 1


def claim_another_size(spec: Json) -> None:
    spec["blocks"][0]["size"] = 6


def claim_another_resource(spec: Json) -> None:
    spec["blocks"][0]["resource"] = "amd.com/gpu"


def bound_too_low(spec: Json) -> None:
    spec["blocks"][0] |= {"bound": 0, "gapBlocks": -1}


def call_it_a_gap(spec: Json) -> None:
    spec["blocks"][0]["proof"] = "Gap"


def list_twice(spec: Json) -> None:
    spec["blocks"].append(spec["blocks"][-1])


def list_smallest_first(spec: Json) -> None:
    spec["blocks"].reverse()


def call_it_a_placement(spec: Json) -> None:
    spec["goal"] = "Place"


def leave_the_moves_and_claim_nothing(spec: Json) -> None:
    spec["blocks"] = []


MUTATIONS = [
    claim_one_more,
    claim_fewer_before,
    claim_another_size,
    claim_another_resource,
    bound_too_low,
    call_it_a_gap,
    list_twice,
    list_smallest_first,
    call_it_a_placement,
    leave_the_moves_and_claim_nothing,
]


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_a_mutated_claim_is_refused(mutate: Callable[[Json], None]) -> None:
    wire = to_plan(plan(HALVES)).to_object()
    assert rules_broken(HALVES, wire) == set()
    mutated = copy.deepcopy(wire)
    mutate(mutated["spec"])
    assert mutated != wire
    assert rules_broken(HALVES, mutated)


def test_a_plan_to_defragment_places_and_evicts_nobody() -> None:
    placing = decide(
        Request(snapshot(HALVES), window=AMPLE, max_moves=1),
        inline(time.monotonic),
        time.monotonic,
    )
    wire = to_plan(placing).to_object()
    wire["spec"]["goal"] = "Defragment"
    assert placing.placements
    assert "GoalMismatch" in rules_broken(HALVES, wire)


def test_a_plan_that_costs_a_larger_block_is_refused() -> None:
    moved = pod("x", "b", gpu=2)
    objects = [gpu_node("a", 8), gpu_node("b", 8), moved, pod("y", "b", gpu=2)]
    tallies = [
        {"resource": GPU, "size": size, "before": before, "after": then, "bound": then}
        | {"proof": "Optimal", "gapBlocks": 0}
        for size, before, then in ((8, 1, 0), (3, 3, 4))
    ]
    worse = written(objects, step([moved], [(moved, "a")]), goal="Defragment", blocks=tallies)
    assert rules_broken(objects, worse) == {"NoBlockFreed"}


def test_a_move_to_another_product_is_refused() -> None:
    objects = copy.deepcopy(HALVES)
    wire = to_plan(plan(objects)).to_object()
    gone = wire["spec"]["moves"][0]["from"]
    other = next(o for o in objects if o["metadata"]["name"] == gone)
    other["metadata"]["labels"][PRODUCT] = "B"
    assert rules_broken(objects, wire) == {"ProductChanged"}
