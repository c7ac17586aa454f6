"""Which nodes to look at next: one to free, and some that may take what stands there.

Ways of choosing, each tried in proportion to what it brought of late (an exponential mean, as in
`fairstow.packing.neighbourhoods`), one time in four at random.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.packing.defragment.standing import Standing

_EPSILON = 0.25
_MEMORY = 0.85
_SAMPLE = 64
_SIZES = (2, 3, 4, 6)


@dataclass(frozen=True, slots=True)
class Choice:
    """A neighbourhood. Attributes: arm: the way it was chosen; nodes: indices."""

    arm: int
    nodes: tuple[int, ...]


class Neighbourhoods:
    """Chooses neighbourhoods of a standing and learns from what they brought."""

    def __init__(self, standing: Standing, seed: int) -> None:
        self._standing = standing
        self._random = random.Random(seed)  # noqa: S311
        self._arms = (self._next_block, self._of_the_plan, self._swap, self._anywhere)
        self._gain = [1.0] * len(self._arms)
        self._pools = [
            nodes for _, nodes in sorted({p for level in standing.blocks.free for p in level})
        ]

    def choose(self, count: int, level: int) -> list[Choice]:
        """Return up to `count` neighbourhoods without a node in common, for one size or below."""
        found = [self._choose(level)]
        for _ in range(count - 1):
            other = self._choose(level)
            if not any(set(other.nodes) & set(c.nodes) for c in found):
                found.append(other)
        return found

    def learn(self, choice: Choice, *, better: bool) -> None:
        """Say what a neighbourhood brought."""
        self._gain[choice.arm] = _MEMORY * self._gain[choice.arm] + (1 - _MEMORY) * better

    def _choose(self, level: int) -> Choice:
        rng = self._random
        best = max(range(len(self._arms)), key=lambda i: (self._gain[i], rng.random()))
        arm = rng.randrange(len(self._arms)) if rng.random() < _EPSILON else best
        pool = rng.choices(self._pools, [len(p) for p in self._pools])[0]
        nodes = self._arms[arm](pool, rng.choice(_SIZES), min(level, self._sizes - 1))
        return Choice(arm, tuple(sorted(set(nodes))))

    @property
    def _sizes(self) -> int:
        return len(self._standing.blocks.sizes)

    def _next_block(self, pool: Sequence[int], size: int, level: int) -> list[int]:
        """Nodes where one more block takes fewest departures, and nodes with room."""
        return [*self._cheap(pool, size // 2, level), *self._roomy(pool, size + 2)]

    def _of_the_plan(self, pool: Sequence[int], size: int, level: int) -> list[int]:
        """Nodes that the layout changes, to do the same with less, or more with the same."""
        touched = self._sample(self._standing.layout.touched(), size + 2)
        return [*touched, *self._cheap(pool, 1, level), *self._roomy(pool, 2)]

    def _swap(self, pool: Sequence[int], size: int, level: int) -> list[int]:
        """A node freed by the plan and others that may be cheaper to free."""
        freed = [n for n in self._standing.layout.touched() if self._standing.at(n)[level]]
        chosen = [*self._sample(freed, 1), *self._cheap(pool, size, level)]
        return [*chosen, *self._roomy(pool, size)]

    def _anywhere(self, pool: Sequence[int], size: int, level: int) -> list[int]:
        del level
        return self._sample(pool, 2 * size)

    def _cheap(self, pool: Sequence[int], size: int, level: int) -> list[int]:
        """Nodes where the next block of a size takes few departures, with some chance in it."""
        rungs = self._standing.blocks.rungs
        rank = {}
        for node in self._sample(pool, 4 * _SAMPLE):
            have = self._standing.at(node)[level]
            if have < len(rungs[node][level]):
                least = rungs[node][level][have].departures
                rank[node] = least + 2 * self._random.random()
        return sorted(rank, key=lambda n: rank[n])[: max(1, size)]

    def _roomy(self, pool: Sequence[int], size: int) -> list[int]:
        """Nodes with room beside their blocks, with some chance in it."""
        layout = self._standing.layout
        rank = {
            n: layout.slack(n) * self._random.random() / (1 + self._standing.at(n)[0])
            for n in self._sample(pool, _SAMPLE)
        }
        return sorted(rank, key=lambda n: -rank[n])[:size]

    def _sample(self, nodes: Sequence[int], size: int) -> list[int]:
        return self._random.sample(nodes, min(size, len(nodes)))
