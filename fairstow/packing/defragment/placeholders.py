"""Placeholders: pending pods of a block's size, by which freeing blocks becomes placing pods.

Called by `planner`; the reduction is derived in the package's docstring.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairstow.packing.defragment.blocks import Blocks, BlockSize
from fairstow.packing.incumbent import Changes
from fairstow.packing.objective import Level
from fairstow.packing.problem import Group, Layout, Problem, Site

_ABOVE_ALL = 1 << 40
"""Priority of the first size's placeholders; no pod's is as high."""


@dataclass(frozen=True)
class Filled:
    """A problem with placeholders of all sizes.

    Attributes:
        problem: the groups of the problem it was made of, in their order, then the placeholders.
        sizes: most important first.
        level_of: which size a placeholder is of, by group index.
        movers: how many groups there were.
    """

    problem: Problem
    sizes: tuple[BlockSize, ...]
    level_of: dict[int, int]
    movers: int

    def down_to(self, last: int, most: Sequence[int]) -> Problem:
        """Return the problem with placeholders of the sizes up to one, at most so many of each."""
        groups = list(self.problem.groups)
        for index, level in self.level_of.items():
            if level > last:
                groups[index] = replace(groups[index], pending=0, targets=frozenset())
            else:
                pending = min(groups[index].pending, most[level])
                groups[index] = replace(groups[index], pending=pending)
        return replace(self.problem, groups=tuple(groups))

    def order(self, last: int) -> tuple[Level, ...]:
        """Return the objective: these sizes, then the least disturbance of anybody."""
        lowest = min(g.priority for g in self.problem.groups)
        places = (Level(places=True, priority=_priority(i)) for i in range(last + 1))
        return (*places, Level(places=False, priority=lowest))

    def moves(self, changes: Changes) -> dict[Site, int]:
        """Return changes without what is about placeholders."""
        return {site: count for site, count in changes.items() if site[0] < self.movers}

    def placeholders(self, changes: Changes) -> dict[Site, int]:
        """Return changes that are about placeholders."""
        return {site: count for site, count in changes.items() if site[0] >= self.movers}

    def placed(self, layout: Layout) -> list[int]:
        """Return how many placeholders of each size stand somewhere."""
        found = [0] * len(self.sizes)
        for index, level in self.level_of.items():
            found[level] += sum(layout[index].values())
        return found

    def inside(self, level: int, placed: Sequence[int]) -> int:
        """Return the blocks of a size inside larger placeholders, given how many of these stand."""
        block = self.sizes[level]
        return sum(
            larger.size // block.size * count
            for larger, count in zip(self.sizes[:level], placed[:level], strict=True)
            if larger.resource == block.resource
        )


def _priority(level: int) -> int:
    return _ABOVE_ALL - level


def fill(problem: Problem, blocks: Blocks) -> Filled:
    """Return a problem with placeholders for all blocks that nodes can ever have."""
    kinds: dict[tuple[int, tuple[tuple[int, int], ...]], list[int]] = {}
    for node, of_node in enumerate(blocks.takes):
        for level, block in enumerate(of_node):
            if blocks.departures[node][level]:
                kinds.setdefault((level, block), []).append(node)
    groups, level_of = list(problem.groups), dict[int, int]()
    for (level, block), nodes in sorted(kinds.items()):
        level_of[len(groups)] = level
        groups.append(
            Group(
                priority=_priority(level),
                requests=dict(block),
                running={},
                pending=sum(len(blocks.departures[n][level]) for n in nodes),
                targets=frozenset(nodes),
                budgets=(),
                preempts=False,
            )
        )
    filled = replace(problem, groups=tuple(groups))
    return Filled(filled, blocks.sizes, level_of, len(problem.groups))
