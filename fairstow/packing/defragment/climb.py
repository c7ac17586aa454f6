"""Frees blocks size by size, largest first, and spends no move on a size before its turn.

Called by the search, first of all and again and again. Under a limit on moves a layout that is good
for small blocks is a poor start for large ones, so where each size began is kept: a later attempt
at a size starts from the best layout for the larger ones alone.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fairstow.packing.defragment.blocks import Blocks
from fairstow.packing.defragment.drain import Drain, missing
from fairstow.packing.defragment.greedy import Greedy
from fairstow.packing.defragment.standing import Standing
from fairstow.packing.problem import Problem, Site

_DRAINED = 16
"""Nodes that are tried one by one before a size is given up."""

_CHANCE = 0.5
"""How much more a node may lack, as a sum of shares, and be tried before another all the same."""

_LEVEL_SHARE = 0.5
"""Share of the time left that one size may take."""


class Climb:
    """Remembers where each size began."""

    def __init__(
        self,
        problem: Problem,
        blocks: Blocks,
        start: dict[Site, int],
        limit: int | None,
        seed: int,
        workers: int,
    ) -> None:
        """Limit: most moves in all."""
        self._problem, self._blocks, self._limit = problem, blocks, limit
        self._bases = [start] * (len(blocks.sizes) + 1)
        self._random = random.Random(seed)  # noqa: S311
        self._workers = workers

    def restart_from(self, level: int, changes: dict[Site, int]) -> None:
        """Begin sizes from one on with a layout that was found elsewhere."""
        self._bases[level:] = [changes] * (len(self._bases) - level)

    def run(self, first: int, most: Sequence[int], left: Callable[[], float]) -> Standing:
        """Return the layout got by freeing blocks of a size and then of the smaller ones.

        Args:
            first: the size to begin with.
            most: blocks of each size that needn't be exceeded.
            left: seconds there are.
        """
        work = Standing(self._problem, self._blocks, self._bases[first])
        for level in range(first, len(self._blocks.sizes)):
            end = left() * (1 - _LEVEL_SHARE)

            def of_level(end: float = end) -> float:
                return left() - end

            Greedy(work, self._limit, lambda: of_level() <= 0).run(level)
            work.undo(level + 1)
            while work.totals[level] < most[level] and of_level() > 0:
                better = self._drain(work, level, of_level)
                if better is None:
                    break
                work = better
            self._bases[level + 1] = work.layout.changes()
        return work

    def _drain(self, work: Standing, level: int, left: Callable[[], float]) -> Standing | None:
        """Try to free one more block on the nodes that lack least for it; return the best.

        As many at a time as there are workers; which nodes are tried varies a little.
        """
        lacking = {
            node: missing(work, node, ladders[level][have]) + _CHANCE * self._random.random()
            for node, ladders in enumerate(self._blocks.rungs)
            if (have := work.at(node)[level]) < len(ladders[level])
        }
        nodes = sorted(lacking, key=lambda n: (lacking[n], n))[:_DRAINED]
        before = work.totals[: level + 1]
        with ThreadPoolExecutor(self._workers) as pool:
            for i in range(0, len(nodes), self._workers):
                drains = [
                    Drain(work, n, level, self._limit, self._random.getrandbits(30))
                    for n in nodes[i : i + self._workers]
                ]
                done: list[Standing] = list(pool.map(lambda drain: drain.run(left), drains))
                for standing in done:
                    standing.undo(level + 1)
                best = max(done, key=lambda s: (s.totals[: level + 1], -s.cost))
                if best.totals[: level + 1] > before:
                    return best
                if left() <= 0:
                    break
        return None
