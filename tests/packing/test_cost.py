"""What disturbing a pod costs: the work it loses, who loses none, and which pods plans spare.

Covered: units, classes, annotations, unknown times, that plan and checker agree on all of it, and
that the cheapest of equal pods move (brute force). Not covered: other clusters (test_planner).
"""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.packing.checker import check
from fairstow.packing.checker.costs import _GPUS
from fairstow.packing.cost import MOST_WORK, cost, quantised, work_lost
from fairstow.packing.formulate import formulate
from fairstow.packing.limits import Limits
from fairstow.packing.model import Order, Request, RuleSet
from fairstow.packing.objective import levels
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, inline
from fairstow.packing.relaxation import Relaxation, cells
from tests.packing.checker_clusters import GPU, Json, ago, beating, node, plan, pod, step
from tests.packing.clusters import best, snapshot

CHECKPOINT = "fairstow.dev/checkpointed-at"
NONE = {"fairstow.dev/work-lost": "none"}


def lost(item: Json, *, now: bool = True) -> int:
    """The work of a pod that runs on node a; the checker must say the same."""
    objects = [beating(node("a")) if now else node("a"), node("b"), item]
    found = snapshot(objects)
    work = work_lost(found.pods[0], found)
    moved = check(objects, plan(objects, step([item], [(item, "b")])), budgets_known=True)
    assert moved.cost == 1 + work
    return work


def trainer(hours: float | None, *, gpu: int = 4, **more: Any) -> Json:
    return pod("x", "a", **({"owner": "StatefulSet/train"} | more), gpu=gpu, hours=hours)


@pytest.mark.parametrize(
    ("gpu", "hours", "units"),
    [(4, 0.24, 0), (4, 0.25, 1), (4, 0.99, 2), (4, 1, 4), (8, 7.9, 32), (8, 8, 64), (8, 900, 64),
     (0, 900, 0)],
)  # fmt: skip
def test_work_is_gpu_hours_down_to_a_power_of_two(gpu: int, hours: float, units: int) -> None:
    assert lost(trainer(hours, gpu=gpu)) == units


@given(st.integers(0, 10_000))
def test_there_are_few_classes_of_work(gpu_hours: int) -> None:
    units = quantised(gpu_hours)
    assert units in (0, 1, 2, 4, 8, 16, 32, MOST_WORK)
    assert units <= gpu_hours < 2 * units or units in (0, MOST_WORK)


def test_what_serves_loses_nothing_and_whoever_says_so() -> None:
    assert lost(trainer(8, owner="ReplicaSet/web")) == 0
    assert lost(trainer(8, annotations=NONE)) == 0
    assert lost(trainer(8, annotations={"fairstow.dev/work-lost": "all"})) == 32
    movable = {"fairstow.dev/movable": "true"}
    assert lost(trainer(8, owner="", annotations=movable)) == 32


def test_a_checkpoint_saves_what_was_done_before() -> None:
    for saved, units in ((1, 4), (9, 32), (-1, 0)):
        assert lost(trainer(8, annotations={CHECKPOINT: ago(saved)})) == units
    assert lost(trainer(8, owner="ReplicaSet/x", annotations={CHECKPOINT: ago(1)})) == 4
    assert lost(trainer(8, annotations={CHECKPOINT: "an hour ago"})) == 32


def test_what_is_not_known_is_taken_to_be_the_most() -> None:
    assert lost(trainer(None)) == MOST_WORK
    assert lost(trainer(None), now=False) == MOST_WORK
    assert lost(trainer(None, annotations={CHECKPOINT: ago(1)})) == 4
    assert lost(trainer(None, annotations={CHECKPOINT: ago(1)}), now=False) == MOST_WORK


def test_planner_and_checker_count_the_same_resources_as_gpus() -> None:
    for name in _GPUS:
        item = trainer(2, gpu=0)
        item["spec"]["containers"][0]["resources"]["requests"][name + "x"] = "2"
        assert lost(item) == 4
    other = trainer(2, gpu=0)
    other["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"] = "2"
    assert lost(other) == 0


def test_an_eviction_for_good_is_dearer_than_any_move() -> None:
    found = snapshot([beating(node("a")), trainer(900)])
    [running] = found.pods
    idle = snapshot([node("a"), pod("y", "a")]).pods[0]
    assert cost([running], [], RuleSet.PRODUCT, found) < cost([], [idle], RuleSet.PRODUCT, found)
    assert cost([running], [running], RuleSet.PAPER, found) == 3
    assert GPU in dict(running.shape.requests)


@st.composite
def crowds(draw: st.DrawFn) -> list[Json]:
    """Three nodes with a hole each, pods that differ by their work alone, and a larger pod."""
    hours = st.lists(st.sampled_from((0, 1, 2, 5, 20)), min_size=1, max_size=2)
    objects = []
    for name in "abc":
        crowd = draw(hours)
        objects.append(beating(node(name, gpu=len(crowd) + 1)))
        for i, each in enumerate(crowd):
            objects.append(pod(f"{name}{i}", name, owner="StatefulSet/train", hours=each))
    return [*objects, pod("large", gpu=draw(st.integers(2, 3)), priority=draw(st.integers(0, 1)))]


@settings(deadline=None, max_examples=60)
@given(crowds())
def test_of_equal_pods_those_that_lose_least_move(objects: list[Json]) -> None:
    asked, truth = Request(snapshot(objects), window=30.0), best(objects)
    decision = decide(asked, inline(time.monotonic), time.monotonic)
    assert tuple(t.after for t in decision.tiers) == truth.placed
    assert decision.cost == truth.cost
    assert decision.proved_least_cost
    assert check(objects, to_plan(decision).to_object(), budgets_known=False).accepted


@settings(deadline=None, max_examples=60)
@given(crowds())
def test_work_by_cells_of_equal_nodes_bounds_from_below(objects: list[Json]) -> None:
    problem, _ = formulate(snapshot(objects))
    order = levels(Order.PLACE_FIRST, problem.priorities)
    by_cell = Relaxation(problem, Limits(), cells(problem), by_node=False)
    for level, most in zip(order, best(objects).placed, strict=False):
        by_cell.hold(level, most)
    bound = by_cell.bound(order[-1], 10.0)
    assert bound is not None
    assert bound <= best(objects).cost
