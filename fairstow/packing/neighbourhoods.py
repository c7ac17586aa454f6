"""Which nodes to look at next: a bandit over ways of choosing neighbourhoods.

A neighbourhood is a handful of nodes whose pods, with what waits, CP-SAT places anew. Which way of
choosing pays depends on the instance and on how far the search is, so each way is an arm: with
probability ε a random one is tried, else the one with the best recent gain (adaptive LNS as in
Balans, arXiv 2412.14382). The gain of an arm is an exponential mean of 1 for a better layout and
0 for none.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairstow.packing.incumbent import Incumbent

_EPSILON = 0.25
_MEMORY = 0.85
_SAMPLE = 48
"""Nodes looked at when roomy ones are wanted: enough to find some, few enough for any cluster."""

_HIGHEST_FIRST = 0.6
"""How often a neighbourhood is for a waiting pod of the highest priority."""

_SIZES = (2, 3, 4, 6)


@dataclass(frozen=True, slots=True)
class Choice:
    """A neighbourhood. Attributes: arm: the way it was chosen; nodes: indices."""

    arm: int
    nodes: tuple[int, ...]


class Neighbourhoods:
    """Chooses neighbourhoods of an incumbent and learns from what they brought."""

    def __init__(self, incumbent: Incumbent, active: Sequence[int], seed: int) -> None:
        self._incumbent = incumbent
        self._active = sorted(active)
        self._random = random.Random(seed)  # noqa: S311
        self._arms: tuple[Callable[[int], list[int]], ...] = (
            self._around_waiting,
            self._nearest_waiting,
            self._of_the_plan,
            self._of_relaxation,
            self._anywhere,
            *([self._of_a_gang] if incumbent.problem.gangs else []),
        )
        self._gain = [1.0] * len(self._arms)

    def choose(self, count: int) -> list[Choice]:
        """Return up to `count` neighbourhoods without a node in common, at least one."""
        found = [self._choose()]
        for _ in range(count - 1):
            other = self._choose()
            if not any(set(other.nodes) & set(c.nodes) for c in found):
                found.append(other)
        return found

    def _choose(self) -> Choice:
        rng = self._random
        best = max(range(len(self._arms)), key=lambda i: (self._gain[i], rng.random()))
        arm = rng.randrange(len(self._arms)) if rng.random() < _EPSILON else best
        return Choice(arm, tuple(sorted(set(self._arms[arm](rng.choice(_SIZES))))))

    def learn(self, choice: Choice, *, better: bool) -> None:
        """Say what a neighbourhood brought."""
        self._gain[choice.arm] = _MEMORY * self._gain[choice.arm] + (1 - _MEMORY) * better

    def _around_waiting(self, size: int) -> list[int]:
        """A node where a waiting pod may go, and roomy nodes for what it displaces."""
        targets = self._targets()
        return [self._random.choice(targets), *self._roomy(size)]

    def _nearest_waiting(self, size: int) -> list[int]:
        """The nodes that lack least for a waiting pod, and roomy ones."""
        group = self._waiting()
        if group is None:
            return self._anywhere(size)
        room = self._incumbent.room
        requests = self._incumbent.problem.groups[group].requests
        lacking = {
            n: sum(max(0, q - room[n][r]) / q for r, q in requests.items())
            for n in self.sample(self._targets(group), 4 * _SAMPLE)
        }
        nearest = sorted(lacking, key=lambda n: (lacking[n], n))[: max(2, size // 2)]
        return [*nearest, *self._roomy(size)]

    def _of_the_plan(self, size: int) -> list[int]:
        """Nodes that the layout changes, to do the same with less."""
        touched = self._incumbent.touched()
        return [*self.sample(touched, size + 2), *self._roomy(2)]

    def _of_relaxation(self, size: int) -> list[int]:
        """Nodes on which the linear relaxation acts."""
        return [*self.sample(self._active, size), *self._roomy(2)]

    def _of_a_gang(self, size: int) -> list[int]:
        """As many nodes as a waiting gang needs at least, and roomy ones for what it displaces."""
        problem, room = self._incumbent.problem, self._incumbent.room
        waiting = [g for g in problem.gangs if any(self._may_wait(i) for i in g.groups)]
        if not waiting:
            return self._anywhere(size)
        chosen: list[int] = []
        for index in self._random.choice(waiting).groups:
            requests, left = problem.groups[index].requests, self._incumbent.waiting(index)
            fits = {
                n: min((max(room[n][r], 0) / q for r, q in requests.items()), default=left)
                for n in problem.groups[index].targets
            }
            for node in sorted(fits, key=lambda n: (-fits[n] * self._random.uniform(0.8, 1), n)):
                if left <= 0:
                    break
                chosen.append(node)
                left -= max(1, int(fits[node]))
        return [*chosen, *self._roomy(size)]

    def _anywhere(self, size: int) -> list[int]:
        return self.sample(self._incumbent.problem.in_play, size)

    def _waiting(self) -> int | None:
        groups = self._incumbent.problem.groups
        open_groups = [i for i in range(len(groups)) if groups[i].targets and self._may_wait(i)]
        if not open_groups:
            return None
        if self._random.random() < _HIGHEST_FIRST:
            highest = max(groups[i].priority for i in open_groups)
            open_groups = [i for i in open_groups if groups[i].priority == highest]
        return self._random.choice(open_groups)

    def _may_wait(self, group: int) -> bool:
        """Whether pods of a group wait for whom something may be done."""
        incumbent = self._incumbent
        return group not in incumbent.problem.pinned and incumbent.waiting(group) > 0

    def _targets(self, group: int | None = None) -> Sequence[int]:
        group = self._waiting() if group is None else group
        if group is None:
            return self._incumbent.problem.in_play
        return sorted(self._incumbent.problem.groups[group].targets)

    def _roomy(self, size: int) -> list[int]:
        """Nodes with much room, with some chance in it."""
        sample = self.sample(self._incumbent.problem.in_play, _SAMPLE)
        rank = {n: self._incumbent.slack(n) * self._random.random() for n in sample}
        return sorted(rank, key=lambda n: -rank[n])[:size]

    def sample(self, nodes: Sequence[int], size: int) -> list[int]:
        """Return up to `size` of the nodes, at random."""
        return self._random.sample(nodes, min(size, len(nodes)))
