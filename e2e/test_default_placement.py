"""The benchmark's default placement against the real scheduler, pod by pod.

Instances of the paper's grid are created on a real control plane as the paper does it: one
ReplicaSet after the other; the smallest of three, and with `make e2e-full` all. The simulation
follows the scheduler's own choices, so that one tie broken the other way is no difference, and must
agree at every step on the nodes that are feasible, on every node's score (read from the scheduler's
log), on whom a pod that fits nowhere preempts, and hence on the nodes among which it chooses at
random; at the end on the pods that stay pending.

Not covered: how ties are broken, and the order in which pods that wait are tried again.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.paper_grid.instances import Cell, Instance, instance
from benchmarks.paper_grid.placement import State
from benchmarks.paper_grid.scheduler import MOST_PODS, Nodes, ReplicaSet
from e2e.controlplane.cluster import LocalCluster
from e2e.controlplane.kwok import FAKE
from e2e.controlplane.options import ClusterOptions

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.controlplane.client import Cluster

pytestmark = pytest.mark.e2e

INSTANCES = (
    (Cell(4, 4, 4, 105), 4),
    (Cell(8, 8, 2, 105), 1),
    (Cell(16, 4, 1, 95), 2),
)
SAID = (
    "Attempting to schedule pod",
    "Plugin scored node for pod",
    "Successfully bound pod to node",
    "Preemptor Pod preempted victim Pod",
    "Delete event for scheduled pod",
)
LINE = re.compile(
    rf'"(?P<said>{"|".join(SAID)})" (?:pod|preemptor)="(?P<pod>[^"]+)"(?: plugin="[^"]+")?'
    r'(?: victim="(?P<victim>[^"]+)")?(?: node="(?P<node>[^"]+)")?(?: score=(?P<score>[0-9]+))?'
)


@dataclass
class Attempt:
    """One turn of a pod, as the scheduler logged it.

    Attributes:
        scores: by node; none where one node was feasible, or none.
        victims: whom the pod preempted, all on `node`.
        node: where it was bound or what it preempted for; "" where it stayed pending.
        gone: pods that ended before this turn.
    """

    pod: str
    scores: dict[str, int] = field(default_factory=dict)
    victims: set[str] = field(default_factory=set)
    node: str = ""
    gone: list[str] = field(default_factory=list)


@pytest.mark.usefixtures("local_programs")
@pytest.mark.parametrize(
    ("chosen", "least"),
    [
        pytest.param(INSTANCES[:1], (1, 1, 1), id="smallest"),
        pytest.param(INSTANCES, (100, 10, 5), id="all", marks=pytest.mark.full),
    ],
)
def test_every_step_of_an_instance(
    tmp_path: Path, chosen: tuple[tuple[Cell, int], ...], least: tuple[int, int, int]
) -> None:
    """At `least` so many choices are scored, ties and preemptions: else the log wasn't read."""
    cases = [instance(cell, seed) for cell, seed in chosen]
    with LocalCluster(tmp_path / "c", ClusterOptions(scheduler_args=("--v=10",))) as running:
        running.apply(priority_class(p) for p in range(1, 5))
        starts = [create(running, f"grid-{i}", case) for i, case in enumerate(cases)]
    log = (tmp_path / "c" / "logs" / "kube-scheduler.log").read_text(errors="replace")
    seen = Counter[str]()
    for i, case in enumerate(cases):
        own = [line for line in log.splitlines() if f'="grid-{i}/' in line]
        seen += Replay(f"grid-{i}", case, starts[i]).follow(read(own))
    found = (seen["scored"], seen["ties"], seen["preempted"])
    assert all(count >= needed for count, needed in zip(found, least, strict=True)), found
    assert seen["unclear"] <= seen["preempted"]


class Replay:
    """The simulation, led by the real scheduler's choices."""

    def __init__(self, namespace: str, case: Instance, starts: dict[str, int]) -> None:
        self.starts = starts
        self.state = State(Nodes(case.cell.nodes, case.cpu, case.memory))
        self.sets = {s.name: s for s in case.sets}
        self.names = [f"{namespace}-{n}" for n in range(case.cell.nodes)]
        self.numbers: dict[str, int] = {}
        self.at: dict[str, int] = {}
        self.seen = Counter[str]()

    def follow(self, attempts: list[Attempt]) -> Counter[str]:
        """Check every attempt; return how many there were of each kind."""
        for attempt in attempts:
            for pod in attempt.gone:
                self.state.evict(self.numbers[pod], self.at.pop(pod))
            number = self.numbers.setdefault(attempt.pod, len(self.numbers))
            wanted = self.sets[attempt.pod.rpartition("-")[0].rpartition("/")[2]]
            expected = self.state.scores(number, wanted)
            if attempt.victims:
                assert not expected, attempt
                self._preempted(attempt, number, wanted)
            elif attempt.node:
                self._bound(attempt, number, wanted, expected)
            else:
                waits = number in self.state.nominated  # for its victims to end
                assert waits or not self.state.preemptions(number, wanted), attempt
                assert not expected, attempt
        return self.seen

    def _bound(
        self, attempt: Attempt, number: int, wanted: ReplicaSet, expected: dict[int, int]
    ) -> None:
        node = self.names.index(attempt.node)
        best = max(expected.values(), default=None)
        assert expected.get(node) == best, attempt
        if best is not None and len(expected) > 1:
            # The other plugins score all of these nodes alike.
            relative = {self.names[n]: score - best for n, score in expected.items()}
            most = max(attempt.scores.values())
            assert {n: s - most for n, s in attempt.scores.items()} == relative, attempt
            self.seen["scored"] += 1
            self.seen["ties"] += sum(score == best for score in expected.values()) > 1
        latest = max(self.starts.values())  # of one that was evicted at once
        self.state.bind(number, wanted, node, self.starts.get(attempt.pod, latest))
        self.at[attempt.pod] = node

    def _preempted(self, attempt: Attempt, number: int, wanted: ReplicaSet) -> None:
        node = self.names.index(attempt.node)
        best = self.state.preemptions(number, wanted)
        if self._unclear():
            self.seen["unclear"] += 1
        else:
            assert set(best.get(node, ())) == {self.numbers[v] for v in attempt.victims}, attempt
            self.seen["preempted"] += 1
        self.state.nominate(number, wanted, node)

    def _unclear(self) -> bool:
        """Whether pods of two sets of equal priority on one node started in the same second.

        Which of them is spared first is left to a sort that isn't stable.
        """
        for pods in self.state.running:
            ages = {(own.name, own.priority, self.state.started(p)) for p, own in pods.items()}
            if len({age[1:] for age in ages}) < len(ages):
                return True
        return False


def read(lines: list[str]) -> list[Attempt]:
    """Return the attempts in a scheduler's log, in order."""
    attempts: list[Attempt] = []
    latest: dict[str, Attempt] = {}
    gone: list[str] = []
    for match in filter(None, map(LINE.search, lines)):
        said, pod, victim, node, score = match.group("said", "pod", "victim", "node", "score")
        if said.startswith("Attempting"):
            latest[pod] = Attempt(pod, gone=gone)
            attempts.append(latest[pod])
            gone = []
        elif said.startswith("Plugin"):
            scores = latest[pod].scores
            scores[node] = scores.get(node, 0) + int(score)
        elif said.startswith("Delete"):
            gone.append(pod)
        else:  # bound, or preempted
            latest[pod].node = node
            latest[pod].victims |= {victim} if victim else set()
    return attempts


def create(running: Cluster, namespace: str, case: Instance) -> dict[str, int]:
    """Create an instance, one ReplicaSet after the other; return when its pods started, in s."""
    running.kubectl("create", "namespace", namespace)
    running.wait(
        lambda: running.get("-n", namespace, "serviceaccount", "default"), "the ServiceAccount"
    )
    names = [f"{namespace}-{n}" for n in range(case.cell.nodes)]
    running.apply(node(name, namespace, case) for name in names)
    running.kubectl("wait", "--for=condition=Ready", *(f"node/{name}" for name in names))
    starts: dict[str, int] = {}
    created = 0
    for wanted in case.sets:
        running.apply([replica_set(wanted, namespace)])
        created += wanted.replicas
        starts |= await_decisions(running, namespace, created)
        # Victims are compared by when they started, in whole seconds.
        time.sleep(1.1)
    return starts


def await_decisions(running: Cluster, namespace: str, created: int) -> dict[str, int]:
    """Wait until the scheduler has said of each pod where it goes or that it can't, for good."""

    def decided() -> bool:
        pods = running.items("pods", "-n", namespace)
        settled = [
            p["status"].get("startTime")
            or (
                any(c["type"] == "PodScheduled" for c in p["status"].get("conditions", ()))
                and not p["status"].get("nominatedNodeName")
            )
            for p in pods
            if not p["metadata"].get("deletionTimestamp")
        ]
        return len(settled) == len(pods) == created and all(settled)

    running.wait(decided, f"the scheduler's word on {created} pods of {namespace}")
    found = {
        f"{namespace}/{p['metadata']['name']}": p["status"].get("startTime")
        for p in running.items("pods", "-n", namespace)
    }
    return {
        pod: int(datetime.fromisoformat(start).timestamp()) for pod, start in found.items() if start
    }


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
