"""Frees one chosen node, step by step, where no single neighbourhood can.

A full node next to holes of single devices is freed by many small exchanges, none of which frees a
block by itself, so comparing blocks gives no direction. Here the direction is what the node lacks
for its next block: neighbourhoods of the node and a few others are solved for less of it, until
nothing is missing. Larger blocks and the limit on moves are kept throughout; what a drain does to
smaller blocks is for whoever asked to judge.
"""

import random
from collections.abc import Callable, Sequence

from fairstow.packing.defragment.blocks import Rung
from fairstow.packing.defragment.cpsat import BlockModel
from fairstow.packing.defragment.standing import Standing

_PATIENCE = 12
"""Neighbourhoods in a row that bring the node no closer before it is given up."""

_OTHERS = (4, 6, 8)
_SAMPLE = 64
_SECONDS = 0.4


class Drain:
    """One attempt on one node, on a standing of its own."""

    def __init__(
        self, standing: Standing, node: int, level: int, limit: int | None, seed: int
    ) -> None:
        """Limit: most moves in all."""
        self._node, self._level, self._limit, self._seed = node, level, limit, seed
        self._random = random.Random(seed)  # noqa: S311
        problem, blocks = standing.layout.problem, standing.blocks
        self._standing = Standing(problem, blocks, standing.layout.changes())
        self._pool = next((nodes for _, nodes in blocks.free[level] if node in nodes), ())
        have = standing.at(node)[level]
        self._rung = blocks.rungs[node][level][have]

    def run(self, left: Callable[[], float]) -> Standing:
        """Return the layout in which the node lacks least; nothing if all went well.

        Args:
            left: seconds there are.
        """
        idle, missing = 0, self._missing()
        while missing and idle < _PATIENCE and left() > 0:
            self._seed += 1
            model = BlockModel(self._standing, self._nodes(), self._limit)
            for level in range(self._level + 1):
                model.hold_blocks(level, self._standing.totals[level])
            model.aim_to_free(self._node, self._rung)
            found = model.solve(seconds=min(_SECONDS, left()), workers=1, seed=self._seed)
            if found.changes:
                self._standing.apply(found.changes)
            before, missing = missing, self._missing()
            idle = 0 if missing < before else idle + 1
        return self._standing

    def _missing(self) -> float:
        return missing(self._standing, self._node, self._rung)

    def _nodes(self) -> Sequence[int]:
        """The node, and others: most of them with room, the rest anywhere in its product."""
        size = self._random.choice(_OTHERS)
        sample = self._random.sample(self._pool, min(_SAMPLE, len(self._pool)))
        layout = self._standing.layout
        rank = {n: layout.slack(n) * self._random.random() for n in sample}
        roomy = sorted(rank, key=lambda n: -rank[n])[: size - 1]
        return sorted({self._node, *roomy, *sample[:1]})


def missing(standing: Standing, node: int, rung: Rung) -> float:
    """Return what a node lacks for a block, as a sum of shares; 0 means it has it."""
    room = standing.layout.room[node]
    return sum(max(0, least - room[r]) / max(least, 1) for r, least in rung.room)
