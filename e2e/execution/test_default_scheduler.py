"""The second set-up: the default scheduler asks the extender, in a cluster of the test's own.

The scheduler's configuration is changed as an administrator changes it, and it is started anew.
Covered: pods of the default scheduler can't steal room that plans keep, so Auto acts on nodes
without a taint; the API server is killed in mid-plan. What becomes of plans where the default
scheduler doesn't ask the extender: test_auto.py.
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from e2e.controlplane.cluster import LocalCluster
from e2e.execution.work import Work
from e2e.installed import OPERATOR, Installed, installed
from scheduler_plugins.profile import Attachment, extender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster
    from e2e.execution.scene import Scene

pytestmark = pytest.mark.e2e

DEFAULT = "default-scheduler"


@pytest.fixture(scope="module")
def local(own_cluster: tuple[LocalCluster, Cluster]) -> LocalCluster:
    """Its processes."""
    return own_cluster[0]


@pytest.fixture(scope="module")
def cluster(own_cluster: tuple[LocalCluster, Cluster]) -> Cluster:
    """In place of the session's cluster."""
    return own_cluster[1]


@pytest.fixture(scope="module")
def programs(
    local: LocalCluster, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """All programs, and the default scheduler asks the extender too."""
    folder = tmp_path_factory.mktemp("installed")
    with installed(cluster, folder, enforced=f"fairstow,{DEFAULT}") as running:
        attach(local, running.own.attachment)
        yield running


def attach(local: LocalCluster, attachment: Attachment) -> None:
    """Give the default scheduler the extender."""
    path = local.folder / "scheduler.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"extenders": [extender(attachment)]})
    )
    local.processes.restart("kube-scheduler")


def test_competitors_from_the_default_scheduler_do_not_get_reserved_room(scene: Scene) -> None:
    scene.pool()
    scene.policy()
    small, big = Work(1, scheduler=DEFAULT, held=True), Work(4, cpu="40", scheduler=DEFAULT)
    before = scene.stuck(small, big, tainted=False)
    plan = scene.await_plan()
    scene.await_terminating("small")
    scene.run("gpu-thief", 6, Work(1, scheduler=DEFAULT))
    scene.run("cpu-thief", 3, Work(0, cpu="30", scheduler=DEFAULT))
    scene.await_stuck("gpu-thief", 6)
    scene.await_stuck("cpu-thief", 1)
    assert scene.finish(plan) == "Succeeded"
    (home,) = scene.await_running("big", 1)
    scene.await_running("small", 20)
    assert home not in scene.where("cpu-thief").values()
    assert not scene.where("gpu-thief")
    assert len(before - scene.uids("small")) == 2
    enforced = scene.policy_condition("ReservationNotEnforced")
    assert (enforced["status"], enforced["reason"]) == ("False", "ReservationEnforced")


@pytest.mark.full
@pytest.mark.parametrize("outage", ["short", "long"])
def test_an_api_server_that_goes_in_mid_plan(
    scene: Scene, local: LocalCluster, outage: str
) -> None:
    """A long outage costs the operator its Lease, so it ends, and is started as a kubelet would."""
    scene.programs.restarts = True
    before = scene.stuck(Work(1, held=True))
    plan = scene.plan()
    scene.approve(plan)
    scene.await_terminating("small")
    os.kill(local.processes.pid("kube-apiserver"), signal.SIGKILL)
    if outage == "long":
        ended = scene.programs.own.processes.ended
        scene.cluster.wait(lambda: OPERATOR in ended(), "the operator to end")
    local.processes.restart("kube-apiserver")
    assert scene.finish(plan) == "Succeeded"
    scene.await_running("big", 1)
    scene.await_running("small", 20)
    assert len(before - scene.uids("small")) == 2
    scene.wait(scene.unclaimed, "the room to be released")
