"""Two queues of a cohort: one borrows, the other needs its cores again; nodes are KWOK's.

Covered: the borrower's newest executors end through the Eviction API, those it began with and its
driver stay, the lender's application begins, executors that the borrower makes meanwhile wait and
are let go once there are cores; whoever makes executors for another's driver is refused. Not
covered: Spark's decommissioning, which is Spark's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controlplane.client import KubectlError
from e2e.spark_admission.scene import ANA, BOB, queue, unique
from fairstow.spark.names import GATE

if TYPE_CHECKING:
    from e2e.spark_admission.scene import Scene

pytestmark = pytest.mark.e2e


def test_a_lender_gets_its_cores_back_from_executors(scene: Scene) -> None:
    """Of four cores each queue owns two; Ana's application has all four, Bob's needs two."""
    lender, here = unique("lender"), scene.cluster
    here.apply([queue(lender, cohort=scene.queue)])
    try:
        scene.set_queue(hold=False, cores=2, cohort=scene.queue, borrowedCores=2)
        scene.submit("ana", ANA, instances=1, dynamic=True)
        with scene.controller():
            scene.await_admitted("ana")
            scene.executors("ana", 3)
            here.wait(lambda: _on_nodes(scene, "ana") == {0, 1, 2}, "ana's executors")
            here.wait(lambda: _status(scene).get("holdsExecutors"), "the queue to be full")
            scene.submit("bob", BOB, instances=1, spark_queue=lender)
            scene.await_admitted("ana", "bob")
            assert len(_on_nodes(scene, "ana")) == 1, "as many as it began with"
            assert "ExecutorReclaimed" in scene.kubectl("describe", "pod", "ana")
            scene.executors("bob", 1)
            here.wait(lambda: _on_nodes(scene, "bob") == {0}, "bob's executor")
            scene.executors("ana", 1)
            assert _gated(scene, "ana-exec-3")
            here.wait(
                lambda: scene.standing("ana").get("reason") == "ExecutorsHeld", "ana to be told"
            )
            scene.end("bob-exec-0", "bob")
            here.wait(lambda: not _gated(scene, "ana-exec-3"), "the end of its wait")
    finally:
        here.kubectl("delete", "sparkqueue", lender)


def test_executors_for_anothers_driver_are_refused(scene: Scene) -> None:
    scene.submit("ana", ANA)
    uid = scene.pod("ana")["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "ana", "uid": uid}
    forged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "forged",
            "labels": {"spark-role": "executor", "spark-app-selector": "spark-ana"},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "main", "image": "example.com/none"}]},
    }
    with pytest.raises(KubectlError, match="executors are charged to their driver's user"):
        scene.create(forged, BOB)


def _on_nodes(scene: Scene, driver: str) -> set[int]:
    """The numbers of a driver's executors that have nodes and stay there."""
    pods = scene.cluster.items("-n", scene.namespace, "pods", "-l", "spark-role=executor")
    return {
        int(pod["metadata"]["name"].rpartition("-")[2])
        for pod in pods
        if pod["metadata"]["name"].startswith(f"{driver}-exec-")
        and pod["spec"].get("nodeName")
        and "deletionTimestamp" not in pod["metadata"]
    }


def _gated(scene: Scene, name: str) -> bool:
    gates = scene.pod(name)["spec"].get("schedulingGates", ())
    return any(gate["name"] == GATE for gate in gates)


def _status(scene: Scene) -> dict[str, object]:
    found: dict[str, object] = scene.cluster.get("sparkqueue", scene.queue).get("status", {})
    return found
