"""Who is left alone after earlier plans, and which plans undo one.

Covered: what of a plan was carried out, when, for whom; moves back and placements taken away. Not
covered: that the planner leaves them alone (test_rest).
"""

from typing import Any

import pytest

from fairstow.api import PackingPlan
from fairstow.cluster.times import seconds
from fairstow.packing.history import cooling, undone
from tests.packing.checker_clusters import Json, node, plan, pod, step

NOON = seconds("2026-03-01T12:00:00Z") or 0
ONE, TWO = pod("one", "a", owner="ReplicaSet/one"), pod("two", "a", owner="StatefulSet/two")
NEW = pod("new", owner="ReplicaSet/new")
NODES = [node("a"), node("b")]


def made(*steps: Json, name: str = "plan-1", **status: Any) -> PackingPlan:
    """A plan of steps with a status, if any."""
    body = plan([*NODES, ONE, TWO, NEW], *steps)
    body["metadata"]["name"] = name
    return PackingPlan.model_validate(body | ({"status": status} if status else {}))


def condition(kind: str, status: str, at: str) -> Json:
    return {"type": kind, "status": status, "reason": "X", "message": "", "lastTransitionTime": at}


def finished(*steps: Json, name: str = "plan-1") -> PackingPlan:
    """A plan carried out at 11:50."""
    done = condition("Succeeded", "True", "2026-03-01T11:50:00Z")
    started = "2026-03-01T11:40:00Z"
    return made(*steps, name=name, stepsDone=len(steps), startedAt=started, conditions=[done])


MOVE_ONE, MOVE_TWO = step([ONE], [(ONE, "b")]), step([TWO], [(TWO, "b")])
PLACE = step(bind=[(NEW, "a")])


def test_workloads_cool_down_from_the_end_of_a_plan() -> None:
    plans = [finished(MOVE_ONE, PLACE)]
    assert cooling(plans, NOON, 601) == {"team-a/ReplicaSet/one"}
    assert cooling(plans, NOON, 600) == frozenset()
    assert cooling([finished(step([TWO]), PLACE)], NOON, 900) == {"team-a/StatefulSet/two"}


def test_steps_that_were_not_reached_disturbed_nobody() -> None:
    stale = condition("Stale", "True", "2026-03-01T11:50:00Z")
    for done, workloads in ((0, {"ReplicaSet/one"}), (1, {"ReplicaSet/one", "StatefulSet/two"})):
        stopped = made(
            MOVE_ONE, MOVE_TWO, stepsDone=done, startedAt="2026-03-01T11:49:00Z", conditions=[stale]
        )
        assert cooling([stopped], NOON, 900) == {f"team-a/{w}" for w in workloads}


def test_a_plan_that_was_never_begun_disturbed_nobody() -> None:
    waiting = condition("Validated", "True", "2026-03-01T11:59:00Z")
    assert cooling([made(MOVE_ONE), made(MOVE_ONE, conditions=[waiting])], NOON, 900) == frozenset()


def test_while_a_plan_is_carried_out_no_time_passes() -> None:
    executing = condition("Executing", "True", "2026-03-01T08:00:00Z")
    going = made(MOVE_ONE, PLACE, startedAt="2026-03-01T08:00:00Z", conditions=[executing])
    assert cooling([going], NOON, 1) == {"team-a/ReplicaSet/one"}


def test_a_pod_without_an_owner_has_no_workload() -> None:
    bare = pod("bare", "a", owner="", annotations={"fairstow.dev/movable": "true"})
    body = plan([*NODES, bare, NEW], step([bare], [(bare, "b")]), PLACE)
    body["status"] = {"stepsDone": 2, "startedAt": "2026-03-01T11:59:00Z"}
    assert cooling([PackingPlan.model_validate(body)], NOON, 900) == frozenset()


def later(*steps: Json) -> PackingPlan:
    """A plan for the cluster in which all is on b."""
    there = [pod(p["metadata"]["name"], "b", owner=_owner(p)) for p in (ONE, TWO)]
    placed = pod("new", "a", owner="ReplicaSet/new")
    return PackingPlan.model_validate(plan([*NODES, *there, placed], *steps))


def _owner(item: Json) -> str:
    reference = item["metadata"]["ownerReferences"][0]
    return f"{reference['kind']}/{reference['name']}"


@pytest.mark.parametrize(
    ("steps", "within", "names"),
    [
        ([step([ONE], [(ONE, "a")])], 900, ("plan-1",)),
        ([step([ONE], [(ONE, "a")])], 600, ()),
        ([step([TWO], [(TWO, "a")])], 900, ()),
        ([step([NEW], [(NEW, "b")])], 900, ("plan-1",)),
        ([step([NEW])], 900, ("plan-1",)),
    ],
)
def test_what_undoes_a_recent_plan_is_told(
    steps: list[Json], within: int, names: tuple[str, ...]
) -> None:
    before = [finished(MOVE_ONE, PLACE), finished(MOVE_TWO, name="unrelated")]
    before = before if "two" not in str(steps) else before[:1]
    assert undone(later(*steps), before, NOON, within) == names


def test_a_plan_that_goes_on_undoes_nothing() -> None:
    onward = step([ONE], [(ONE, "c")])
    assert undone(later(onward), [finished(MOVE_ONE, PLACE)], NOON, 900) == ()
