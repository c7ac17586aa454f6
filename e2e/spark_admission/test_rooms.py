"""Room for first pods against rivals, with Fairstow's own scheduler and extender; nodes are KWOK's.

Covered: a rival right after the release doesn't take the executors' room, nor does a plan give it
away; executors take it, and what is over once they have nodes is the rival's. Not covered: the
default scheduler, which keeps nothing without the extender; the rules case by case
(tests/scheduler_plugins/test_spark.py).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from e2e.own_scheduler import NAMESPACE, Beside, beside
from e2e.spark_admission.scene import ANA
from tests.scheduler_plugins.plans import lease

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster
    from e2e.spark_admission.scene import Json, Scene

pytestmark = pytest.mark.e2e


@pytest.fixture
def own(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Extender and scheduler, running, and the Lease of an operator that lives."""
    with beside(cluster, tmp_path_factory.mktemp("rooms")) as programs:
        programs.start_extender()
        programs.start_scheduler()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        cluster.apply([lease(renewed=now, seconds=3600)])
        cluster.wait(lambda: '"operatorAlive":true' in programs.reservations(), "its life")
        yield programs
        cluster.kubectl("-n", NAMESPACE, "delete", "lease", "fairstow-operator")


def test_a_rival_after_the_release_leaves_the_executors_their_room(
    scene: Scene, own: Beside
) -> None:
    """Of four cores the driver and two executors take three; the rival wants two."""
    scene.scheduler = "fairstow"
    scene.submit("etl", ANA, instances=2)
    scene.set_queue(hold=False, cores=100)
    with scene.controller():
        scene.await_admitted("etl")
        _rival(scene)
        scene.cluster.wait(
            lambda: "kept for Spark application" in _said(scene, "rival"), "the rival's refusal"
        )
        assert "reservation" in scene.standing("etl")
        # Nor does a plan give it away.
        told = scene.fairstow("explain", "pod/rival", "-n", scene.namespace, "--no-plan")
        assert "kept for Spark application" in told
        plan = json.loads(scene.fairstow("plan", "-o", "json"))["spec"]
        assert "rival" not in {each["name"] for each in plan["placements"]}
        assert any("kept for Spark application" in each for each in plan["notConsidered"])
        scene.executors("etl", 2)
        for name in ("etl", "etl-exec-0", "etl-exec-1"):
            scene.cluster.wait(lambda n=name: scene.pod(n)["spec"].get("nodeName"), name)  # type: ignore[misc]
        scene.cluster.wait(lambda: "Spark" not in own.reservations(), "the end of what was kept")
        scene.end("etl-exec-0", "etl-exec-1")
        scene.cluster.wait(lambda: scene.pod("rival")["spec"].get("nodeName"), "the rival's turn")


def _rival(scene: Scene) -> None:
    container = {
        "name": "main",
        "image": "example.com/none",
        "resources": {"requests": {"cpu": "2"}},
    }
    node = {"kubernetes.io/hostname": scene.node}
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "rival"},
        "spec": {"containers": [container], "nodeSelector": node, "schedulerName": "fairstow"},
    }
    scene.create(pod)


def _said(scene: Scene, name: str) -> str:
    conditions = scene.pod(name)["status"].get("conditions", ())
    return " ".join(each.get("message", "") for each in conditions)
