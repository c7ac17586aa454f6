"""Parts of a problem that don't touch each other, searched side by side.

Called by `search.Task`. Two groups touch where a node may hold pods of both, a rule between pods or
claims speaks of both, or they are of one gang. The connected parts of that relation share no node,
no rule and (unless the whole plan has a limit) no limit, so a layout is best if it is best on each:
placements and disturbance are sums over parts.

A part in which nobody waits is left as it is: nothing can be placed there, and what it disturbs
helps nobody. The others are searched at the same time, each with its share of time by size.

Where there are more than a few, those are put together that make sets of about one size: each set
costs a search of its own, with all nodes in its books.

Bounds add up as well, but only down to the first level that isn't met everywhere: below that a
layout might give up a pod in one part for one in another, which no part's bound speaks of.
"""

from collections.abc import Iterable, Sequence

from fairstow.packing.limits import Limits
from fairstow.packing.model import RuleSet
from fairstow.packing.problem import Problem

_MOST = 8
"""Sets of parts that are searched apart, at most."""


def separable(problem: Problem, limits: Limits) -> bool:
    """Whether no limit holds over all parts together."""
    counted = limits.evictions and problem.rules is RuleSet.PRODUCT
    return limits.moves is None and not limits.tier_caps and not counted


def parts(problem: Problem) -> list[frozenset[int]]:
    """Return the parts in which somebody waits and may go somewhere, in a few sets."""
    union = _Union(len(problem.groups))
    by_node: dict[int, int] = {}
    for index, group in enumerate(problem.groups):
        if index not in problem.pinned:
            for node in group.targets | group.running.keys():
                union.join(index, by_node.setdefault(node, index))
    for together in _bound_together(problem):
        first = next(iter(together), 0)
        for index in together:
            union.join(first, index)
    found: dict[int, set[int]] = {}
    for index in range(len(problem.groups)):
        if index not in problem.pinned:
            found.setdefault(union.root(index), set()).add(index)
    hopeful = {i for i, g in enumerate(problem.groups) if g.pending and g.targets}
    waiting = [p for p in found.values() if p & hopeful]
    return _gathered(problem, sorted(waiting, key=lambda p: (-size(problem, p), min(p))))


def _gathered(problem: Problem, found: Iterable[set[int]]) -> list[frozenset[int]]:
    """Put parts, largest first, each to the smallest set so far; return the largest set first."""
    sets: list[set[int]] = [set() for _ in range(_MOST)]
    sizes = [0] * _MOST
    for part in found:
        smallest = sizes.index(min(sizes))
        sets[smallest] |= part
        sizes[smallest] += size(problem, part)
    order = sorted(range(_MOST), key=lambda i: (-sizes[i], i))
    return [frozenset(sets[i]) for i in order if sets[i]]


def size(problem: Problem, part: Iterable[int]) -> int:
    """How large a part is: pairs of a group and a node it may stand on."""
    return sum(len(problem.groups[i].targets) + 1 for i in part)


def _bound_together(problem: Problem) -> Iterable[Sequence[int]]:
    for rule in problem.between:
        yield sorted({group for total in rule.sums for group in total.groups})
    for claim in problem.claims:
        yield sorted(claim.groups)
    for gang in problem.gangs:
        yield gang.groups


class _Union:
    """Disjoint sets with path halving (Tarjan, van Leeuwen 1984)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = item = self._parent[self._parent[item]]
        return item

    def join(self, one: int, other: int) -> None:
        self._parent[self.root(one)] = self.root(other)
