"""Policies in mode Auto on a real API server and scheduler: stuck, planned, carried out, running.

Nobody approves anything here. Covered: the whole loop; evictions for good, as few as needed;
preemption, vetoed while a plan serves the pod and else left to the scheduler; suspension and
maintenance windows in mid-plan; with `make e2e-full`, ten rounds of churn without ping-pong.
Not covered: what a policy plans, and when (e2e/test_policies.py, tests/packing/policy).
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from e2e.execution.work import Work, terminating

if TYPE_CHECKING:
    from e2e.execution.scene import Scene

pytestmark = pytest.mark.e2e

STAYS = {"annotations": {"fairstow.dev/do-not-disrupt": "true"}}
OPERATOR = "system:serviceaccount:fairstow-system:fairstow-operator"
SETTLED = frozenset({"CoolingDown", "LimitReached", "NoBetterPlan", "PlanUndoes", "ProvedOptimal"})
"""Reasons of runs that end without a plan."""


def test_a_stuck_pod_runs_and_nobody_was_asked(scene: Scene) -> None:
    """From pending to running: a plan is made, approved by the operator itself and carried out."""
    scene.pool()
    scene.policy()
    scene.stuck()
    scene.await_running("big", 1)
    scene.await_running("small", 20)
    (plan,) = scene.plans()
    name = plan["metadata"]["name"]
    assert plan["spec"]["approval"] == {"decision": "Approved", "by": OPERATOR}
    assert scene.await_end(name) == "Succeeded"
    assert scene.policy_status()["lastPlan"] == name
    scene.wait(scene.unclaimed, "the room to be released")


def test_one_victim_needed_one_evicted(scene: Scene) -> None:
    """volcano#5984: one victim was needed and ten were evicted.

    The scheduler can't preempt: on the first node the two low pods have too little, and the middle
    one, whose place is needed too, has the same priority as the waiting pod.
    """
    first, second = scene.nodes(4, 4)
    high = {"priorityClassName": scene.priority("high", 1000)}
    scene.place("low", [first, first], Work(1))
    scene.place("middle", [first], Work(2, spec=high))
    scene.place("anchor", [second], Work(2, spec=high, metadata=STAYS))
    before = scene.uids("low")
    scene.pool()
    scene.policy(limits={"maxEvictionsPerPlan": 5})
    scene.run("big", 1, Work(3, spec=high))
    assert scene.await_running("big", 1) == [first]
    assert scene.await_running("middle", 1) == [second]
    assert scene.await_end(scene.await_plan()) == "Succeeded"
    assert len(before & scene.uids("low")) == 1
    assert list(scene.where("low").values()) == [first]


def test_preemption_is_vetoed_while_a_plan_serves_the_pod(scene: Scene) -> None:
    """Between two steps the scheduler could evict the low pod; the plan needs it no harm done."""
    full, *rest = scene.nodes(8, 8, 8)
    high = {"priorityClassName": scene.priority("high", 1000)}
    scene.bare("low", Work(2), full)
    scene.place("middle", [full] * 3, Work(2, spec=high, held=True))
    scene.place("anchor", rest * 3, Work(2, spec=high, metadata=STAYS))
    scene.pool()
    scene.policy()
    vetoed = vetoes(scene)
    scene.run("big", 1, Work(4, spec=high))
    plan = scene.await_plan()
    assert [len(step.get("evict", ())) for step in scene.steps(plan)].count(1) == 2
    scene.await_terminating("middle")
    scene.let_go()
    # From now on it would do to evict the low pod, and the scheduler tries to.
    scene.wait(lambda: scene.done(plan) == 1, "the first step")
    scene.await_terminating("middle")
    scene.wait(lambda: vetoes(scene) > vetoed, "a veto")
    assert scene.finish(plan) == "Succeeded"
    assert scene.await_running("big", 1) == [full]
    assert scene.await_running("low", 1) == [full]


def vetoes(scene: Scene) -> float:
    text = scene.programs.own.admin("/metrics", scene.programs.own.token("monitor"))[1]
    found = re.search(r"^fairstow_extender_vetoed_preemptions_total (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


def test_in_observe_mode_the_scheduler_preempts_as_ever(scene: Scene) -> None:
    names = scene.nodes(4, 4)
    scene.place("low", names * 2, Work(2))
    scene.pool()
    scene.policy("Observe")
    high = {"priorityClassName": scene.priority("high", 1000)}
    scene.run("big", 1, Work(4, spec=high))
    scene.await_running("big", 1)
    assert len(scene.where("low")) == 2
    assert not scene.plans()


def test_where_strangers_may_take_the_room_auto_only_recommends(scene: Scene) -> None:
    """The default scheduler doesn't ask the extender here, and no taint keeps its pods out.

    A person may approve all the same. Then the room is taken as soon as it is free, and the plan
    evicts nobody else.
    """
    scene.pool()
    scene.policy()
    before = scene.stuck(Work(1, held=True), tainted=False)
    plan = scene.await_plan()
    scene.await_reason(plan, "WaitingForApproval")
    condition = scene.policy_condition("ReservationNotEnforced")
    assert (condition["status"], "no NoSchedule taint" in condition["message"]) == ("True", True)
    assert scene.uids("small") == before
    scene.approve(plan)
    scene.await_terminating("small")
    scene.run("thief", 6, Work(1, scheduler="default-scheduler"))
    scene.wait(lambda: len(scene.where("thief")) >= 3, "the thieves to take what is free")
    assert scene.finish(plan) == "NodeChanged"
    assert len(before - scene.uids("small")) == 1
    assert len(scene.uids("small")) == 20
    scene.wait(scene.unclaimed, "the room to be released")


def test_suspended_half_way_it_stops_between_two_steps_and_goes_on_when_resumed(
    scene: Scene,
) -> None:
    scene.pool()
    scene.policy()
    before = scene.stuck(Work(1, held=True))
    plan = scene.await_plan()
    scene.await_terminating("small")
    scene.change_policy(suspend=True)
    scene.let_go()
    scene.await_reason(plan, "Suspended")
    assert scene.done(plan) == 1
    assert scene.condition(plan, "Executing")["status"] == "False"
    scene.wait(scene.unclaimed, "the room to be released")
    assert len(before - scene.uids("small")) == 1
    assert not any(map(terminating, scene.pods("small")))
    scene.change_policy(suspend=False)
    assert scene.finish(plan) == "Succeeded"
    scene.await_running("big", 1)
    scene.await_running("small", 20)


def test_outside_the_maintenance_window_a_plan_waits(scene: Scene) -> None:
    scene.pool()
    in_six_hours = (datetime.now(UTC).hour + 6) % 24
    scene.policy(maintenanceWindows=[{"start": f"0 {in_six_hours} * * *", "duration": "1h"}])
    scene.stuck()
    before = scene.uids()
    plan = scene.await_plan()
    scene.await_reason(plan, "OutsideMaintenanceWindow")
    assert "opens at" in scene.condition(plan, "Succeeded")["message"]
    assert scene.uids() == before
    scene.change_policy(maintenanceWindows=[{"start": "* * * * *", "duration": "1h"}])
    assert scene.await_end(plan) == "Succeeded"
    scene.await_running("big", 1)


@pytest.mark.full
def test_ten_rounds_of_churn_without_ping_pong(scene: Scene) -> None:
    """descheduler#994: pods go back and forth between the same nodes.

    Each round a pod comes that needs three GPUs of one node and leaves again; workloads end on the
    two full nodes, new ones begin on the one that was freed. All cool down for longer than the test
    takes, so nobody may be moved twice.
    """
    dice = random.Random(994)
    nodes = scene.nodes(8, 8, 8)
    homes = {f"w{i}": nodes[i % 3] for i in range(21)}
    for name, node in homes.items():
        scene.place(name, [node], Work(1))
    scene.pool()
    scene.policy(coolDown="6h", limits={"maxMovesPerHour": 30, "maxMovesPerPlan": 3})
    moved: list[str] = []
    served = 0
    for turn in range(10):
        before = {name: scene.uids(name) for name in homes}
        scene.run(f"big{turn}", 1, Work(3))
        room = settle(scene, f"big{turn}")
        served += bool(room)
        moved += [name for name, uids in before.items() if scene.uids(name) != uids]
        scene.scale(f"big{turn}", 0)
        scene.await_running(f"big{turn}", 0)
        if room:
            churn(scene, turn, homes, room, dice)
    assert len(moved) == len(set(moved)), sorted(moved)
    assert len(moved) <= 30
    assert served >= 5
    made = scene.plans()
    assert all(len(plan["spec"]["moves"]) <= 3 for plan in made)
    assert len(moved) == sum(len(plan["spec"]["moves"]) for plan in made)


def settle(scene: Scene, name: str) -> str:
    """Wait until a pod runs or its policy has found nothing for it; return its node."""
    runs = scene.policy_status().get("lastRun", {})

    def settled() -> str:
        if found := scene.where(name):
            return next(iter(found.values()))
        last: dict[str, Any] = scene.policy_status().get("lastRun", {})
        return "-" if last != runs and last.get("reason") in SETTLED else ""

    found = str(scene.wait(settled, f"an end of the wait of {name}"))
    plans = [plan["metadata"]["name"] for plan in scene.plans()]
    scene.wait(lambda: all(scene.ended(plan) for plan in plans), "the end of all plans")
    return found.removeprefix("-")


def churn(scene: Scene, turn: int, homes: dict[str, str], room: str, dice: random.Random) -> None:
    """End a workload on each full node, and begin two on the node that has room."""
    for name in homes:
        homes[name] = next(iter(scene.where(name).values()))
    for node in sorted(set(homes.values()) - {room}):
        ended = dice.choice(sorted(name for name, home in homes.items() if home == node))
        del homes[ended]
        scene.cluster.kubectl("-n", scene.namespace, "delete", "replicaset", ended)
        scene.await_running(ended, 0)
    for index in range(2):
        name = f"n{turn}-{index}"
        homes[name] = room
        scene.place(name, [room], Work(1))
