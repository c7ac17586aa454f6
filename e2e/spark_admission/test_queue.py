"""Drivers of spark-submit on a real API server: gated, let go in turn, ended, charged for.

Covered: the webhook as the chart sets it up, the controller with the operator's rights; order by
user, whatever was submitted first; a SparkAdmission for each; a forged user, a foreign queue,
letting oneself go, submitting for others; the commands queue, why, hold and resume. Not covered:
Spark itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.spark_admission.scene import ANA, BOB, NOBODY, ROBOT, user_of

if TYPE_CHECKING:
    from e2e.spark_admission.scene import Scene

pytestmark = pytest.mark.e2e


def test_users_take_turns_whoever_came_first_and_are_charged(scene: Scene) -> None:
    for number in range(3):
        scene.submit(f"bob-{number}", BOB)
    scene.submit("ana-0", ANA)
    assert len(scene.gated()) == 4
    assert user_of(scene.pod("ana-0")) == ANA
    with scene.controller():
        scene.cluster.wait(
            lambda: scene.standing("ana-0").get("reason") == "QueueHeld", "ana's standing"
        )
        scene.cluster.wait(lambda: scene.standing("bob-2").get("position") == 4, "bob's place")
        scene.set_queue(hold=False)
        scene.await_admitted("bob-0")
        scene.executors("bob-0", 1)
        scene.cluster.wait(
            lambda: scene.standing("ana-0").get("position") == 1, "ana to be the next"
        )
        said = scene.standing("ana-0")
        assert said["reason"] == "WaitsForCores"
        assert said["startsBefore"] > said["startsAfter"]
        scene.end("bob-0-exec-0", "bob-0")
        scene.await_admitted("bob-0", "ana-0")
        scene.cluster.wait(
            lambda: scene.standing("bob-0").get("phase") == "Ended", "bob-0 to be charged"
        )
        assert scene.standing("bob-0")["reason"] == "Charged"
        shown = scene.kubectl("describe", "pod", "ana-0")
        assert "ItsTurn" in shown
        scene.cluster.wait(
            lambda: scene.cluster.get("sparkqueue", scene.queue)["status"].get("running") == 1,
            "the queue's status",
        )


def test_users_stay_in_their_queue(scene: Scene) -> None:
    cluster = scene.cluster
    scene.submit("forged", BOB, spark_user=ANA)
    assert user_of(scene.pod("forged")) == BOB

    def refused(*args: str, user: str) -> str:
        with pytest.raises(KubectlError) as caught:
            scene.kubectl(*args, f"--as={user}")
        return str(caught.value)

    def patch(**fields: Any) -> tuple[str, ...]:
        return "patch", "pod/forged", "--type=merge", "-p", json.dumps(fields)

    free = refused(*patch(spec={"schedulingGates": []}), user=BOB)
    assert "may not let an application go that waits" in free
    claims = {"annotations": {"fairstow.dev/spark-user": ANA}}
    assert "never changed" in refused(*patch(metadata=claims), user=BOB)
    hold = {"annotations": {"fairstow.dev/hold": "true"}}
    scene.kubectl(*patch(metadata=hold), f"--as={BOB}")
    with pytest.raises(KubectlError, match="may not have applications in SparkQueue"):
        scene.submit("foreign", NOBODY)
    with pytest.raises(KubectlError, match="there is no SparkQueue nowhere"):
        scene.submit("lost", BOB, spark_queue="nowhere")
    with pytest.raises(KubectlError, match=f"may not submit applications .* for '{ANA}'"):
        scene.submit("for-ana", BOB, submit_as=ANA)
    scene.submit("delegated", ROBOT, submit_as=ANA)
    assert user_of(scene.pod("delegated")) == ANA
    assert cluster.items("-n", scene.namespace, "sparkadmissions") == []


def test_an_application_of_the_spark_operator(scene: Scene) -> None:
    app = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": "etl"},
        "spec": {"driver": {"cores": 1}, "executor": {"cores": 1, "instances": 1}},
    }
    scene.create(app, ANA)

    def found() -> dict[str, Any]:
        obj: dict[str, Any] = scene.cluster.get("-n", scene.namespace, "sparkapplication", "etl")
        return obj

    assert found()["spec"]["suspend"] is True
    resume = ("patch", "sparkapplication/etl", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    with pytest.raises(KubectlError, match="may not let an application go"):
        scene.kubectl(*resume, f"--as={ANA}")
    here = ("-n", scene.namespace)
    with scene.controller():
        scene.cluster.wait(lambda: scene.standing("etl").get("reason") == "QueueHeld", "its place")
        assert "QueueHeld" in scene.fairstow("queue", scene.queue, *here)
        scene.fairstow("hold", "job/etl", *here)
        scene.fairstow("resume", f"queue/{scene.queue}")
        scene.cluster.wait(lambda: scene.standing("etl").get("reason") == "HeldByPerson", "a hold")
        assert "Somebody holds the application" in scene.fairstow("why", "job/etl", *here)
        scene.fairstow("resume", "job/etl", *here)
        scene.cluster.wait(lambda: found()["spec"]["suspend"] is False, "the end of its wait")
        done = {"status": {"applicationState": {"state": "COMPLETED"}}}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps(done))
        scene.kubectl("patch", "sparkapplication/etl", *patch)
        scene.cluster.wait(lambda: scene.standing("etl").get("phase") == "Ended", "its end")
