"""Stock spark-submit before a real API server whose webhook queues drivers (`full`: needs a JDK).

Covered: what spark-submit really makes (labels, arguments, the ConfigMap that comes after the pod)
is gated, capped, read and let go, and spark-submit doesn't mind. Not covered: the driver itself,
whose pod only seems to run (KWOK).
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from e2e.engines import environments
from e2e.spark_admission.scene import user_of
from tools import spark_plugin

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.spark_admission.scene import Scene

pytestmark = [pytest.mark.e2e, pytest.mark.full]


def account(scene: Scene, folder: Path) -> dict[str, str]:
    """Make a ServiceAccount that may submit; return spark-submit's settings for it."""
    who = f"--serviceaccount={scene.namespace}:submitter"
    scene.kubectl("create", "serviceaccount", "submitter")
    for part in ("submitters", "users"):
        role = f"{scene.namespace}-{part}"
        make = ("create", "clusterrolebinding", f"{role}-submitter")
        scene.cluster.kubectl(*make, f"--clusterrole={role}", who)
    token = scene.kubectl("create", "token", "submitter").strip()
    raw = scene.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
    authority = folder / "ca.crt"
    server: dict[str, Any] = json.loads(raw)["clusters"][0]["cluster"]
    authority.write_bytes(b64decode(server["certificate-authority-data"]))
    return {
        "spark.master": f"k8s://{server['server']}",
        "spark.kubernetes.authenticate.submission.oauthToken": token,
        "spark.kubernetes.authenticate.submission.caCertFile": str(authority),
    }


def test_spark_submit_waits_for_its_turn(scene: Scene, tmp_path: Path) -> None:
    try:
        python, jdk = environments.spark("4"), spark_plugin.jdk()
    except (environments.InstallError, spark_plugin.NoJdkError) as error:
        pytest.skip(f"no Spark: {error}")
    settings = account(scene, tmp_path) | {
        "spark.submit.deployMode": "cluster",
        "spark.app.name": "nightly-report",
        "spark.kubernetes.namespace": scene.namespace,
        "spark.kubernetes.container.image": "example.com/none",
        "spark.kubernetes.submission.waitAppCompletion": "false",
        "spark.kubernetes.driver.pod.name": "nightly-report-driver",
        "spark.kubernetes.node.selector.kubernetes.io/hostname": scene.node,
        "spark.kubernetes.driver.annotation.fairstow.dev/spark-template": "report",
        "spark.executor.instances": "1",
        "spark.driver.memory": "512m",
    }
    confs = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    module = "import pyspark, os; print(os.path.dirname(pyspark.__file__))"
    home = subprocess.check_output([python, "-c", module], text=True).strip()
    done = subprocess.run(
        [f"{home}/bin/spark-submit", *confs, "local:///opt/report.py"],
        env=os.environ | {"JAVA_HOME": str(jdk), "SPARK_HOME": home},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("\tat ")]
    assert done.returncode == 0, "\n".join(said)
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
