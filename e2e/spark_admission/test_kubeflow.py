"""SparkApplications of kubeflow's own operator, under its own schema (`full`: needs Go and a JDK).

Covered: the operator suspends what the webhook queued and submits what Fairstow lets go; its
drivers are let through in their users' names, once, and their end is charged for; a user suspends a
running application and resumes it, and it is queued again. Not covered: its pod webhook, restarts,
what drivers do (their pods only seem to run).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.processes import Processes
from e2e.spark_admission import kubeflow, submitting
from e2e.spark_admission.scene import ANA, BOB, RBAC, application_crd, user_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.spark_admission.scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.full]

PATIENCE = 120


@pytest.fixture
def operated(scene: Scene, tmp_path: Path) -> Iterator[Scene]:
    """The scene, in which kubeflow's operator runs applications."""
    submitting.home()
    definitions = kubeflow.definitions()
    kubeflow.program()
    name, cluster = f"{scene.namespace}-kubeflow", scene.cluster
    scene.kubectl("create", "serviceaccount", "kubeflow")
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    cluster.apply([*definitions, role | {"rules": kubeflow.rules()}])
    for part in (name, f"{scene.namespace}-delegates"):
        account = f"--serviceaccount={scene.namespace}:kubeflow"
        bound = ("create", "clusterrolebinding", f"{part}-kubeflow", f"--clusterrole={part}")
        cluster.kubectl(*bound, account)
    processes = Processes(tmp_path / "kubeflow", die_with_parent=True)
    own = cluster.as_service_account(scene.namespace, "kubeflow", tmp_path / "own")
    try:
        kubeflow.start(processes, own, scene.namespace)
        yield scene
        processes.check()
    finally:
        processes.stop()
        scene.kubectl("delete", "sparkapplications", "--all", "--wait=false")
        bindings = (f"{name}-kubeflow", f"{scene.namespace}-delegates-kubeflow")
        cluster.kubectl("delete", "clusterrolebinding", *bindings)
        cluster.kubectl("delete", "clusterrole", name)
        for each in definitions:
            if each["metadata"]["name"] != application_crd()["metadata"]["name"]:
                cluster.kubectl("delete", "crd", each["metadata"]["name"])
        cluster.apply([application_crd()])


def application(name: str, node: str) -> dict[str, Any]:
    """An application of one driver and one executor, of a core each."""
    part = {"cores": 1, "memory": "512m"}
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": name},
        "spec": {
            "type": "Python",
            "mode": "cluster",
            "image": "example.com/none",
            "sparkVersion": "4.3.0",
            "mainApplicationFile": "local:///opt/report.py",
            "restartPolicy": {"type": "Never"},
            "nodeSelector": {"kubernetes.io/hostname": node},
            "driver": part | {"serviceAccount": "default"},
            "executor": part | {"instances": 1},
        },
    }


def test_the_operator_runs_applications_in_their_turn(operated: Scene) -> None:
    scene = operated

    def found(name: str) -> dict[str, Any]:
        obj: dict[str, Any] = scene.cluster.get("-n", scene.namespace, "sparkapplication", name)
        return obj

    def state(name: str) -> str:
        status = found(name).get("status", {})
        return str(status.get("applicationState", {}).get("state", ""))

    def await_state(name: str, *states: str) -> None:
        what = f"{name} to be {' or '.join(states)}"
        scene.cluster.wait(lambda: state(name) in states, what, PATIENCE)

    def suspend(name: str, wish: bool) -> None:
        patch = ("--type=merge", "-p", json.dumps({"spec": {"suspend": wish}}))
        scene.kubectl("patch", f"sparkapplication/{name}", *patch, f"--as={ANA}")

    def end(name: str) -> None:
        scene.end(f"{name}-driver")
        await_state(name, "COMPLETED")

    def awaited(probe: Callable[[], Any], what: str) -> None:
        scene.cluster.wait(probe, what, PATIENCE)

    for name, user in (("flood-0", BOB), ("flood-1", BOB), ("small", ANA)):
        scene.create(application(name, scene.node), user)
    for name in ("flood-0", "flood-1", "small"):
        await_state(name, "SUSPENDED")
    assert scene.cluster.items("-n", scene.namespace, "pods") == []

    with scene.controller():
        scene.set_queue(hold=False)
        await_state("flood-0", "RUNNING")
        driver = scene.pod("flood-0-driver")
        assert user_of(driver) == BOB
        assert not driver["spec"].get("schedulingGates")
        assert state("small") == state("flood-1") == "SUSPENDED"
        end("flood-0")
        awaited(lambda: scene.standing("flood-0").get("phase") == "Ended", "flood-0's charge")

        await_state("small", "RUNNING")
        assert state("flood-1") == "SUSPENDED"
        suspend("small", wish=True)
        await_state("flood-1", "RUNNING")
        awaited(lambda: scene.standing("small").get("reason") == "SuspendedByUser", "its word")
        suspend("small", wish=False)
        awaited(lambda: scene.standing("small").get("reason") == "WaitsForCores", "a new place")
        assert found("small")["spec"]["suspend"] is True
        end("flood-1")
        await_state("small", "RUNNING")
        end("small")
        for name in ("flood-0", "flood-1", "small"):
            awaited(lambda name=name: scene.standing(name).get("phase") == "Ended", "the end")  # type: ignore[misc]
        status = scene.cluster.get("sparkqueue", scene.queue)["status"]
        assert status.get("missed", 0) == 0
