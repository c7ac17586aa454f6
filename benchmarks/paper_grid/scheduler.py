"""Where the default scheduler puts the paper's pods: its filters and scores, without a cluster.

Who calls it: `instances` (placement) and e2e/test_default_placement.py, which compares filters,
scores and choices with the real kube-scheduler 1.37, step by step.

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

Integers are cut as Go cuts them. Where one node is feasible nothing is scored. Ties are the
caller's: the scheduler breaks them at random. Not played: preemption, which the authors switched
off too (an evicted pod would come back as a new one).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor, log

MOST_PODS = 110
_WEIGHT_SPREAD = 2
_MAX_SKEW = 3
"""Of the scheduler's default constraint over hostnames."""


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
    used: list[tuple[int, int]] = field(init=False)
    pods: list[int] = field(init=False)
    of_set: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.used, self.pods = [(0, 0)] * self.count, [0] * self.count

    def scores(self, replica_set: str, cpu: int, memory: int) -> dict[int, int]:
        """Return the nodes with room for a pod and their scores; 0 where there is one node."""
        fitting = [
            n
            for n, (c, m) in enumerate(self.used)
            if c + cpu <= self.cpu and m + memory <= self.memory and self.pods[n] < MOST_PODS
        ]
        if len(fitting) < 2:
            return dict.fromkeys(fitting, 0)
        spread = self._spread(replica_set, fitting)
        return {
            n: self._least(n, cpu, memory)
            + self._balance(n, cpu, memory)
            + _WEIGHT_SPREAD * spread[n]
            for n in fitting
        }

    def bind(self, replica_set: str, cpu: int, memory: int, node: int) -> None:
        """Put a pod on a node."""
        self.used[node] = (self.used[node][0] + cpu, self.used[node][1] + memory)
        self.pods[node] += 1
        self.of_set[replica_set, node] = self.of_set.get((replica_set, node), 0) + 1

    def _least(self, node: int, cpu: int, memory: int) -> int:
        free_cpu, free_memory = self.cpu - self.used[node][0], self.memory - self.used[node][1]
        return (
            (free_cpu - cpu) * 100 // self.cpu + (free_memory - memory) * 100 // self.memory
        ) // 2

    def _balance(self, node: int, cpu: int, memory: int) -> int:
        before = self.used[node]
        after = (before[0] + cpu, before[1] + memory)
        return 50 + (50 + self._even(after) - self._even(before)) // 2

    def _even(self, used: tuple[int, int]) -> int:
        deviation = abs((used[0] / self.cpu - used[1] / self.memory) / 2)
        return int((1 - deviation) * 100)

    def _spread(self, replica_set: str, fitting: list[int]) -> Mapping[int, int]:
        weight = log(len(fitting) + 2)
        raw = {
            n: floor(self.of_set.get((replica_set, n), 0) * weight + _MAX_SKEW - 1 + 0.5)
            for n in fitting
        }
        least, most = min(raw.values()), max(raw.values())
        return {n: 100 * (most + least - r) // most for n, r in raw.items()}
