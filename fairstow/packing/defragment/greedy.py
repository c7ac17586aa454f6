"""A first layout in milliseconds: free the block that costs fewest moves, then the next.

Nodes are tried in the order of their fewest departures for one more
block (`Rung.departures`). Of a node the largest pods go first, each to the node of least free
room that takes it and loses no block that counts as much. What doesn't work out is taken back.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from fairstow.packing.defragment.blocks import Rung
from fairstow.packing.defragment.standing import Standing
from fairstow.packing.problem import Problem, Site


class Greedy:
    """Improves a standing in place."""

    def __init__(
        self, standing: Standing, limit: int | None, time_is_up: Callable[[], bool]
    ) -> None:
        """Limit: most moves in all."""
        self._standing, self._limit, self._time_is_up = standing, limit, time_is_up
        self._problem: Problem = standing.layout.problem
        devices = {b.resource for b in standing.blocks.sizes}
        index = {name: r for r, name in enumerate(self._problem.resources)}
        self._by_room = {
            index[name]: _ByRoom(index[name], standing.layout.room)
            for name in devices
            if name in index
        }
        self._at: list[list[int]] = [[] for _ in self._problem.nodes]
        for group, at in enumerate(standing.layout.at):
            for node in at:
                self._at[node].append(group)

    def run(self, level: int) -> None:
        """Free what can be freed of one size."""
        for node in self._candidates(level):
            while not self._time_is_up() and self._free_one(node, level):
                pass

    def _candidates(self, level: int) -> list[int]:
        cost = {n: rung.departures for n in range(len(self._at)) if (rung := self._next(n, level))}
        return sorted(cost, key=lambda n: (cost[n], n))

    def _next(self, node: int, level: int) -> Rung | None:
        rungs = self._standing.blocks.rungs[node][level]
        have = self._standing.at(node)[level]
        return rungs[have] if have < len(rungs) else None

    def _free_one(self, node: int, level: int) -> bool:
        """Free one more block of a size on a node, or leave everything as it is."""
        rung = self._next(node, level)
        if rung is None:
            return False
        standing, done = self._standing, dict[Site, int]()
        before = standing.totals[: level + 1]
        while standing.at(node)[level] < standing.blocks.rungs[node][level].index(rung) + 1:
            missing = {
                r: least - standing.layout.room[node][r]
                for r, least in rung.room
                if least > standing.layout.room[node][r]
            }
            moved = not self._full() and self._move_off(node, level, missing, done)
            if not moved:
                break
        if standing.totals[: level + 1] > before:
            return True
        self._apply(done)
        return False

    def _full(self) -> bool:
        return self._limit is not None and self._standing.moves >= self._limit

    def _move_off(
        self, node: int, level: int, missing: dict[int, int], done: dict[Site, int]
    ) -> bool:
        """Move the pod off a node that frees most of what is missing; note how to take it back."""
        groups, layout = self._problem.groups, self._standing.layout
        leaving = [
            (sum(min(groups[g].requests.get(r, 0) / m, 1.0) for r, m in missing.items()), g)
            for g in self._at[node]
            # What has just arrived stays: sending it on would be a second move of one pod.
            if 0 < layout.count((g, node)) <= groups[g].running.get(node, 0)
        ]
        for gain, group in sorted(leaving, key=lambda each: (-each[0], each[1])):
            if not gain:
                return False
            if (target := self._target(group, node, level)) is not None:
                back = self._apply({
                    (group, node): layout.count((group, node)) - 1,
                    (group, target): layout.count((group, target)) + 1,
                })  # fmt: skip
                for site, count in back.items():
                    done.setdefault(site, count)
                return True
        return False

    def _target(self, group: int, source: int, level: int) -> int | None:
        """Return the node of least free room that takes a pod and loses no block of worth."""
        standing, problem = self._standing, self._problem
        for node in self._roomy(group):
            site = (group, node)
            if node == source or not standing.layout.fits(site):
                continue
            if standing.layout.count(site) >= problem.ceiling(*site):
                continue
            before = standing.totals[: level + 1]
            back = standing.apply({site: standing.layout.count(site) + 1})
            worth = standing.totals[: level + 1] >= before
            legal = standing.layout.keeps_apart(group)
            standing.apply(back)
            if worth and legal:
                return node
        return None

    def _roomy(self, group: int) -> Iterator[int]:
        """Yield targets of a group that may have room, least free devices first."""
        targets, requests = (
            self._problem.groups[group].targets,
            self._problem.groups[group].requests,
        )
        resource = next((r for r in self._by_room if r in requests), None)
        if resource is None:
            yield from sorted(targets)
            return
        for node in self._by_room[resource].at_least(requests[resource]):
            if node in targets:
                yield node

    def _apply(self, changes: dict[Site, int]) -> dict[Site, int]:
        nodes = {node for _, node in changes}
        for by_room in self._by_room.values():
            by_room.drop(nodes)
        back = self._standing.apply(changes)
        for by_room in self._by_room.values():
            by_room.add(nodes)
        for group, node in changes:
            if group not in self._at[node]:
                self._at[node].append(group)
        return back


class _ByRoom:
    """Nodes in order of their room in one resource."""

    def __init__(self, resource: int, room: list[list[int]]) -> None:
        self._resource, self._room = resource, room
        self._order = sorted((left[resource], node) for node, left in enumerate(room))

    def at_least(self, amount: int) -> list[int]:
        """Nodes with at least so much, least first."""
        return [node for _, node in self._order[bisect_left(self._order, (amount, -1)) :]]

    def drop(self, nodes: set[int]) -> None:
        """Take nodes out whose room is about to change."""
        for node in nodes:
            del self._order[bisect_left(self._order, (self._room[node][self._resource], node))]

    def add(self, nodes: set[int]) -> None:
        """Put them back."""
        for node in nodes:
            insort(self._order, (self._room[node][self._resource], node))
