"""What the default scheduler thinks of the paper's nodes: its filters and scores, by formula.

Who calls it: `placement`; e2e/test_default_placement.py compares both with the real kube-scheduler
1.37, step by step.

All nodes are equal, without zone labels, taints or images, so three plugins tell them apart:

    NodeResourcesFit, weight 1               LeastAllocated: mean of the free shares of CPU and
                                             memory after the pod, in whole per cent
    NodeResourcesBalancedAllocation, 1       50 + (50 + with − without) / 2, where with and without
                                             are 100 · (1 − |CPU share − memory share| / 2) after
                                             and before the pod
    PodTopologySpread, weight 2              the default soft constraint of pods of a ReplicaSet,
                                             maxSkew 3 over hostnames: n · ln(feasible + 2) + 2 of a
                                             node with n pods of the set, normalised so that fewest
                                             pods score 100

Integers are cut as Go cuts them. Where one node is feasible nothing is scored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log

Room = tuple[int, int]
"""Milli-CPU, bytes."""

MOST_PODS = 110
_WEIGHT_SPREAD = 2
_MAX_SKEW = 3
"""Of the scheduler's default constraint over hostnames."""


@dataclass(frozen=True)
class ReplicaSet:
    """Equal pods. Units: milli-CPU, bytes."""

    name: str
    replicas: int
    cpu: int
    memory: int
    priority: int


@dataclass
class Nodes:
    """Equal nodes and what runs on them; units: milli-CPU, bytes.

    Attributes:
        used: CPU and memory requested, by node.
        pods: pods by node.
        of_set: pods by (ReplicaSet, node).
    """

    count: int
    cpu: int
    memory: int
    used: list[Room] = field(init=False)
    pods: list[int] = field(init=False)
    of_set: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.used, self.pods = [(0, 0)] * self.count, [0] * self.count

    def fits(self, wanted: ReplicaSet, node: int, held: Room = (0, 0)) -> bool:
        """Whether a node has room for a pod of a set beside what is held for others there."""
        used = self.used[node]
        return (
            used[0] + held[0] + wanted.cpu <= self.cpu
            and used[1] + held[1] + wanted.memory <= self.memory
            and self.pods[node] < MOST_PODS
        )

    def scores(self, wanted: ReplicaSet, feasible: Sequence[int]) -> dict[int, int]:
        """Return the scores of the feasible nodes; 0 where there is one."""
        if len(feasible) < 2:
            return dict.fromkeys(feasible, 0)
        spread = self._spread(wanted.name, feasible)
        return {
            n: self._least(n, wanted) + self._balance(n, wanted) + _WEIGHT_SPREAD * spread[n]
            for n in feasible
        }

    def add(self, pod: ReplicaSet, node: int, count: int = 1) -> None:
        """Put a pod of a set on a node, or take one off with a count of −1."""
        used = self.used[node]
        self.used[node] = (used[0] + count * pod.cpu, used[1] + count * pod.memory)
        self.pods[node] += count
        self.of_set[pod.name, node] = self.of_set.get((pod.name, node), 0) + count

    def _least(self, node: int, pod: ReplicaSet) -> int:
        cpu = self.cpu - self.used[node][0] - pod.cpu
        memory = self.memory - self.used[node][1] - pod.memory
        return (cpu * 100 // self.cpu + memory * 100 // self.memory) // 2

    def _balance(self, node: int, pod: ReplicaSet) -> int:
        before = self.used[node]
        after = (before[0] + pod.cpu, before[1] + pod.memory)
        return 50 + (50 + self._even(after) - self._even(before)) // 2

    def _even(self, used: Room) -> int:
        deviation = abs((used[0] / self.cpu - used[1] / self.memory) / 2)
        return int((1 - deviation) * 100)

    def _spread(self, replica_set: str, fitting: Sequence[int]) -> Mapping[int, int]:
        weight = log(len(fitting) + 2)
        raw = {
            n: floor(self.of_set.get((replica_set, n), 0) * weight + _MAX_SKEW - 1 + 0.5)
            for n in fitting
        }
        least, most = min(raw.values()), max(raw.values())
        return {n: 100 * (most + least - r) // most for n, r in raw.items()}
