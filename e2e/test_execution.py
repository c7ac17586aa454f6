"""Plans carried out on a real API server and scheduler, with operator, extender and own scheduler.

Each test is named after what a user asked elsewhere. Programs run as processes beside the cluster,
each with the rights that the chart gives it (e2e/installed.py). Not covered: the same as pods
(e2e/test_chart.py); every interleaving of the state machine (tests/packing/test_execution.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.kwok import GPU, gpu_node
from e2e.installed import OPERATOR, Installed, installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e
FAIRSTOW = Path(sys.executable).with_name("fairstow")
SOON = 120.0


@pytest.fixture(scope="module")
def programs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with installed(cluster, tmp_path_factory.mktemp("installed")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_plans(programs: Installed) -> Iterator[None]:
    yield
    programs.cluster.kubectl("delete", "packingplans,packingpolicies,gpupools", "--all")


def workload(
    namespace: str, name: str, replicas: int, gpus: int, *, scheduler: str = "fairstow", **spec: Any
) -> dict[str, Any]:
    """A Deployment whose pods ask for GPUs; keywords go into the pods' spec."""
    wants = {"cpu": "1", GPU: str(gpus)}
    container = {
        "name": "main",
        "image": "registry.example/work:1",
        "resources": {"requests": wants, "limits": {GPU: str(gpus)}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"schedulerName": scheduler, "containers": [container], **spec},
            },
        },
    }


class Scene:
    """A cluster part of its own: its nodes are labelled, its pods select them."""

    def __init__(self, programs: Installed, namespace: str, folder: Path) -> None:
        self.programs, self.namespace, self.folder = programs, namespace, folder
        self.cluster = programs.cluster
        self.selector = {"scene": namespace}

    def nodes(self, count: int, gpus: int = 8) -> list[str]:
        names = [f"{self.namespace}-{index}" for index in range(count)]
        self.cluster.apply(gpu_node(name, gpus=gpus, labels=self.selector) for name in names)
        self.cluster.kubectl("wait", "--for=condition=Ready", *(f"node/{name}" for name in names))
        return names

    def run(self, name: str, replicas: int, gpus: int, *, on: str = "", **spec: Any) -> None:
        """Create a workload and, if it is pinned to a node first, let it move from then on."""
        where = {"kubernetes.io/hostname": on} if on else {}
        pods = workload(
            self.namespace, name, replicas, gpus, nodeSelector=self.selector | where, **spec
        )
        self.cluster.apply([pods])

    def running(self, name: str) -> list[str]:
        """Nodes of a workload's pods."""
        return [
            pod["spec"]["nodeName"]
            for pod in self.pods(name)
            if pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]
        ]

    def pods(self, name: str) -> list[dict[str, Any]]:
        return self.cluster.items("-n", self.namespace, "pods", "-l", f"app={name}")

    def await_running(self, name: str, count: int) -> list[str]:
        return self.cluster.wait(
            lambda: found if len(found := self.running(name)) == count else None,
            f"{count} pods of {name} to run", SOON,
        )  # fmt: skip

    def await_stuck(self, name: str) -> None:
        self.cluster.wait(
            lambda: any(
                condition.get("reason") == "Unschedulable"
                for pod in self.pods(name)
                for condition in pod["status"].get("conditions", ())
            ),
            f"{name} to be unschedulable", SOON,
        )  # fmt: skip

    def fairstow(self, *arguments: str) -> str:
        environment = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig)}
        done = subprocess.run(
            [FAIRSTOW, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def plan(self, *arguments: str) -> str:
        """Make a plan, create it, and return its name."""
        text = self.fairstow("plan", "-o", "json", *arguments)
        plan = json.loads(text)
        assert plan["spec"]["steps"], text
        self.cluster.apply([plan])
        return str(plan["metadata"]["name"])

    def approve(self, plan: str) -> None:
        self.cluster.kubectl(
            *("patch", "packingplan", plan, "--type=merge", "-p"),
            json.dumps({"spec": {"approval": {"decision": "Approved", "by": "jane"}}}),
        )

    def condition(self, plan: str, kind: str) -> dict[str, Any]:
        conditions = self.cluster.get("packingplan", plan).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def await_end(self, plan: str) -> str:
        def ended() -> str | None:
            self.programs.own.processes.check()
            for kind in ("Succeeded", "Stale"):
                if (found := self.condition(plan, kind)).get("status") == "True":
                    return str(found["reason"])
            return None

        return self.cluster.wait(ended, f"the end of {plan}", SOON)


@pytest.fixture
def scene(programs: Installed, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(programs, namespace, tmp_path)
    yield made
    programs.cluster.kubectl("-n", namespace, "delete", "deployments", "--all")
    programs.cluster.kubectl("delete", "nodes", "-l", f"scene={namespace}", "--wait=false")
    programs.cluster.kubectl("-n", namespace, "delete", "pods", "--all", "--force",
                             "--grace-period=0", "--wait=false")  # fmt: skip


def test_small_pods_move_so_that_a_big_one_fits(scene: Scene) -> None:
    """volcano#3948: nodes with 7, 6 and 7 of 8 GPUs used, a 4-GPU pod stuck."""
    scene.nodes(3)
    scene.run("small", 20, 1)
    scene.await_running("small", 20)
    scene.run("big", 1, 4)
    scene.await_stuck("big")
    plan = scene.plan()
    assert scene.cluster.wait(lambda: scene.condition(plan, "Succeeded"), "a first look")
    assert scene.condition(plan, "Succeeded")["reason"] == "WaitingForApproval"
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    assert len(scene.running("big")) == 1
    scene.await_running("small", 20)


def test_an_operator_killed_at_any_moment_is_succeeded(scene: Scene) -> None:
    scene.nodes(3)
    scene.run("small", 20, 1)
    scene.await_running("small", 20)
    scene.run("big", 1, 4)
    scene.await_stuck("big")
    plan = scene.plan()
    scene.approve(plan)
    killed: set[int] = set()
    while True:
        done = scene.cluster.get("packingplan", plan).get("status", {}).get("stepsDone", 0)
        if any(scene.condition(plan, k).get("status") == "True" for k in ("Succeeded", "Stale")):
            break
        if done not in killed:
            killed.add(done)
            scene.programs.own.processes.kill_one(OPERATOR)
            scene.programs.start_operator()
    assert scene.condition(plan, "Succeeded")["status"] == "True"
    assert len(scene.running("big")) == 1
    scene.await_running("small", 20)


def test_eight_gpus_free_over_four_nodes_and_an_eight_gpu_pod(scene: Scene) -> None:
    """kueue#5243: enough GPUs are free, on too many nodes."""
    scene.nodes(4)
    scene.run("small", 12, 2)
    scene.await_running("small", 12)
    scene.run("whole", 1, 8)
    scene.await_stuck("whole")
    plan = scene.plan()
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    scene.await_running("whole", 1)
    scene.await_running("small", 12)


def test_pods_of_one_budget_move_one_at_a_time(scene: Scene) -> None:
    """KAI-Scheduler#1579: three pods under one disruption budget."""
    scene.nodes(4)
    scene.run("guarded", 12, 2)
    scene.await_running("guarded", 12)
    scene.cluster.apply([budget(scene.namespace, "guarded", 1)])
    scene.cluster.wait(
        lambda: scene.cluster.get("-n", scene.namespace, "pdb", "guarded")["status"].get(
            "disruptionsAllowed"
        ),
        "the budget to allow a disruption",
    )
    scene.run("whole", 1, 8)
    scene.await_stuck("whole")
    plan = scene.plan()
    steps = scene.cluster.get("packingplan", plan)["spec"]["steps"]
    assert max(len(step.get("evict", ())) for step in steps) == 1
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    scene.await_running("whole", 1)


def test_a_swap_between_two_full_nodes(scene: Scene) -> None:
    """descheduler#1519: nobody can go first."""
    large, small = scene.nodes(1, gpus=4)[0], f"{scene.namespace}-small"
    scene.cluster.apply([gpu_node(small, gpus=3, labels=scene.selector)])
    scene.cluster.kubectl("wait", "--for=condition=Ready", f"node/{small}")
    scene.cluster.kubectl("cordon", small)
    scene.run("two", 1, 2)
    scene.await_running("two", 1)
    scene.cluster.kubectl("cordon", large)
    scene.cluster.kubectl("uncordon", small)
    scene.run("three", 1, 3)
    scene.await_running("three", 1)
    scene.cluster.kubectl("uncordon", large)
    scene.run("next", 1, 1, priorityClassName=high(scene.cluster), affinity=only_on(small))
    scene.await_stuck("next")
    plan = scene.plan()
    steps = scene.cluster.get("packingplan", plan)["spec"]["steps"]
    assert max(len(step.get("evict", ())) for step in steps) == 2
    scene.approve(plan)
    assert scene.await_end(plan) == "Succeeded"
    assert scene.running("three") == [large]
    assert scene.running("next") == [small]


def test_competitors_do_not_get_reserved_room(scene: Scene) -> None:
    """KEP-4563: the room is reserved before anybody is evicted. Some ask for CPU only."""
    scene.nodes(3)
    scene.run("small", 20, 1, terminationGracePeriodSeconds=5)
    scene.await_running("small", 20)
    scene.run("big", 1, 4)
    scene.await_stuck("big")
    plan = scene.plan()
    scene.run("thief", 0, 1)
    scene.approve(plan)
    scene.cluster.wait(
        lambda: scene.condition(plan, "Executing").get("status") == "True" or None, "a start"
    )
    scene.cluster.kubectl("-n", scene.namespace, "scale", "deployment/thief", "--replicas=6")
    assert scene.await_end(plan) == "Succeeded"
    assert scene.await_running("big", 1)


def test_a_plan_that_no_longer_holds_evicts_nobody(scene: Scene) -> None:
    names = scene.nodes(3)
    scene.run("small", 20, 1)
    scene.await_running("small", 20)
    before = {pod["metadata"]["uid"] for pod in scene.pods("small")}
    scene.run("big", 1, 4)
    scene.await_stuck("big")
    plan = scene.plan()
    for name in names:
        scene.cluster.kubectl("cordon", name)
    scene.approve(plan)
    assert scene.await_end(plan) == "NodeChanged"
    assert {pod["metadata"]["uid"] for pod in scene.pods("small")} == before


def test_a_rejected_plan_and_a_stopped_one_do_nothing(scene: Scene) -> None:
    scene.nodes(3)
    scene.run("small", 20, 1)
    scene.await_running("small", 20)
    before = {pod["metadata"]["uid"] for pod in scene.pods("small")}
    scene.run("big", 1, 4)
    scene.await_stuck("big")
    for change, reason in (
        ({"approval": {"decision": "Rejected", "by": "jane"}}, "Rejected"),
        ({"abort": {"by": "jane"}}, "Aborted"),
    ):
        plan = scene.plan(f"--seed={len(reason)}")
        scene.cluster.kubectl(
            "patch", "packingplan", plan, "--type=merge", "-p", json.dumps({"spec": change})
        )
        assert scene.await_end(plan) == reason
    assert {pod["metadata"]["uid"] for pod in scene.pods("small")} == before


def budget(namespace: str, app: str, most: int) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": app, "namespace": namespace},
        "spec": {"maxUnavailable": most, "selector": {"matchLabels": {"app": app}}},
    }


def high(cluster: Cluster) -> str:
    """A priority class for pods that evict nobody, else preemption would have them run at once."""
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "e2e-high-never"},
        "value": 1000,
        "preemptionPolicy": "Never",
    }
    cluster.apply([priority])
    return "e2e-high-never"


def only_on(node: str) -> dict[str, Any]:
    """An affinity to one node."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    required = {"nodeSelectorTerms": terms}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
