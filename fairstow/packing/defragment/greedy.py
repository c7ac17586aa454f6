"""A start for the search: free the block that costs fewest moves, then the next.

Called by `phases`, before each size. Nodes are tried in the order of the fewest departures for one
more block (`Blocks.departures`). The largest pods of a node go first, each to the node with least
room left that takes it and loses no block of this size or a larger one. A node that isn't freed in
the end, or not within the limit, stays as it is. On clusters with room this alone is near the best;
where they are nearly full it frees little, and the search is what counts.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from fairstow.packing.defragment.blocks import Blocks
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.problem import Site


def free(
    layout: Incumbent, blocks: Blocks, level: int, limit: int | None, over: Callable[[], bool]
) -> None:
    """Free blocks of a size in a layout, which is changed in place.

    Args:
        layout: where pods stand.
        blocks: those there can be.
        level: index of the size.
        limit: most moves in all, those made before included.
        over: whether time is up.
    """
    greedy = _Greedy(layout, blocks, level, limit)
    for node in greedy.candidates():
        while not over() and greedy.free_one(node):
            pass


class _Greedy:
    """What one size needs."""

    def __init__(self, layout: Incumbent, blocks: Blocks, level: int, limit: int | None) -> None:
        self._layout, self._blocks, self._level, self._limit = layout, blocks, level, limit
        name = blocks.sizes[level].resource
        self._resource = layout.problem.resources.index(name)
        self._by_room = sorted((left[self._resource], n) for n, left in enumerate(layout.room))
        self._at: list[set[int]] = [set() for _ in layout.problem.nodes]
        for group, at in enumerate(layout.at):
            for node in at:
                self._at[node].add(group)

    def candidates(self) -> list[int]:
        """Return nodes that can have one more block, fewest departures first."""
        cost = {}
        for node, ladders in enumerate(self._blocks.departures):
            have = self._have(node)
            if have < len(ladders[self._level]):
                cost[node] = ladders[self._level][have]
        return sorted(cost, key=lambda n: (cost[n], n))

    def _have(self, node: int) -> int:
        return self._blocks.count(node, self._level, self._layout.room[node])

    def free_one(self, node: int) -> bool:
        """Free one more block on a node, or leave everything as it is."""
        have = self._have(node)
        if have >= len(self._blocks.departures[node][self._level]):
            return False
        done: dict[Site, int] = {}
        while self._have(node) == have:
            room = self._layout.room[node]
            missing = {
                r: (have + 1) * amount - room[r]
                for r, amount in self._blocks.takes[node][self._level]
                if (have + 1) * amount > room[r]
            }
            if not self._move_off(node, missing, done):
                self._apply(done)
                return False
        return True

    def _move_off(self, node: int, missing: dict[int, int], done: dict[Site, int]) -> bool:
        """Move the pod that frees most of what is missing; note how to take it back."""
        layout, groups = self._layout, self._layout.problem.groups
        if self._limit is not None and sum(layout.left) >= self._limit:
            return False
        gains = {
            g: sum(min(groups[g].requests.get(r, 0) / m, 1.0) for r, m in missing.items())
            for g in self._at[node]
            # What has arrived stays: sending it on would be a second move of one pod.
            if 0 < layout.count((g, node)) <= groups[g].running.get(node, 0)
        }
        for group in sorted(gains, key=lambda g: (-gains[g], g)):
            target = self._target(group, node) if gains[group] else None
            if target is not None:
                here, there = (group, node), (group, target)
                changes = {here: layout.count(here) - 1, there: layout.count(there) + 1}
                for site in changes:
                    done.setdefault(site, layout.count(site))
                self._apply(changes)
                return True
        return False

    def _target(self, group: int, source: int) -> int | None:
        """Return the node of least room that takes a pod and loses no block of worth."""
        layout = self._layout
        for node in self._roomy(group):
            site = (group, node)
            if node == source or not layout.fits(site):
                continue
            if layout.count(site) >= layout.problem.ceiling(*site):
                continue
            before = self._worth(node)
            layout.apply({site: layout.count(site) + 1})
            sound = self._worth(node) == before and layout.keeps_apart(group)
            layout.apply({site: layout.count(site) - 1})
            if sound:
                return node
        return None

    def _worth(self, node: int) -> list[int]:
        room = self._layout.room[node]
        return [self._blocks.count(node, level, room) for level in range(self._level + 1)]

    def _roomy(self, group: int) -> Iterator[int]:
        """Yield targets of a group that may have room, least devices first."""
        wanted = self._layout.problem.groups[group]
        first = bisect_left(self._by_room, (wanted.requests.get(self._resource, 0), -1))
        yield from (n for _, n in self._by_room[first:] if n in wanted.targets)

    def _apply(self, changes: dict[Site, int]) -> None:
        nodes = {node for _, node in changes}
        room = self._layout.room
        for node in nodes:
            del self._by_room[bisect_left(self._by_room, (room[node][self._resource], node))]
        self._layout.apply(changes)
        for node in nodes:
            insort(self._by_room, (room[node][self._resource], node))
        for group, node in changes:
            self._at[node].add(group)
