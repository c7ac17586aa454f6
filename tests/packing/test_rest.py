"""Pods that are left alone for now: too young, or of a workload that was disturbed.

Covered: the planner, the plan's own words, and the checker's view of minimum ages. Not covered:
which workloads cool down (test_history).
"""

import time

import pytest

from fairstow.cluster.movable import Movability
from fairstow.packing.checker import check
from fairstow.packing.model import Decision, Request
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, inline
from tests.packing.checker_clusters import Json, ago, beating, node, pod, rules_broken
from tests.packing.clusters import snapshot


def halves(hours_a: float | None, hours_b: float | None) -> list[Json]:
    """Two half-empty nodes and a pod that needs a whole one."""
    return [
        beating(node("a", gpu=2)),
        beating(node("b", gpu=2)),
        pod("on-a", "a", hours=hours_a, owner="ReplicaSet/a"),
        pod("on-b", "b", hours=hours_b, owner="ReplicaSet/b"),
        pod("large", gpu=2, priority=100),
    ]


def plan(objects: list[Json], **request: object) -> Decision:
    asked = Request(snapshot(objects), **({"window": 30.0} | request))  # type: ignore[arg-type]
    decision = decide(asked, inline(time.monotonic), time.monotonic)
    wire = to_plan(decision).to_object()
    assert check(objects, wire, budgets_known=decision.budgets_known).accepted
    return decision


def moved(decision: Decision) -> list[str]:
    return [m.pod.name for m in decision.moves]


@pytest.mark.parametrize(("a", "b", "who"), [(0.1, 1, ["on-b"]), (1, 0.1, ["on-a"])])
def test_the_young_stay(a: float, b: float, who: list[str]) -> None:
    decision = plan(halves(a, b), min_age=600)
    assert moved(decision) == who
    left = next(n for n in ("on-a", "on-b") if [n] != who)
    assert (
        f"1 running pod left alone for now, because it is younger than 10m (team-a/{left})"
        in decision.not_considered
    )


def test_an_age_that_is_not_known_is_none() -> None:
    decision = plan(halves(None, None), min_age=1)
    assert not decision.steps
    assert any("each because its age isn't known" in said for said in decision.not_considered)


def test_without_a_minimum_age_the_young_may_move() -> None:
    assert len(plan(halves(0, 0)).moves) == 1


def test_what_cools_down_stays() -> None:
    decision = plan(halves(1, 1), cooling=frozenset({"team-a/ReplicaSet/a"}))
    assert moved(decision) == ["on-b"]
    assert any("its workload was disturbed a short while ago" in s for s in decision.not_considered)
    both = frozenset({"team-a/ReplicaSet/a", "team-a/ReplicaSet/b"})
    assert not plan(halves(1, 1), cooling=both).steps
    assert len(plan(halves(1, 1), cooling=frozenset({"other/ReplicaSet/a"})).moves) == 1


def test_a_lasting_reason_is_told_before_a_passing_one() -> None:
    found = snapshot([beating(node("a")), pod("x", "a", owner="", hours=0)])
    refusal = Movability(found, min_age=600).refusal(found.pods[0])
    assert refusal == "no controller would recreate it"


def test_the_checker_holds_a_plan_to_its_minimum_age() -> None:
    objects = halves(0.5, 0.5)
    wire = to_plan(plan(objects, min_age=1800)).to_object()
    assert wire["spec"]["minimumAge"] == "30m"
    assert wire["spec"]["takenAt"] == ago(0)
    wire["spec"]["minimumAge"] = "30m1s"
    assert rules_broken(objects, wire, budgets_known=False) == {"TooYoung"}
    wire["spec"]["minimumAge"] = "31"
    assert rules_broken(objects, wire, budgets_known=False) == {"PlanShape"}


def test_the_checker_knows_when_the_input_was_taken() -> None:
    objects = halves(0.5, 0.5)
    wire = to_plan(plan(objects)).to_object()
    wire["spec"]["takenAt"] = ago(-1)
    assert rules_broken(objects, wire, budgets_known=False) == {"TakenLater"}
    wire["spec"] |= {"takenAt": ago(0.25), "minimumAge": "20m"}
    assert rules_broken(objects, wire, budgets_known=False) == {"TooYoung"}
    wire["spec"]["takenAt"] = "today"
    assert rules_broken(objects, wire, budgets_known=False) == {"PlanShape"}
