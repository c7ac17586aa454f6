"""Plays a seed's arrivals against a policy: place one by one, never move.

Scores depend on the node's room and the pod's class only, so they are kept per class and node and
computed anew just for nodes that changed since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.fragmentation.policies import NEVER, Policy, Random
from benchmarks.fragmentation.state import Rooms, after, allowed, empty, fits
from benchmarks.fragmentation.trace import Arrivals, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.fragmentation.state import Floats, Ints


@dataclass
class Outcome:
    """What one seed gave, in % of the cluster's GPUs.

    Attributes:
        unallocated: at 95, 100 and 130 % of GPU capacity arrived (FGD's rounding).
        placed: pods placed by kind (cpu, shared, one, more) and how many arrived.
        moves: pods moved.
        left: free milli-GPUs of every GPU at the end.
    """

    unallocated: dict[int, float] = field(default_factory=dict)
    placed: dict[str, tuple[int, int]] = field(default_factory=dict)
    moves: int = 0
    left: tuple[int, ...] = ()

    @property
    def pods(self) -> int:
        """All pods placed."""
        return sum(placed for placed, _ in self.placed.values())


class Cluster:
    """Rooms, cached scores, and where every pod runs."""

    def __init__(self, workload: Workload, nodes: tuple[int, ...], policy: Policy) -> None:
        self.workload = workload
        self.rooms: Rooms = empty(workload, nodes)
        self.models = allowed(workload)
        self._cached = not isinstance(policy, Random)
        n, classes = len(nodes), len(workload.classes)
        self._version = np.zeros(n, np.int64)
        self._seen = np.full((classes, n), -1)
        self._score = np.zeros((classes, n))
        self._slot = np.zeros((classes, n), np.int64)
        self.use(policy)

    def use(self, policy: Policy) -> None:
        """Place by this policy from now on."""
        self.policy = policy
        self._seen[:] = -1

    def best(self, number: int, but: int = -1) -> tuple[int, int]:
        """Return the best node for a class and the GPU there, or (-1, -1) where none fits."""
        pod = self.workload.classes[number]
        fit = fits(self.rooms, pod, self.models[number])
        if but >= 0:
            fit[but] = False
        stale = fit & (self._seen[number] != self._version) if self._cached else fit
        rows = np.flatnonzero(stale)
        if len(rows):
            found = self.policy.score(self.rooms.take(rows), pod)
            self._score[number, rows], self._slot[number, rows] = found
            self._seen[number, rows] = self._version[rows]
        node = int(np.where(fit, self._score[number], NEVER).argmax())
        if not fit[node]:
            return -1, -1
        return node, int(self._slot[number, node]) if pod.shared else -1

    def change(self, node: int, room: Rooms) -> None:
        """Set a node's room to the one row of `room`."""
        self.rooms.cpu[node], self.rooms.memory[node] = room.cpu[0], room.memory[0]
        self.rooms.gpus[node], self.rooms.kinds[node] = room.gpus[0], room.kinds[0]
        self._version[node] += 1

    def place(self, number: int, node: int, slot: int) -> Ints:
        """Place a pod of a class; returns which GPUs it took of how much, (8,)."""
        before = self.rooms.take(np.array([node]))
        left = after(before, self.workload.classes[number], np.array([slot]))
        self.change(node, left)
        taken: Ints = before.gpus[0] - left.gpus[0]
        return taken


KINDS = ("cpu", "shared", "one", "more")
MARKS = (95, 100, 130)


def simulate(
    workload: Workload,
    arrivals: Arrivals,
    cluster: Cluster,
    rescue: Callable[[int], int] | None = None,
    placed: Callable[[int, int, Ints], None] | None = None,
) -> Outcome:
    """Play the arrivals.

    Args:
        workload: the workload.
        arrivals: of one seed.
        cluster: empty; holds the state afterwards.
        rescue: called with the class of a pod with GPU that fits nowhere; may make room by moves
            and place it, and returns how many pods it moved (0: nothing done).
        placed: told of each placement: class, node, GPU amounts taken (8,).
    """
    sums = dict.fromkeys(MARKS, 0.0)
    hits = dict.fromkeys(MARKS, 0)
    counts = {kind: [0, 0] for kind in KINDS}
    arrived = allocated = moves = 0
    for number in arrivals.classes:
        pod = workload.classes[number]
        kind = KINDS[0 if not pod.gpus else 1 if pod.shared else 2 if pod.gpus == 1 else 3]
        arrived += pod.milli
        counts[kind][1] += 1
        node, slot = cluster.best(number)
        moved = 0
        if node >= 0:
            taken = cluster.place(number, node, slot)
            if placed:
                placed(number, node, taken)
        elif rescue and pod.gpus:
            moved = rescue(number)
        if node >= 0 or moved:
            moves += moved
            allocated += pod.milli
            counts[kind][0] += 1
        mark = round(arrived * 100 / workload.capacity)
        if mark in sums:
            sums[mark] += allocated
            hits[mark] += 1
    free = cluster.rooms.gpus[np.arange(8) < cluster.rooms.count[:, None]]
    return Outcome(
        {m: 100 - 100 * sums[m] / hits[m] / workload.capacity for m in MARKS if hits[m]},
        {kind: (done, came) for kind, (done, came) in counts.items()},
        moves,
        tuple(int(g) for g in free),
    )


def remainders(
    workload: Workload, arrivals: Arrivals, cluster: Cluster
) -> tuple[Floats, Floats, Outcome]:
    """Play the arrivals and return, by free milli-GPU in steps of 10, what came of such a GPU.

    The first array sums the final free milli-GPU over every visit of a GPU to that amount, the
    second counts the visits.
    """
    total, visits = np.zeros(101), np.zeros(101)
    seen: dict[tuple[int, int], list[int]] = {}

    def placed(_number: int, node: int, taken: Ints) -> None:
        for gpu in np.flatnonzero(taken):
            amount = int(cluster.rooms.gpus[node, gpu]) // 10
            seen.setdefault((node, int(gpu)), [100]).append(amount)

    outcome = simulate(workload, arrivals, cluster, placed=placed)
    for (node, gpu), amounts in seen.items():
        for amount in amounts:
            total[amount] += cluster.rooms.gpus[node, gpu]
            visits[amount] += 1
    return total, visits, outcome
