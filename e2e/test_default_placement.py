"""The benchmark's default placement against the real scheduler, pod by pod.

Three instances of the paper's grid are created on a real control plane as the paper does it: one
ReplicaSet after the other, preemption off. The simulation follows the scheduler's own choices, so
that one tie broken the other way is no difference, and must agree at every step on the nodes that
are feasible, on every node's score (read from the scheduler's log) and hence on the nodes among
which it chooses at random; at the end on the pods that stay pending.

Not covered: preemption, and how ties are broken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.paper_grid.instances import Cell, Instance, ReplicaSet, instance
from benchmarks.paper_grid.scheduler import MOST_PODS, Nodes
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kwok import FAKE
from e2e.controlplane.options import ClusterOptions

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

INSTANCES = (
    (Cell(4, 4, 4, 100), 0),
    (Cell(8, 8, 2, 105), 1),
    (Cell(16, 4, 1, 95), 2),
)
ATTEMPT = re.compile(r'"Attempting to schedule pod" pod="([^"]+)"')
SCORE = re.compile(
    r'"Plugin scored node for pod" pod="([^"]+)" plugin="[^"]+" node="([^"]+)" score=(\d+)'
)


@dataclass
class Attempt:
    """One turn of a pod: what the scheduler logged of it. Attributes: scores: by node."""

    pod: str
    scores: dict[str, int] = field(default_factory=dict)


@pytest.mark.usefixtures("local_programs")
def test_every_step_of_three_instances(tmp_path: Path) -> None:
    no_preemption = {"multiPoint": {"disabled": [{"name": "DefaultPreemption"}]}}
    options = ClusterOptions(
        scheduler_args=("--v=10",),
        scheduler_config={"profiles": [{"plugins": no_preemption}]},
    )
    cases = [instance(cell, seed) for cell, seed in INSTANCES]
    with LocalCluster(tmp_path / "c", options) as running:
        running.apply(priority_class(p) for p in range(1, 5))
        found = [create(running, f"grid-{i}", case) for i, case in enumerate(cases)]
    log = (tmp_path / "c" / "logs" / "kube-scheduler.log").read_text(errors="replace")
    attempts = read(log)
    steps = choices = 0
    for i, (case, placed) in enumerate(zip(cases, found, strict=True)):
        own = [a for a in attempts if a.pod.startswith(f"grid-{i}/")]
        scored, open_choices = follow(f"grid-{i}", case, placed, own)
        steps, choices = steps + scored, choices + open_choices
    print(steps, choices)
    assert steps >= 100  # else the log wasn't understood
    assert choices >= 10  # steps at which a tie was broken at random


def follow(
    namespace: str, case: Instance, placed: dict[str, str | None], attempts: list[Attempt]
) -> tuple[int, int]:
    """Replay an instance; return how many steps had scores, and how many had a tie for best."""
    nodes = Nodes(case.cell.nodes, case.cpu, case.memory)
    sets = {s.name: s for s in case.sets}
    names = [f"{namespace}-{n}" for n in range(case.cell.nodes)]
    seen: set[str] = set()
    scored = ties = 0
    for attempt in attempts:
        pod = attempt.pod.partition("/")[2]
        if pod in seen:
            assert placed[pod] is None, "only a pod that found no place is tried again"
            continue
        seen.add(pod)
        wanted = sets[pod.rpartition("-")[0]]
        expected = nodes.scores(wanted.name, wanted.cpu, wanted.memory)
        node = placed[pod]
        if node is None:
            assert not expected, (pod, "stays pending")
            continue
        at = names.index(node)
        if len(expected) > 1:
            scored += 1
            best = max(expected.values())
            ties += sum(score == best for score in expected.values()) > 1
            # The other plugins score all of these nodes alike.
            relative = {names[n]: score - best for n, score in expected.items()}
            most = max(attempt.scores.values())
            assert {n: s - most for n, s in attempt.scores.items()} == relative, pod
            assert expected[at] == best, pod
        assert at in expected, pod
        nodes.bind(wanted.name, wanted.cpu, wanted.memory, at)
    assert seen == set(placed)
    return scored, ties


def read(log: str) -> list[Attempt]:
    """Return the attempts of a scheduler's log, in order."""
    attempts: list[Attempt] = []
    for line in log.splitlines():
        if match := ATTEMPT.search(line):
            attempts.append(Attempt(match[1]))
        elif match := SCORE.search(line):
            pod, node, score = match.groups()
            assert attempts[-1].pod == pod
            scores = attempts[-1].scores
            scores[node] = scores.get(node, 0) + int(score)
    return attempts


def create(running: Cluster, namespace: str, case: Instance) -> dict[str, str | None]:
    """Create an instance, one ReplicaSet after the other; return each pod's node, or None."""
    running.kubectl("create", "namespace", namespace)
    running.wait(
        lambda: running.get("-n", namespace, "serviceaccount", "default"), "the ServiceAccount"
    )
    names = [f"{namespace}-{n}" for n in range(case.cell.nodes)]
    running.apply(node(name, namespace, case) for name in names)
    running.kubectl("wait", "--for=condition=Ready", *(f"node/{name}" for name in names))
    for wanted in case.sets:
        running.apply([replica_set(wanted, namespace)])
        await_decision(running, namespace, wanted)
    pods = running.items("pods", "-n", namespace)
    return {p["metadata"]["name"]: p["spec"].get("nodeName") for p in pods}


def await_decision(running: Cluster, namespace: str, wanted: ReplicaSet) -> None:
    """Wait until the scheduler has said of each pod of a set where it goes or that it can't."""

    def decided() -> bool:
        pods = running.items("pods", "-n", namespace, "-l", f"app={wanted.name}")
        said = [
            p["spec"].get("nodeName")
            or any(c["type"] == "PodScheduled" for c in p["status"].get("conditions", ()))
            for p in pods
        ]
        return len(said) == wanted.replicas and all(said)

    running.wait(decided, f"the scheduler's word on all pods of {wanted.name}")


def priority_class(value: int) -> dict[str, Any]:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": f"p{value}"},
        "value": value,
    }


def node(name: str, instance_name: str, case: Instance) -> dict[str, Any]:
    """A node as the paper makes them: no zone."""
    room = {"cpu": f"{case.cpu}m", "memory": str(case.memory), "pods": str(MOST_PODS)}
    labels = {"kubernetes.io/hostname": name, "instance": instance_name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": dict(FAKE)},
        "status": {"capacity": room, "allocatable": room},
    }


def replica_set(wanted: ReplicaSet, namespace: str) -> dict[str, Any]:
    requests = {"cpu": f"{wanted.cpu}m", "memory": str(wanted.memory)}
    labels = {"app": wanted.name}
    spec = {
        "priorityClassName": f"p{wanted.priority}",
        # Instances share the cluster, not the nodes.
        "nodeSelector": {"instance": namespace},
        "containers": [
            {
                "name": "main",
                "image": "registry.example/work:1",
                "resources": {"requests": requests},
            }
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": wanted.name, "namespace": namespace},
        "spec": {
            "replicas": wanted.replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
