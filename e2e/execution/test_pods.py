"""Which pods a plan moves and which it leaves alone, carried out by a policy in mode Auto.

Covered: Jobs without a rule for disruptions, bare pods, DaemonSets, hostPath, disk-backed emptyDir
and do-not-disrupt stay; pods with an emptyDir in memory and Jobs that tolerate it move; a gang
runs whole or not at all. Not covered: the rules one by one (tests/cluster/test_movable.py,
tests/packing/test_gangs.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.execution.work import Work

if TYPE_CHECKING:
    from e2e.execution.scene import Scene

pytestmark = pytest.mark.e2e

KEPT = {"annotations": {"fairstow.dev/do-not-disrupt": "true"}}
LASTS = {"annotations": {"e2e.fairstow.dev/run-for": "1h"}}
TOLERATES = {
    "podFailurePolicy": {
        "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    }
}


def test_only_pods_that_may_be_moved_move(scene: Scene) -> None:
    """First only pods that stay are in the way, and there is room for two of them elsewhere."""
    (full,) = scene.nodes(8)
    stayers = settle_those_who_stay(scene, full)
    (spare,) = scene.nodes(2)
    before = {name: scene.uids(name) for name in stayers}
    scene.pool()
    scene.policy()
    scene.run("big", 1, Work(4))
    scene.wait(lambda: last_run(scene) == "ProvedOptimal", "the proof that nobody can be moved")
    # Then there are two pods that may move, on a node where they are in the way too.
    scene.scale("big", 0)
    scene.await_running("big", 0)
    (other,) = scene.nodes(8)
    scene.place("anchor", [other] * 4, Work(1, metadata=KEPT))
    in_memory = {"volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}]}
    scene.place("memory", [other], Work(1, spec=in_memory))
    scene.cluster.kubectl("cordon", full, spare)
    job(scene, "tolerant", TOLERATES)
    assert scene.await_running("tolerant", 1) == [other]
    scene.cluster.kubectl("uncordon", full, spare)
    scene.scale("big", 1)
    assert scene.await_running("big", 1) == [other]
    assert {name: scene.uids(name) for name in stayers} == before
    assert other not in scene.await_running("memory", 1)
    assert other not in scene.await_running("tolerant", 1)


def settle_those_who_stay(scene: Scene, node: str) -> list[str]:
    """Run one pod of each kind that is never moved on a node; return their names."""
    on_disk = {"volumes": [{"name": "scratch", "emptyDir": {}}]}
    of_host = {"volumes": [{"name": "data", "hostPath": {"path": "/data"}}]}
    job(scene, "job", {})
    scene.bare("bare", Work(1), node)
    here = {"nodeSelector": {"kubernetes.io/hostname": node}}
    content = {"selector": {"matchLabels": {"app": "daemon"}},
               "template": Work(1, spec=here).template("daemon", scene.namespace)}  # fmt: skip
    scene.create("apps/v1", "DaemonSet", "daemon", spec=content)
    scene.place("on-disk", [node], Work(1, spec=on_disk))
    scene.place("of-host", [node], Work(1, spec=of_host))
    scene.place("kept", [node], Work(1, metadata=KEPT))
    names = ["job", "bare", "daemon", "on-disk", "of-host", "kept"]
    for name in names:
        scene.await_running(name, 1)
    return names


def job(scene: Scene, name: str, rules: dict[str, Any]) -> None:
    work = Work(1, metadata=LASTS, spec={"restartPolicy": "Never"})
    template = work.template(name, scene.namespace)
    scene.create("batch/v1", "Job", name, spec={"template": template, **rules})


def last_run(scene: Scene) -> str:
    return str(scene.policy_status().get("lastRun", {}).get("reason", ""))


def test_a_gang_of_four_whole_nodes_runs_whole_or_not_at_all(scene: Scene) -> None:
    """Four times 8 GPUs; one small pod on each of the four nodes, room for those on a fifth."""
    *wanted, spare = scene.nodes(8, 8, 8, 8, 8)
    scene.place("anchor", [spare] * 4, Work(1, metadata=KEPT))
    scene.place("small", wanted, Work(1, held=True))
    scene.pool()
    scene.policy()
    scene.create("scheduling.x-k8s.io/v1alpha1", "PodGroup", "train", spec={"minMember": 4})
    labels = {"labels": {"scheduling.x-k8s.io/pod-group": "train"}}
    scene.run("train", 4, Work(8, metadata=labels))
    plan = scene.await_plan()
    assert len(scene.steps(plan)[-1]["bind"]) >= 4
    bound: list[int] = []

    def ended() -> str:
        # In this order: who is bound while a small pod has yet to go is too early.
        early = [p for p in scene.pods("train") if p["spec"].get("nodeName")]
        if any(p["spec"].get("nodeName") in wanted for p in scene.pods("small")):
            bound.append(len(early))
        scene.let_go()
        return scene.ended(plan)

    assert scene.wait(ended, "the end") == "Succeeded"
    assert set(bound) == {0}
    assert sorted(scene.await_running("train", 4)) == sorted(wanted)
    assert scene.await_running("small", 4) == [spare] * 4
