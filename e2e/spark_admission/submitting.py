"""Stock spark-submit, run as its users run it, with a ServiceAccount's token.

Used by the tests of what it makes (test_submit.py) and of drivers and executors that really run
(test_pods.py).
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from e2e.engines import environments
from tools import spark_plugin

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controlplane.client import Cluster

SUBMIT_SECONDS = 150
WHERE = "import pyspark, os; print(os.path.dirname(pyspark.__file__))"


def home() -> dict[str, str]:
    """Return the variables that find stock Spark and a JDK; skip the test where there are none."""
    try:
        python, jdk = environments.spark("4"), spark_plugin.jdk()
    except (environments.InstallError, spark_plugin.NoJdkError) as error:
        pytest.skip(f"no Spark: {error}")
    found = subprocess.check_output([python, "-c", WHERE], text=True).strip()
    return {"JAVA_HOME": str(jdk), "SPARK_HOME": found}


def settings(cluster: Cluster, namespace: str, account: str, folder: Path) -> dict[str, str]:
    """Return the settings by which spark-submit reaches a cluster as a ServiceAccount."""
    token = cluster.kubectl("-n", namespace, "create", "token", account, "--duration=1h").strip()
    raw = cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
    server: dict[str, Any] = json.loads(raw)["clusters"][0]["cluster"]
    authority = folder / "ca.crt"
    authority.write_bytes(b64decode(server["certificate-authority-data"]))
    return {
        "spark.master": f"k8s://{server['server']}",
        "spark.kubernetes.authenticate.submission.oauthToken": token,
        "spark.kubernetes.authenticate.submission.caCertFile": str(authority),
        "spark.kubernetes.namespace": namespace,
        "spark.kubernetes.submission.waitAppCompletion": "false",
        "spark.submit.deployMode": "cluster",
    }


def submit(variables: dict[str, str], chosen: dict[str, str], *application: str) -> None:
    """Run spark-submit to its end, and see that it ended well."""
    confs = [part for key, value in chosen.items() for part in ("--conf", f"{key}={value}")]
    done = subprocess.run(
        [f"{variables['SPARK_HOME']}/bin/spark-submit", *confs, *application],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=SUBMIT_SECONDS,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("\tat ")]
    assert done.returncode == 0, "\n".join(said)
