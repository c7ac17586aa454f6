"""Makes room for a pod that fits nowhere by moving few running pods, within a limit.

Two ways, the cheaper first: *relocate* one pod of a node to another node (1 move), or *exchange* a
pod of a node with a smaller one of another (2 moves; both go down together, as in a plan's step).
Of the relocations that let the pod in, the one with the greatest fall of `Rehearsed.cost` is done;
of the exchanges, the one of the closest sizes. A pod is placed by its policy as ever; moves serve
only pods that would be lost.

Placements alone only take room, so what was hopeless stays so: it is looked at again after a move
or after `PATIENCE` placements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.fragmentation.policies import NEVER, Rehearsed, tightest
from benchmarks.fragmentation.state import Rooms, after, fits
from benchmarks.fragmentation.trace import GPU

if TYPE_CHECKING:
    from benchmarks.fragmentation.simulate import Cluster
    from benchmarks.fragmentation.state import Bools, Floats, Ints

PATIENCE = 50
TRIED = 64
"""Exchanges tried, the closest sizes first, before a pod is given up."""


class Mover:
    """Knows where every pod runs; `placed` and `rescue` go to `simulate`."""

    def __init__(self, cluster: Cluster, judge: Rehearsed, limit: float, pods: int) -> None:
        """Limit: moves per pod placed so far. Pods: how many can arrive at most."""
        self._cluster, self._judge, self._limit = cluster, judge, limit
        self._node = np.zeros(pods, np.int64)
        self._class = np.zeros(pods, np.int64)
        self._taken = np.zeros((pods, 8), np.int64)
        self._count = self.moves = self._since = 0
        self._hopeless: set[int] = set()
        self._takers: dict[int, Bools] = {}
        classes = cluster.workload.classes
        self._cpu = np.array([c.cpu for c in classes])
        self._memory = np.array([c.memory for c in classes])
        self._milli = np.array([c.milli for c in classes])
        self._share = np.array([c.share for c in classes])
        self._gpus = np.array([c.gpus for c in classes])
        milli, cpu = self._milli, self._cpu
        self._smaller = (milli[None, :] < milli[:, None]) | (
            (milli[None, :] == milli[:, None]) & (cpu[None, :] < cpu[:, None])
        )

    def placed(self, number: int, node: int, taken: Ints) -> None:
        """Note a placement."""
        i = self._count
        self._node[i], self._class[i], self._taken[i] = node, number, taken
        self._count += 1
        self._since += 1
        if self._since > PATIENCE:
            self._look_again()

    def rescue(self, number: int) -> int:
        """Place a pod of this class by moving others; returns how many, 0 if it stays lost."""
        left = int(self._limit * self._count) - self.moves
        if left < 1 or number in self._hopeless:
            return 0
        pods, rooms = self._victims(number)
        moved = self._relocate(number, pods, rooms)
        if not moved and left > 1:
            moved = self._exchange(number, pods, rooms)
        self.moves += moved
        if moved:
            self._look_again()
        else:
            self._hopeless.add(number)
        return moved

    def _look_again(self) -> None:
        self._since = 0
        self._takers.clear()
        self._hopeless.clear()

    def _without(self, pods: Ints) -> Rooms:
        """Return the rooms of these pods' nodes, each without that pod."""
        rooms = self._cluster.rooms.take(self._node[pods])
        rooms.cpu += self._cpu[self._class[pods]]
        rooms.memory += self._memory[self._class[pods]]
        rooms.gpus += self._taken[pods]
        return rooms

    def _victims(self, number: int) -> tuple[Ints, Rooms]:
        """Return the running pods without which their node takes the class, and those rooms.

        One per node and class stands for its equals.
        """
        running = slice(0, self._count)
        cpu = self._cluster.rooms.cpu[self._node[running]] + self._cpu[self._class[running]]
        pods = np.flatnonzero((cpu >= self._cpu[number]) & (self._class[running] != number))
        rooms = self._without(pods)
        fit = fits(rooms, self._cluster.workload.classes[number], self._cluster.models[number])
        pods, rooms = pods[fit], rooms.take(fit)
        _, first = np.unique(self._node[pods] * len(self._cpu) + self._class[pods], True)
        return pods[first], rooms.take(first)

    def _relocate(self, number: int, pods: Ints, rooms: Rooms) -> int:
        cluster, judge = self._cluster, self._judge
        classes = cluster.workload.classes
        gain = np.full(len(pods), NEVER)
        targets = np.full(len(pods), -1)
        for c in np.unique(self._class[pods]):
            first, _ = cluster.best(int(c))
            if first < 0:
                continue
            mine = np.flatnonzero(self._class[pods] == c)
            at_first = self._node[pods[mine]] == first
            second = cluster.best(int(c), but=first)[0] if at_first.any() else -1
            targets[mine] = np.where(at_first, second, first)
            mine = mine[targets[mine] >= 0]
            away = judge.fall(cluster.rooms.take(targets[mine]), classes[c]).score
            here = judge.fall(rooms.take(mine), classes[number]).score
            gain[mine] = away + here + self._fall_without(pods[mine], rooms.take(mine))
        if not len(gain) or gain.max() == NEVER:
            return 0
        best = int(gain.argmax())
        victim = int(pods[best])
        origin = int(self._node[victim])
        self._take_out(victim)
        self._put(victim, int(self._class[victim]), int(targets[best]))
        self._put(None, number, origin)
        return 1

    def _fall_without(self, pods: Ints, rooms: Rooms) -> Floats:
        """Return the fall of cost by taking each pod out of its node (mostly below 0)."""
        before = self._cluster.rooms.take(self._node[pods])
        return self._judge.cost(before) - self._judge.cost(rooms)

    def _exchange(self, number: int, pods: Ints, rooms: Rooms) -> int:
        pod = self._cluster.workload.classes[number]
        full = after(rooms, pod, tightest(rooms, pod) if pod.shared else None)
        theirs = self._class[pods]
        possible = self._smaller[theirs] & self._all_fit(full)
        some = possible.any(axis=1)
        for c in np.unique(theirs[some]):
            possible[theirs == c] &= self._replaceable(int(c))
        index, other = np.nonzero(possible)
        apart = (self._milli[theirs[index]] - self._milli[other]) * GPU + (
            self._cpu[theirs[index]] - self._cpu[other]
        )
        for k in np.argsort(apart, kind="stable")[:TRIED]:
            victim, q = int(pods[index[k]]), int(other[k])
            here, c = int(self._node[victim]), int(self._class[victim])
            partner = self._partner(c, q, here)
            if partner < 0:
                continue
            there = int(self._node[partner])
            self._take_out(victim)
            self._take_out(partner)
            self._put(None, number, here, tight=True)
            self._put(partner, q, here)
            self._put(victim, c, there)
            return 2
        return 0

    def _all_fit(self, rooms: Rooms) -> Bools:
        """Return which classes each room takes, (n, classes)."""
        fit = (rooms.cpu[:, None] >= self._cpu) & (rooms.memory[:, None] >= self._memory)
        roomiest = rooms.gpus.max(axis=1)
        shared = (roomiest[:, None] >= self._share) & (self._gpus == 1)
        whole = (rooms.whole[:, None] >= self._gpus) & (self._share == GPU)
        models = self._cluster.models.T[rooms.model]
        found: Bools = fit & ((self._gpus == 0) | ((shared | whole) & models))
        return found

    def _replaceable(self, c: int) -> Bools:
        """Return the classes of running pods in whose stead class c fits, (classes,)."""
        if c not in self._takers:
            rooms = self._without(np.arange(self._count))
            cluster = self._cluster
            taker = fits(rooms, cluster.workload.classes[c], cluster.models[c])
            found = np.zeros(len(self._cpu), bool)
            found[self._class[: self._count][taker]] = True
            self._takers[c] = found
        return self._takers[c]

    def _partner(self, c: int, q: int, but: int) -> int:
        """Return a running pod of class q in whose stead class c fits, on another node, or -1."""
        running = slice(0, self._count)
        pods = np.flatnonzero((self._class[running] == q) & (self._node[running] != but))
        cluster = self._cluster
        fit = fits(self._without(pods), cluster.workload.classes[c], cluster.models[c])
        return int(pods[fit.argmax()]) if fit.any() else -1

    def _take_out(self, i: int) -> None:
        node = int(self._node[i])
        room = self._without(np.array([i]))
        room.kinds = self._cluster.rooms.kinds[[node]]
        self._cluster.change(node, room)

    def _put(self, i: int | None, number: int, node: int, *, tight: bool = False) -> None:
        """Place a class on a node where it fits, on the tightest GPU or that of least cost."""
        pod = self._cluster.workload.classes[number]
        room = self._cluster.rooms.take(np.array([node]))
        assert fits(room, pod, self._cluster.models[number])[0]
        slot = int((tightest(room, pod) if tight else self._judge.fall(room, pod).slot)[0])
        taken = self._cluster.place(number, node, slot)
        if i is None:
            self.placed(number, node, taken)
        else:
            self._node[i], self._taken[i] = node, taken
