"""Greedy repair: make room for one waiting pod by moving a few others into holes that fit them.

Called by the search, first of all. What takes CP-SAT a thousand neighbourhoods on a thousand
nodes is done here at under a millisecond a pod, so the search begins with a layout that is good
everywhere.

For a waiting pod of group g, over the nodes n that could hold it were they empty of movable pods:

    lack[n] = Σ_r w[r] · max(0, need[r] − room[n][r]) / need[r],     need = request[g]

The few nodes that lack least are tried. Pods of n are taken out until need fits (those first that
cover most of what is lacking, or least: small pods find a hole more easily), and each is put where
it leaves least beside it; where it fits nowhere, room is made for it in the same way, one level
deeper (an ejection chain, Glover 1996). The node where this disturbs least wins. The weight w[r]
is what all waiting pods request of r over what is free of it: a resource that nobody waits for
doesn't decide where a pod fits well.

Invariants: no running pod loses its place, but those of lower priority that `limits` allow to be
evicted; a waiting pod of lower priority that was given one may go back to waiting. Under the order
TierByTier pods of higher priority than g stay. So every placement makes the score better. Limits
and rules between pods are checked for each exchange once it is made, and a bad one is taken back.
A gang is placed when the first of its groups has its turn, as a whole or not at all.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.objective import Level

_TRIED = (8, 8, 3)
"""Nodes tried for one pod, by how many levels of making room are left."""

_DEPTHS = (1, 2)
"""Levels of making room: shallow exchanges first, deeper ones where there are none."""

_RULED = 4
"""How many times as many nodes are looked at for a pod with rules, which may close some."""

_MOST_OUT = 12
"""Most pods taken out of a node for one."""

_BESIDE = 1e-6
"""Of two nodes that lack the same, what is left beside the pod decides: a far smaller term."""

_Shift = tuple[int, int, int]
"""(group, node, pods more or less)."""


@dataclass(frozen=True, slots=True)
class _Wants:
    """What a group requests and where it may go, as arrays.

    Attributes:
        columns: resources requested, the scarcest first.
        amounts: of each.
        worth: of a unit of each.
        able: nodes that could hold a pod were they empty of movable pods.
    """

    columns: NDArray[np.int64]
    amounts: NDArray[np.int64]
    worth: NDArray[np.float64]
    able: NDArray[np.int64]

    @property
    def size(self) -> float:
        """Worth of all that a pod requests."""
        return float(self.amounts @ self.worth)


class Repair:
    """Places waiting pods of a layout, which it changes in place."""

    def __init__(self, layout: Incumbent, limits: Limits, order: Sequence[Level]) -> None:
        self._layout, self._limits = layout, limits
        # Where disturbance comes last, pods of any priority may move for one.
        self._any_moves = all(level.places for level in order[:-1])
        problem = layout.problem
        shape = (len(problem.nodes), len(problem.resources))
        self._room = _as_array(layout.room, shape)
        self._free = _as_array(problem.free, shape)
        self._over = np.zeros(shape, dtype=bool)
        for node, over in enumerate(problem.over):
            self._over[node, list(over)] = True
        self._here: list[dict[int, int]] = [{} for _ in problem.nodes]
        for index, at in enumerate(layout.at):
            if index not in problem.pinned:
                for node, count in at.items():
                    self._here[node][index] = count
        self._worth = self._scarcity() / np.maximum(self._free.max(axis=0, initial=1), 1)
        self._wants: dict[int, _Wants] = {}
        self._trail: list[_Shift] = []
        self._for = -1
        self._whole = {index for gang in problem.gangs for index in gang.groups}
        everyone = range(len(problem.groups))
        self._moves, self._evictions = self._moved(everyone), self._lost(everyone)
        self._done: list[list[_Shift]] = []

    def _scarcity(self) -> NDArray[np.float64]:
        """What waiting pods request of each resource, over what is free of it."""
        layout, demand = self._layout, np.zeros(self._room.shape[1])
        for index, group in enumerate(layout.problem.groups):
            for resource, request in group.requests.items():
                demand[resource] += request * layout.waiting(index)
        free = np.maximum(self._room, 0).sum(axis=0, dtype=np.float64)
        weight: NDArray[np.float64] = np.maximum(demand / np.maximum(free, 1), 1e-3)
        return weight

    def run(self, *, largest_first: bool, more_time: Callable[[], bool]) -> None:
        """Place what can be placed, highest priority first, until there is no more time.

        In each tier all get their turn at shallow exchanges before any at deep ones, which take
        far longer where they fail.
        """
        groups = self._layout.problem.groups
        turns = self._turns(largest_first=largest_first)
        for _, tier in groupby(turns, key=lambda turn: groups[turn[0]].priority):
            of_tier = list(tier)
            for depth in _DEPTHS:
                for turn in of_tier:
                    self._turn(turn, depth, more_time)

    def _turns(self, *, largest_first: bool) -> list[list[int]]:
        """Return groups in the order they are served; those of one gang together."""
        groups, sign = self._layout.problem.groups, -1 if largest_first else 1
        order = sorted(
            (i for i in range(len(groups)) if self._open(i)),
            key=lambda i: (-groups[i].priority, sign * self._of(i).size, i),
        )
        gang_of = {index: gang for gang in self._layout.problem.gangs for index in gang.groups}
        turns = []
        seen: set[int] = set()
        for index in order:
            gang = gang_of.get(index)
            if index not in seen:
                turns.append([i for i in order if i in gang.groups] if gang else [index])
                seen.update(turns[-1])
        return turns

    def _turn(self, turn: Sequence[int], depth: int, more_time: Callable[[], bool]) -> None:
        """Place pods of a group, or of a gang as a whole."""
        mark = len(self._done)
        for index in turn:
            while self._open(index) and more_time() and self._place(index, depth):
                pass
        gangs = (gang for gang in self._layout.problem.gangs if turn[0] in gang.groups)
        if not all(map(self._layout.whole, gangs)):
            self._undo_to(mark)

    def _open(self, index: int) -> bool:
        """Whether pods of a group wait that may be placed."""
        layout, limits = self._layout, self._limits
        group = layout.problem.groups[index]
        most = min(group.most, limits.caps.get(index, group.most))
        return (
            index not in layout.problem.pinned
            and layout.placed[index] < most
            and group.priority not in limits.tier_caps
        )

    def _of(self, index: int) -> _Wants:
        if index not in self._wants:
            group = self._layout.problem.groups[index]
            columns = np.array(
                sorted(group.requests, key=lambda r: (-self._worth[r] * group.requests[r], r)),
                dtype=np.int64,
            )
            amounts = np.array([group.requests[r] for r in columns], dtype=np.int64)
            able = np.array(sorted(group.targets), dtype=np.int64)
            fits = (self._free[np.ix_(able, columns)] >= amounts).all(axis=1)
            free_of = ~self._over[np.ix_(able, columns)].any(axis=1)
            self._wants[index] = _Wants(
                columns, amounts, self._worth[columns], able[fits & free_of]
            )
        return self._wants[index]

    # One pod

    def _place(self, index: int, depth: int) -> bool:
        """Place one pod of a group; return whether that could be done."""
        self._for = index
        found: list[tuple[int, int, list[_Shift]]] = []
        for node in self._candidates(index, depth):
            if self._enter(index, node, depth, frozenset()):
                price, shifts = self._price(), list(self._trail)
                self._back_to(0)
                if not price and self._carry_out(shifts):
                    return True  # it fits as things are
                found.append((price, len(found), shifts))
        return any(self._carry_out(shifts) for price, _, shifts in sorted(found) if price)

    def _price(self) -> int:
        """What is tried would disturb: a unit for each pod that leaves a node, and its work."""
        layout, units = self._layout, 0
        out = Counter((index, node) for index, node, pods in self._trail if pods < 0)
        for (index, node), pods in out.items():
            group = layout.problem.groups[index]
            gone = max(0, group.running.get(node, 0) - layout.count((index, node)))
            units += pods + group.work_lost(node, gone + pods) - group.work_lost(node, gone)
        return units

    def _enter(self, index: int, node: int, depth: int, avoid: frozenset[int]) -> bool:
        """Put a pod on a node, making room for it; nothing is changed where that fails."""
        mark = len(self._trail)
        for most_first in (True, False):
            out = self._taken_out(index, node, most_first=most_first)
            if out is None or (out and not depth):
                return False
            for other in out:
                self._shift(other, node, -1)
            self._shift(index, node, 1)
            out.sort(key=lambda i: -self._of(i).size)
            if all(self._settle(o, depth - 1, avoid | {node}) or self._may_lose(o) for o in out):
                return True
            self._back_to(mark)
            if len(out) == 1:
                return False
        return False

    def _settle(self, index: int, depth: int, avoid: frozenset[int]) -> bool:
        """Find a node for a pod that was taken out; say if there is one."""
        node = self._best_fit(index, avoid)
        if node is not None:
            self._shift(index, node, 1)
            return True
        if not depth:
            return False
        tries = (n for n in self._candidates(index, depth - 1) if n not in avoid)
        return any(self._enter(index, n, depth, avoid) for n in tries)

    def _may_lose(self, other: int) -> bool:
        """Whether a pod may be without a place for the sake of the one that is placed."""
        layout, groups = self._layout, self._layout.problem.groups
        if groups[other].priority >= groups[self._for].priority or other in self._whole:
            return False
        return other in self._limits.evictable or layout.placed[other] > groups[other].placed

    def _candidates(self, index: int, depth: int) -> list[int]:
        """Nodes that lack least for a pod of a group, best first."""
        wants = self._of(index)
        beside = self._room[np.ix_(wants.able, wants.columns)] - wants.amounts
        lack = (np.maximum(-beside, 0) * wants.worth).sum(axis=1)
        key = lack + _BESIDE * (beside * wants.worth).sum(axis=1)
        few = min(_TRIED[depth] * (_RULED if self._ruled(index) else 1), len(key))
        first = np.argpartition(key, few)[:few] if few < len(key) else np.arange(len(key))
        nodes = [int(wants.able[i]) for i in first[np.lexsort((wants.able[first], key[first]))]]
        return self._welcoming(index, nodes)[: _TRIED[depth]]

    def _best_fit(self, index: int, avoid: frozenset[int]) -> int | None:
        """Return the node that has least left beside a pod of a group."""
        wants = self._of(index)
        able = wants.able
        for column, amount in zip(wants.columns, wants.amounts, strict=True):
            able = able[self._room[able, column] >= amount]
        for node in avoid:
            able = able[able != node]
        if not len(able):
            return None
        beside = self._room[np.ix_(able, wants.columns)] - wants.amounts
        left = (beside * wants.worth).sum(axis=1)
        if not self._ruled(index):
            return int(able[int(left.argmin())])
        nodes = [int(able[i]) for i in np.argsort(left, kind="stable")[: _TRIED[0] * _RULED]]
        return next(iter(self._welcoming(index, nodes)), None)

    def _ruled(self, index: int) -> bool:
        """Whether rules between pods speak of a group."""
        layout = self._layout
        return layout.problem.groups[index].alone or bool(layout.ledger.rules_of(index))

    def _welcoming(self, index: int, nodes: list[int]) -> list[int]:
        """Return the nodes that rules between pods leave open to a group, as the layout is now."""
        return [n for n in nodes if self._layout.welcomes((index, n))]

    def _taken_out(self, index: int, node: int, *, most_first: bool) -> list[int] | None:
        """Return groups, one entry a pod, whose leaving makes room on a node; None if none do."""
        groups = self._layout.problem.groups
        requests, priority = groups[index].requests, groups[index].priority
        row = self._room[node]
        lack = {r: q - int(row[r]) for r, q in requests.items() if q > row[r]}
        left = {
            i: pods
            for i, pods in self._here[node].items()
            if i != index and (self._any_moves or groups[i].priority <= priority)
        }
        out: list[int] = []
        sign = 1 if most_first else -1
        while lack:
            covered = {
                i: sum(min(groups[i].requests.get(r, 0), s) / requests[r] for r, s in lack.items())
                for i in left
            }
            useful = [i for i, share in covered.items() if share > 0]
            if not useful or len(out) >= _MOST_OUT:
                return None
            chosen = max(useful, key=lambda i: (sign * covered[i], -i))
            out.append(chosen)
            left[chosen] -= 1
            if not left[chosen]:
                del left[chosen]
            less = groups[chosen].requests
            lack = {r: s - less.get(r, 0) for r, s in lack.items() if s > less.get(r, 0)}
        return out

    # What is tried, and what is done

    def _shift(self, index: int, node: int, pods: int) -> None:
        """Change a count, to be kept or taken back."""
        self._trail.append((index, node, pods))
        self._put(index, node, pods)

    def _back_to(self, mark: int) -> None:
        """Take back what was tried since a mark."""
        while len(self._trail) > mark:
            index, node, pods = self._trail.pop()
            self._put(index, node, -pods)

    def _put(self, index: int, node: int, pods: int) -> None:
        wants = self._of(index)
        self._room[node, wants.columns] -= wants.amounts * pods
        here = self._here[node]
        here[index] = here.get(index, 0) + pods
        if not here[index]:
            del here[index]

    def _carry_out(self, shifts: list[_Shift]) -> bool:
        """Make an exchange, unless it breaks a limit or a rule between pods."""
        self._make(shifts)
        self._done.append(shifts)
        if self._within_limits() and all(self._layout.keeps_apart(group) for group, _, _ in shifts):
            return True
        self._undo_to(len(self._done) - 1)
        return False

    def _undo_to(self, mark: int) -> None:
        """Take back all exchanges from the one numbered `mark` on."""
        while len(self._done) > mark:
            self._make([(index, node, -pods) for index, node, pods in reversed(self._done.pop())])

    def _make(self, shifts: list[_Shift]) -> None:
        layout, involved = self._layout, {group for group, _, _ in shifts}
        self._moves -= self._moved(involved)
        self._evictions -= self._lost(involved)
        for index, node, pods in shifts:
            self._put(index, node, pods)
            layout.apply({(index, node): layout.count((index, node)) + pods})
        self._moves += self._moved(involved)
        self._evictions += self._lost(involved)

    def _within_limits(self) -> bool:
        if not self._evictions:
            return self._limits.moves is None or self._moves <= self._limits.moves
        return self._limits.allow_disturbance(self._layout)

    def _moved(self, groups: Iterable[int]) -> int:
        return sum(self._layout.left[i] - self._layout.evictions(i) for i in groups)

    def _lost(self, groups: Iterable[int]) -> int:
        return sum(self._layout.evictions(i) for i in groups)


def _as_array(rooms: Iterable[Iterable[int]], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return room by node and resource; how far a node is over capacity may exceed an int64."""
    rows = [[max(left, -1) for left in room] for room in rooms]
    return np.array(rows, dtype=np.int64).reshape(shape)
