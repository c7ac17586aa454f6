"""What is better: levels compared one after the other.

A layout's *score* is the tuple of its levels' values, larger is better, compared lexicographically.
With tiers p1 > p2 > …:

    PlaceFirst   place(p1), place(p2), …, −disturb(all)
    TierByTier   place(p1), −disturb(≥ p1), place(p2), −disturb(≥ p2), …

place(p) is the number of placed pods of tier p; disturb(≥ p) is the disturbance of pods of
priority ≥ p in units (`cost`). The second order is that of arXiv 2511.08373, section 3.

With D departures of a group, E of them evictions for good, R pods running now, P pending and T
placed at the end, the disturbance is  move · (D − E) + evict · E  and the work that the D lose
(`problem`; none under the paper's rules), where

    Product (move 1, evict 100)   E = max(0, R − T): fewest evictions;
    Paper   (move 2, evict 1)     E = min(D, P + R − T): a departed pod is rather evicted and a
                                  pending one of its group placed, which is cheaper there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.packing.model import Order, RuleSet
from fairstow.packing.problem import Problem


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


def evictions(problem: Problem, group: int, placed: int, left: int) -> int:
    """Pods of a group that lose their place for good, of `left` that leave their node."""
    running = problem.groups[group].placed
    if problem.rules is RuleSet.PAPER:
        return min(left, problem.groups[group].pending + running - placed)
    return max(0, running - placed)


def disturbance(problem: Problem, group: int, placed: int, left: int, work: int) -> int:
    """Disruption units of a group, of which `left` pods leave their node and lose `work`."""
    lost = evictions(problem, group, placed, left)
    return problem.rules.move_cost * (left - lost) + problem.rules.eviction_cost * lost + work
