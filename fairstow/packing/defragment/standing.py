"""A layout with its blocks kept up to date: what greedy and search improve and compare."""

from collections.abc import Sequence

from fairstow.packing.defragment.blocks import Blocks
from fairstow.packing.incumbent import Changes, Incumbent
from fairstow.packing.problem import Problem, Site


class Standing:
    """An incumbent and its free blocks, by node and in all."""

    def __init__(self, problem: Problem, blocks: Blocks, changes: Changes) -> None:
        self.blocks = blocks
        self.layout = Incumbent(problem, changes)
        self._levels = range(len(blocks.sizes))
        self._at = [self._count(n) for n in range(len(problem.nodes))]
        self.totals = [sum(at[level] for at in self._at) for level in self._levels]

    def _count(self, node: int) -> tuple[int, ...]:
        return tuple(self.blocks.count(node, i, self.layout.room[node]) for i in self._levels)

    @property
    def moves(self) -> int:
        """Pods that leave their node."""
        return sum(self.layout.left)

    @property
    def cost(self) -> int:
        """Disruption units of the moves."""
        layout = self.layout
        return sum(layout.disturbance(g) for g, left in enumerate(layout.left) if left)

    @property
    def score(self) -> tuple[int, ...]:
        """What layouts are compared by: blocks by size, then least cost; larger is better."""
        return (*self.totals, -self.cost)

    def at(self, node: int) -> tuple[int, ...]:
        """A node's free blocks by size."""
        return self._at[node]

    def apply(self, changes: Changes) -> dict[Site, int]:
        """Set counts; returns the changes that take it back."""
        back = {site: self.layout.count(site) for site in changes}
        self.layout.apply(changes)
        self._recount({node for _, node in changes})
        return back

    def _recount(self, nodes: set[int]) -> None:
        for node in nodes:
            before, self._at[node] = self._at[node], self._count(node)
            for i in self._levels:
                self.totals[i] += self._at[node][i] - before[i]

    def improve(self, changes: Changes, limit: int | None) -> bool:
        """Make changes if that is better and within a limit on moves; say if it was."""
        before = self.score
        back = self.apply(changes)
        if self.score > before and (limit is None or self.moves <= limit) and self._sound(changes):
            return True
        self.apply(back)
        return False

    def _sound(self, changes: Changes) -> bool:
        """Whether what holds over all nodes holds, where several solves changed different ones."""
        groups = self.layout.problem.groups
        touched = {group for group, _ in changes}
        return all(
            self.layout.placed[g] == groups[g].placed and self.layout.keeps_apart(g)
            for g in touched
        )

    def undo(self, sizes: int | None = None) -> None:
        """Take back every move without which there are as many blocks, of so many sizes (or all).

        A pod goes home if its old node has room for it.
        """
        for site in sorted(self.layout.changes()):
            group, home = site
            running = self.layout.problem.groups[group].running.get(home, 0)
            while self.layout.count(site) < running and self._send_home(group, home, sizes):
                pass

    def _send_home(self, group: int, home: int, sizes: int | None) -> bool:
        if not self.layout.fits((group, home)):
            return False
        for away in self._strangers(group):
            here, there = self.layout.count((group, home)), self.layout.count((group, away))
            before = self.totals[:sizes]
            back = self.apply({(group, home): here + 1, (group, away): there - 1})
            if self.totals[:sizes] >= before and self.layout.keeps_apart(group):
                return True
            self.apply(back)
        return False

    def _strangers(self, group: int) -> Sequence[int]:
        """Nodes that hold more pods of a group than they did."""
        running = self.layout.problem.groups[group].running
        at = self.layout.at[group]
        return sorted(n for n, count in at.items() if count > running.get(n, 0))
