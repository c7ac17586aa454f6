"""Spark on a real node: drivers and executors that run, queued by Fairstow as the chart sets it up.

Covered (`full`): stock spark-submit of two users in cluster mode, an image of stock PySpark,
drivers gated, let go in turn, run to their end and charged for; dynamic allocation with shuffle
tracking that grows to its cap; the plugin's jar, taken from Fairstow's image by an init container,
in driver and executors, all under the *restricted* profile. Not covered: several nodes (where pods
go), an application's loss of executors, networks that fail.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.realnode import product
from e2e.on_real_node import installed, values
from e2e.spark.application import CLASS
from e2e.spark_admission import submitting
from fairstow.spark.names import ADMITTED, GATE, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.realnode.cluster import RealCluster

pytestmark = [pytest.mark.real_node, pytest.mark.full]

NAMESPACE = "spark-apps"
QUEUE = "analytics"
ANA, BOB = "ana", "bob"
IMAGE = Path(__file__).parent / "spark"
JAR = "/opt/fairstow/fairstow-spark.jar"
CORES = "600m"
"""Of each driver and executor: one application of two fits the queue's two cores, two don't."""
PATIENCE = 240
_MODEST = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def template(image: str) -> dict[str, Any]:
    """The template of drivers and executors: Fairstow's image leaves its jar in their folder."""
    mount = {"name": "fairstow", "mountPath": str(Path(JAR).parent)}
    copy = {
        "name": "fairstow",
        "image": image,
        "command": ["cp", f"/app/dist/{Path(JAR).name}", JAR],
        "securityContext": _MODEST,
        "volumeMounts": [mount],
    }
    spark = {"securityContext": _MODEST, "volumeMounts": [mount]}  # Spark names it
    who = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {
        "securityContext": who,
        "initContainers": [copy],
        "containers": [spark],
        "volumes": [{"name": "fairstow", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec}


@dataclass
class Site:
    """The installation, its people and stock Spark."""

    cluster: RealCluster
    folder: Path
    image: str
    variables: dict[str, str]

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *args, stdin=stdin)

    def submit(self, name: str, user: str, executors: int = 1, **more: str) -> None:
        """Submit report.py, which goes on until as many executors have had a part in it."""
        pods = self.folder / "pods.json"
        pods.write_text(json.dumps(template(self.cluster.image)))
        chosen = submitting.settings(self.cluster, NAMESPACE, user, self.folder) | {
            "spark.app.name": name,
            "spark.kubernetes.driver.pod.name": name,
            "spark.kubernetes.container.image": self.image,
            "spark.kubernetes.container.image.pullPolicy": "IfNotPresent",
            "spark.kubernetes.authenticate.driver.serviceAccountName": "spark",
            "spark.kubernetes.node.selector.kubernetes.io/hostname": self.cluster.node_name,
            "spark.kubernetes.driver.podTemplateFile": str(pods),
            "spark.kubernetes.executor.podTemplateFile": str(pods),
            "spark.kubernetes.driver.request.cores": CORES,
            "spark.kubernetes.executor.request.cores": CORES,
            "spark.kubernetes.driver.annotation.fairstow.dev/executor-cores": CORES,
            "spark.kubernetes.driver.annotation.fairstow.dev/spark-template": "report",
            "spark.kubernetes.executor.podNamePrefix": name,
            "spark.driver.memory": "512m",
            "spark.executor.memory": "512m",
            "spark.driver.extraClassPath": JAR,
            "spark.executor.extraClassPath": JAR,
            "spark.plugins": CLASS,
            "spark.executor.instances": "1",
        }
        submitting.submit(
            self.variables,
            chosen | {key.replace("_", "."): value for key, value in more.items()},
            "local:///opt/report.py",
            str(executors),
        )

    def drivers(self) -> dict[str, Any]:
        found = self.cluster.items("-n", NAMESPACE, "pods", "-l", "spark-role=driver")
        return {pod["metadata"]["name"]: pod for pod in found}

    def order(self) -> list[str]:
        """The drivers that were let go, as they began to run."""
        found = self.drivers().values()
        going = (p for p in found if ADMITTED in p["metadata"]["annotations"])
        return [
            pod["metadata"]["name"]
            for pod in sorted(going, key=lambda pod: pod["metadata"]["annotations"][ADMITTED])
        ]

    def admission(self, name: str) -> dict[str, Any]:
        found = self.cluster.items("-n", NAMESPACE, "sparkadmissions")
        status = (each.get("status", {}) for each in found if each["spec"]["name"] == name)
        return next(status, {})

    def said(self, name: str) -> str:
        """What a driver has logged, without the lines of stacks."""
        lines = self.kubectl("logs", name).splitlines()
        return "\n".join(line for line in lines if not line.startswith("\tat "))

    def await_end(self, name: str) -> dict[str, Any]:
        """Wait for a driver's good end, and return what its program found."""

        def over() -> bool:
            phase = self.drivers()[name]["status"]["phase"]
            assert phase != "Failed", self.said(name)
            return bool(phase == "Succeeded")

        self.cluster.wait(over, f"{name} to end", timeout=PATIENCE)
        said = self.kubectl("logs", name).splitlines()
        (line,) = (each for each in said if each.startswith("FOUND "))
        found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
        return found


@pytest.fixture(scope="module")
def site(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    variables = submitting.home()
    image, archive = product.image_of(IMAGE)
    real_cluster.node.load(archive)
    off = {"enabled": False}
    chosen = values(real_cluster, scheduler=off, extender=off, spark={"namespaces": [NAMESPACE]})
    with installed(real_cluster, chosen, NAMESPACE):
        made = Site(real_cluster, tmp_path_factory.mktemp("spark"), image, variables)
        people(made)
        yield made
        real_cluster.kubectl("delete", "sparkqueue", QUEUE)
        real_cluster.kubectl("delete", "clusterrolebinding", "e2e-spark-users")


def people(site: Site) -> None:
    """Make a queue that is held, the two users of it, and the drivers' own account."""
    for name in (ANA, BOB, "spark"):
        site.kubectl("create", "serviceaccount", name)
        account = f"--serviceaccount={NAMESPACE}:{name}"
        site.kubectl("create", "rolebinding", name, "--clusterrole=edit", account)
    accounts = [f"--serviceaccount={NAMESPACE}:{name}" for name in (ANA, BOB)]
    role = "--clusterrole=fairstow-spark-user"
    site.cluster.kubectl("create", "clusterrolebinding", "e2e-spark-users", role, *accounts)
    queue = {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "SparkQueue",
        "metadata": {"name": QUEUE},
        "spec": {"cores": 2, "maxCoresPerApplication": 2, "hold": True},
    }
    site.cluster.apply([queue])
    site.cluster.kubectl("label", "namespace", NAMESPACE, f"fairstow.dev/spark-queue={QUEUE}")
    site.cluster.wait(
        lambda: site.cluster.get("sparkqueue", QUEUE).get("status"), "the queue to be seen"
    )


def test_a_flood_and_a_small_application_run_in_turn_and_are_charged(site: Site) -> None:
    dynamic = {
        "spark_dynamicAllocation_enabled": "true",
        "spark_dynamicAllocation_shuffleTracking_enabled": "true",
        "spark_dynamicAllocation_minExecutors": "1",
        "spark_dynamicAllocation_maxExecutors": "8",
        "spark_dynamicAllocation_schedulerBacklogTimeout": "1s",
    }
    site.submit("flood-0", BOB, executors=2, **dynamic)
    site.submit("flood-1", BOB)
    site.submit("small", ANA)
    for name, pod in site.drivers().items():
        assert GATE in [gate["name"] for gate in pod["spec"]["schedulingGates"]], name
        user = ANA if name == "small" else BOB
        said = pod["metadata"]["annotations"][USER]
        assert said == f"system:serviceaccount:{NAMESPACE}:{user}"
    capped = site.drivers()["flood-0"]["spec"]["containers"][0]["args"]
    assert "spark.dynamicAllocation.maxExecutors=2" in capped

    patch = ("patch", "sparkqueue", QUEUE, "--type=merge", "-p", '{"spec":{"hold":false}}')
    site.cluster.kubectl(*patch)
    grown = site.await_end("flood-0")
    assert grown["executors"] == 2, grown
    assert grown["builder"].startswith("dev.fairstow.spark"), grown
    site.await_end("small")
    site.await_end("flood-1")
    assert site.order() == ["flood-0", "small", "flood-1"]
    for name in ("flood-0", "small", "flood-1"):
        site.cluster.wait(
            lambda name=name: site.admission(name).get("phase") == "Ended",  # type: ignore[misc]
            f"{name} to be charged",
        )
        assert site.admission(name)["reason"] == "Charged"
        assert site.admission(name)["servedCoreSeconds"] > 0
    status = site.cluster.get("sparkqueue", QUEUE)["status"]
    assert (status["waiting"], status["running"], status.get("missed", 0)) == (0, 0, 0)
