"""Plans carried out on a real API server and scheduler, with operator, extender and own scheduler.

Each test is named after what a user asked elsewhere. Programs run as processes beside the cluster,
each with the rights that the chart gives it (e2e/installed.py). Not covered here: policies that act
by themselves (test_auto.py), faults (test_faults.py, test_programs.py), who
stays and gangs (test_pods.py), the default scheduler (test_default_scheduler.py), the
same as pods (e2e/test_chart.py), every interleaving (tests/packing/test_execution.py).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.execution.work import Work, only_on, terminating

if TYPE_CHECKING:
    from e2e.execution.scene import Scene

pytestmark = pytest.mark.e2e


def test_small_pods_move_so_that_a_big_one_fits(scene: Scene) -> None:
    before = scene.stuck()
    # What somebody has told an autoscaler is theirs, before and after.
    theirs = {"cluster-autoscaler.kubernetes.io/scale-down-disabled": "false"}
    told = [f"{key}={value}" for key, value in theirs.items()]
    scene.cluster.kubectl("annotate", "node", *scene.names, *told)
    plan = scene.plan_by_hand()
    scene.await_reason(plan, "WaitingForApproval")
    assert scene.uids("small") == before
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    scene.await_running("big", 1)
    scene.await_running("small", 20)
    assert len(before - scene.uids("small")) == 2
    scene.wait(scene.unclaimed, "the room to be released")
    for node in (scene.cluster.get("node", name) for name in scene.names):
        assert theirs.items() <= node["metadata"]["annotations"].items()
        assert "karpenter.sh/do-not-disrupt" not in node["metadata"]["annotations"]


def test_what_is_carried_out_is_measured(scene: Scene) -> None:
    scene.wait(lambda: scene.programs.admin("/readyz")[0] == 200, "the operator")
    before = measured(scene)
    scene.stuck()
    plan = scene.plan_by_hand()
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    scene.wait(scene.unclaimed, "the room to be released")
    grown = measured(scene)
    grown.subtract(before)
    assert grown["evictions_total move Evicted"] == 2
    assert grown["plans_ended_total Succeeded"] == 1
    assert grown["plan_seconds_count  Succeeded"] == 1  # of no policy
    assert grown["wait_seconds_count "] == 1
    assert grown["wait_seconds_sum "] > 0
    assert not any(grown[key] for key in grown if key.startswith("reservations"))


def measured(scene: Scene) -> Counter[str]:
    """The operator's metrics, by name and the values of their labels."""
    programs = scene.programs
    status, text = programs.admin("/metrics", programs.own.token("monitor"))
    assert status == 200, text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("fairstow_packing_")
            found[" ".join((name, *sample.labels.values()))] = sample.value  # type: ignore[assignment]
    return found


def test_eight_gpus_free_over_four_nodes_and_an_eight_gpu_pod(scene: Scene) -> None:
    """kueue#5243: enough GPUs are free, on too many nodes."""
    nodes = scene.nodes(8, 8, 8, 8)
    scene.place("small", nodes * 3, Work(2))
    scene.run("whole", 1, Work(8))
    scene.await_stuck("whole")
    plan = scene.plan()
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    scene.await_running("whole", 1)
    scene.await_running("small", 12)


def test_pods_of_one_budget_move_one_at_a_time(scene: Scene) -> None:
    """KAI-Scheduler#1579: three pods under one disruption budget."""
    nodes = scene.nodes(8, 8, 8, 8)
    scene.place("guarded", nodes * 3, Work(2, held=True))
    scene.budget("guarded", 1)
    scene.run("whole", 1, Work(8))
    scene.await_stuck("whole")
    plan = scene.plan()
    assert [len(step.get("evict", ())) for step in scene.steps(plan)].count(1) == 3
    scene.approve(plan)
    most = 0

    def ended() -> str:
        nonlocal most
        most = max(most, sum(map(terminating, scene.pods("guarded"))))
        scene.let_go()
        return scene.ended(plan)

    assert scene.wait(ended, "the end") == "Succeeded"
    assert most == 1
    scene.await_running("whole", 1)
    scene.await_running("guarded", 12)


def test_a_swap_between_two_full_nodes(scene: Scene) -> None:
    """descheduler#1519: nobody can go first."""
    large, small = scene.nodes(4, 3)
    scene.place("two", [large], Work(2))
    scene.place("three", [small], Work(3))
    high = scene.priority("high", 1000, preempts=False)
    wants = {"priorityClassName": high, "affinity": only_on(small)}
    scene.run("next", 1, Work(1, spec=wants))
    scene.await_stuck("next")
    plan = scene.plan()
    assert max(len(step.get("evict", ())) for step in scene.steps(plan)) == 2
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    assert scene.await_running("three", 1) == [large]
    assert scene.await_running("two", 1) == [small]
    assert scene.await_running("next", 1) == [small]


def test_competitors_do_not_get_reserved_room(scene: Scene) -> None:
    """KEP-4563: the room is reserved before anybody is evicted, also from who wants CPU only."""
    scene.stuck(Work(1, held=True), Work(4, cpu="40"))
    plan = scene.plan()
    scene.approve(plan)
    scene.await_terminating("small")
    scene.run("gpu-thief", 6, Work(1))
    # Nodes have 64 CPUs: beside the small pods one of these has room, but not beside the big one.
    scene.run("cpu-thief", 3, Work(0, cpu="30"))
    scene.await_stuck("gpu-thief", 6)
    scene.await_stuck("cpu-thief", 1)
    assert scene.finish(plan) == "Succeeded"
    (home,) = scene.await_running("big", 1)
    scene.await_running("small", 20)
    assert sorted(scene.where("cpu-thief").values()) == sorted({*scene.names} - {home})
    assert not scene.where("gpu-thief")


def test_a_plan_that_no_longer_holds_evicts_nobody(scene: Scene) -> None:
    before = scene.stuck()
    plan = scene.plan()
    scene.cluster.kubectl("cordon", *scene.names)
    scene.approve(plan)
    assert scene.await_end(plan) == "NodeChanged"
    assert scene.uids("small") == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"approval": {"decision": "Rejected", "by": "jane"}}, "Rejected"),
        ({"abort": {"by": "jane"}}, "Aborted"),
    ],
)
def test_a_plan_that_is_turned_down_does_nothing(
    scene: Scene, change: dict[str, object], reason: str
) -> None:
    before = scene.stuck()
    plan = scene.plan()
    scene.cluster.kubectl(
        "patch", "packingplan", plan, "--type=merge", "-p", json.dumps({"spec": change})
    )
    assert scene.await_end(plan) == reason
    assert scene.uids("small") == before


def test_a_plan_that_is_stopped_half_way_evicts_nobody_else(scene: Scene) -> None:
    before = scene.stuck(Work(1, held=True))
    plan = scene.plan()
    scene.approve(plan)
    scene.await_terminating("small")
    scene.cluster.kubectl(
        "patch", "packingplan", plan, "--type=merge", "-p", '{"spec":{"abort":{"by":"jane"}}}'
    )
    assert scene.finish(plan) == "Aborted"
    scene.await_running("small", 20)
    assert len(before - scene.uids("small")) == 1
    scene.wait(scene.unclaimed, "the room to be released")
