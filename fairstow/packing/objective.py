"""What is better: levels compared one after the other.

A layout's *score* is the tuple of its levels' values, larger is better, compared lexicographically.
With tiers p1 > p2 > … and disturbance counted in disruption units (a move 1, an eviction 100):

    PlaceFirst   place(p1), place(p2), …, −disturb(all)
    TierByTier   place(p1), −disturb(≥ p1), place(p2), −disturb(≥ p2), …

place(p) is the number of placed pods of tier p; disturb(≥ p) counts the departures of pods of
priority ≥ p. The second order is that of arXiv 2511.08373, section 3, under the product's rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.packing.model import EVICTION_COST, MOVE_COST, Order
from fairstow.packing.problem import Layout, Problem


@dataclass(frozen=True, slots=True)
class Level:
    """One line of the objective.

    Attributes:
        places: maximise the placed pods of tier `priority`; else minimise the disturbance of
            pods of that priority and above.
    """

    places: bool
    priority: int

    def covers(self, priority: int) -> bool:
        """Whether groups of this priority count in the level."""
        return priority == self.priority if self.places else priority >= self.priority


def levels(order: Order, priorities: Sequence[int]) -> tuple[Level, ...]:
    """Return the levels of an order; priorities come highest first."""
    if order is Order.TIER_BY_TIER:
        return tuple(Level(places, p) for p in priorities for places in (True, False))
    return (*(Level(True, p) for p in priorities), Level(False, priorities[-1]))


def departures(problem: Problem, layout: Layout, group: int) -> int:
    """Pods of a group that leave the node they are on."""
    at = layout[group]
    return sum(max(0, now - at.get(n, 0)) for n, now in problem.groups[group].running.items())


def evictions(problem: Problem, layout: Layout, group: int) -> int:
    """Pods of a group that lose their place for good."""
    return max(0, problem.groups[group].placed - sum(layout[group].values()))


def moves(problem: Problem, layout: Layout, group: int) -> int:
    """Pods of a group that change nodes."""
    return departures(problem, layout, group) - evictions(problem, layout, group)


def disturbance(problem: Problem, layout: Layout, group: int) -> int:
    """Disruption units of a group."""
    lost = evictions(problem, layout, group)
    return MOVE_COST * (departures(problem, layout, group) - lost) + EVICTION_COST * lost


def value(level: Level, problem: Problem, layout: Layout) -> int:
    """Return a level's value for a layout, in its own direction (placed pods, or units)."""
    covered = [i for i, g in enumerate(problem.groups) if level.covers(g.priority)]
    if level.places:
        return sum(sum(layout[i].values()) for i in covered)
    return sum(disturbance(problem, layout, i) for i in covered)


def score(order: Sequence[Level], problem: Problem, layout: Layout) -> tuple[int, ...]:
    """Return what layouts are compared by: larger is better."""
    return tuple(value(level, problem, layout) * (1 if level.places else -1) for level in order)
