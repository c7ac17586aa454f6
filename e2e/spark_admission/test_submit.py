"""Stock spark-submit before a real API server whose webhook queues drivers (`full`: needs a JDK).

Covered: what spark-submit really makes (labels, arguments, the ConfigMap that comes after the pod)
is gated, capped, read and let go, and spark-submit doesn't mind. Not covered: the driver itself,
whose pod only seems to run (KWOK); it does in test_pods.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.spark_admission import submitting
from e2e.spark_admission.scene import user_of

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.spark_admission.scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.full]


def account(scene: Scene) -> str:
    """Make a ServiceAccount that may submit, and return its name."""
    who = f"--serviceaccount={scene.namespace}:submitter"
    scene.kubectl("create", "serviceaccount", "submitter")
    for part in ("submitters", "users"):
        role = f"{scene.namespace}-{part}"
        make = ("create", "clusterrolebinding", f"{role}-submitter")
        scene.cluster.kubectl(*make, f"--clusterrole={role}", who)
    return "submitter"


def test_spark_submit_waits_for_its_turn(scene: Scene, tmp_path: Path) -> None:
    variables = submitting.home()
    scene.set_queue(maxCoresPerApplication=2)
    who = submitting.settings(scene.cluster, scene.namespace, account(scene), tmp_path)
    chosen = who | {
        "spark.app.name": "nightly-report",
        "spark.kubernetes.container.image": "example.com/none",
        "spark.kubernetes.driver.pod.name": "nightly-report-driver",
        "spark.kubernetes.node.selector.kubernetes.io/hostname": scene.node,
        "spark.kubernetes.driver.annotation.fairstow.dev/spark-template": "report",
        "spark.executor.instances": "1",
        "spark.driver.memory": "512m",
    }
    submitting.submit(variables, chosen, "local:///opt/report.py")
    name = "nightly-report-driver"
    assert scene.gated() == {name}
    pod = scene.pod(name)
    assert user_of(pod) == f"system:serviceaccount:{scene.namespace}:submitter"
    arguments = pod["spec"]["containers"][0]["args"]
    assert arguments[:3] == ["driver", "--conf", "spark.dynamicAllocation.maxExecutors=1"]
    assert "--properties-file" in arguments
    scene.set_queue(hold=False)
    with scene.controller():
        scene.await_admitted(name)
        scene.cluster.wait(
            lambda: scene.standing(name).get("phase") in ("Admitted", "Running"), "its standing"
        )
        found = scene.admission(name)
        assert found["spec"]["template"] == "report"
        assert found["status"]["firstCores"] == 2
