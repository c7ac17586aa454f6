"""What an installed Fairstow does about a pod: the plan that names it, room kept, policies.

The cluster is that of volcano#3948: three nodes of 8 GPUs with 7, 6 and 7 in use, a pod that asks
for 4. Leaves out reading the objects from a cluster (e2e/test_verbs.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import GpuPool, PackingPlan, PackingPolicy
from fairstow.cluster.times import written
from fairstow.packing.explain.underway import Installed, UnderWay, under_way
from tests.api.objects import EXAMPLES, changed
from tests.packing.checker_clusters import GPU, Json, node, plan, pod, step
from tests.packing.clusters import snapshot

NOW = 1_772_366_400

NODES = [node(name) for name in ("left", "middle", "right")]
BIG = pod("big-0", gpu=4, priority=1000, namespace="team-b", owner="StatefulSet/big")
SMALL = [pod(f"small-{i}", "middle", owner="ReplicaSet/small") for i in range(2)]
OTHER = pod("other", gpu=1)
OBJECTS = [
    *NODES,
    pod("full-left", "left", gpu=7, owner="ReplicaSet/full"),
    pod("full-right", "right", gpu=7, owner="ReplicaSet/full"),
    pod("half", "middle", gpu=4, owner="ReplicaSet/half"),
    *SMALL,
    BIG,
    OTHER,
]


def condition(type_: str, status: str, reason: str, message: str = "", since: int = 60) -> Json:
    moment = written(NOW - since)
    return {"type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": moment}  # fmt: skip


WAITS = condition("Succeeded", "False", "WaitingForApproval")


def the_plan(*conditions: Json, **changes: Any) -> PackingPlan:
    first, second = SMALL
    raw = plan(
        OBJECTS,
        step([first], [(first, "left")]),
        step([second], [(second, "right"), (BIG, "middle")]),
    )
    gpus = {"cpu": "1", GPU: "4"}
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    paths |= {"spec.placements.0.requests": gpus, "metadata.uid": "uid-plan"}
    status = {"conditions": list(conditions)} if conditions else {}
    raw["status"] = status | raw.get("status", {})
    return PackingPlan.model_validate(changed(raw, paths))


def said(name: str, *plans: PackingPlan, **more: Any) -> UnderWay:
    cluster = snapshot(OBJECTS)
    (asked,) = [each for each in cluster.pods if each.name == name]
    return under_way(asked, cluster, Installed(plans=plans, **more), NOW)


def test_a_pod_hears_of_the_plan_that_serves_it_and_of_what_it_waits_for() -> None:
    told = said("big-0", the_plan(WAITS))
    assert told.plans[0] == (
        "Plan plan-01234567 has it run on middle after moving 2 running pods; plan-01234567 waits "
        "for approval: kubectl fairstow approve plan/plan-01234567."
    )
    assert told.next_step == "fairstow approve plan/plan-01234567"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("OutsideMaintenanceWindow", "waits for the next maintenance window"),
        ("Suspended", "is suspended"),
        ("Reserving", "not every replica of the scheduler extender has said yet"),
    ],
)
def test_whatever_it_waits_for_is_named(reason: str, words: str) -> None:
    approval = {"decision": "Approved", "by": "jane"}
    waiting = condition("Succeeded", "False", reason)
    told = said("big-0", the_plan(waiting, spec__approval=approval))
    assert words in told.plans[0]
    assert told.next_step == "fairstow describe plan/plan-01234567"


def under_way_plan() -> PackingPlan:
    return the_plan(
        condition("Executing", "True", "Executing"),
        condition("Succeeded", "False", "WaitingForPods", "1 pod has yet to arrive"),
        spec__approval={"decision": "Approved", "by": "jane"},
        status__stepsDone=1,
        status__step={"index": 1, "startedAt": written(NOW)},
    )


def test_while_it_is_carried_out_the_step_is_told() -> None:
    assert said("big-0", under_way_plan()).plans[0] == (
        "Plan plan-01234567 is under way and has it run on middle; it is at step 2 of 2: 1 pod has "
        "yet to arrive (WaitingForPods)."
    )


def test_a_recreated_pod_of_the_workload_is_meant_too() -> None:
    again = the_plan(WAITS, spec__placements__0__uid="uid-of-its-predecessor")
    assert "has it run on middle" in said("big-0", again).plans[0]


def test_who_is_moved_hears_it_and_gets_no_command() -> None:
    told = said("small-0", the_plan(WAITS))
    assert told.plans[0].startswith("Plan plan-01234567 moves it from middle to left; plan-")
    assert not told.next_step


def test_others_hear_for_whom_the_room_is_kept_that_they_would_fit() -> None:
    assert said("other", under_way_plan()).kept == (
        "Room on middle is kept for 1 pod of team-b/StatefulSet/big by plan plan-01234567.",
        "Room on right is kept for 1 pod of team-a/ReplicaSet/small by plan plan-01234567.",
    )
    assert said("other", the_plan(WAITS)).kept == (), "a plan keeps nothing before it is under way"
    assert said("big-0", under_way_plan()).kept == (), "middle has no room for it yet"


@pytest.mark.parametrize(("since", "told"), [(120, True), (7200, False)])
def test_a_plan_that_came_to_nothing_is_told_of_for_an_hour(since: int, told: bool) -> None:
    stale = condition("Stale", "True", "PodGone", "A pod is gone.", since)
    found = said("big-0", the_plan(stale))
    assert bool(found.plans) is told
    assert not told or found.plans[0].endswith("given up 2 minutes ago: A pod is gone (PodGone).")
    assert not found.next_step


def test_plans_that_are_done_or_name_others_are_passed_over() -> None:
    assert said("big-0", the_plan(condition("Succeeded", "True", "Succeeded"))).plans == ()
    assert said("other", the_plan(WAITS)).plans == ()


POOL = GpuPool.model_validate(changed(EXAMPLES["GpuPool"], {"spec": {}, "metadata.name": "a100"}))


def policy(**changes: Any) -> PackingPolicy:
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    named = changed(EXAMPLES["PackingPolicy"], {"metadata.name": "nightly"} | paths)
    return PackingPolicy.model_validate(named)


RUN = {"time": written(NOW - 300), "reason": "GainTooSmall", "message": "It places 1 for 20 moves."}
OVERLAP = condition("Ready", "False", "PolicyOverlap", "Policy older acts.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "mode Auto) hasn't looked yet; it does once a pod has waited "),
        ({"spec__suspend": True}, "is suspended."),
        ({"status": {"conditions": [OVERLAP]}}, "can't act: Policy older acts (PolicyOverlap)."),
        ({"status": {"lastRun": RUN}},
         "last looked 5 minutes ago: It places 1 for 20 moves (GainTooSmall)."),
    ],
)  # fmt: skip
def test_a_policy_says_why_it_does_not_act(changes: dict[str, Any], words: str) -> None:
    (told,) = said("big-0", pools=(POOL,), policies=(policy(**changes),)).policies
    assert told.startswith("Policy nightly (pool a100, ")
    assert words in told


def test_policies_of_pools_that_are_none_of_the_pods_are_passed_over() -> None:
    elsewhere = {"spec.nodeSelector": {"matchLabels": {"host": "nowhere"}}}
    pool = GpuPool.model_validate(
        changed(EXAMPLES["GpuPool"], elsewhere | {"metadata.name": "a100"})
    )
    assert said("big-0", pools=(pool,), policies=(policy(),)).policies == ()
    assert said("small-0", pools=(POOL,), policies=(policy(),)).policies == (), "it runs"
