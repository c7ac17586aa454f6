"""What a plan may cost at most, as the search and its bounds read it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairstow.packing.incumbent import Incumbent
from fairstow.packing.model import RuleSet
from fairstow.packing.objective import Level
from fairstow.packing.problem import Site


@dataclass(frozen=True)
class Limits:
    """Bounds on a plan.

    Attributes:
        moves: most moves, or None.
        evictions: most evictions for good.
        evictable: groups that may lose pods for good.
        caps: most placed pods of a group, where less than all.
        tier_caps: most placed pods of a tier by priority, where less than all.
    """

    moves: int | None = None
    evictions: int = 0
    evictable: frozenset[int] = frozenset()
    caps: Mapping[int, int] = field(default_factory=dict)
    tier_caps: Mapping[int, int] = field(default_factory=dict)

    def allow(self, layout: Incumbent, sites: Iterable[Site]) -> bool:
        """Whether a layout is one after some sites of it were changed.

        Asked of every layout before it is taken: two solves on nodes of their own may each be right
        and break together what holds over all nodes.
        """
        changed = list(sites)
        groups = {group for group, _ in changed}
        return (
            all(layout.holds(node) for node in {node for _, node in changed})
            and all(self._allow_group(layout, group) for group in groups)
            and all(layout.whole(gang) for gang in layout.problem.gangs)
            and all(
                layout.value(Level(places=True, priority=priority)) <= most
                for priority, most in self.tier_caps.items()
            )
            and self.allow_disturbance(layout)
        )

    def _allow_group(self, layout: Incumbent, group: int) -> bool:
        there = layout.problem.groups[group].most
        most = min(there, self.caps.get(group, there))
        return layout.placed[group] <= most and layout.keeps_apart(group)

    def allow_disturbance(self, layout: Incumbent) -> bool:
        """Whether no more pods move, and no others lose their place, than may."""
        problem = layout.problem
        lost = {i: n for i in range(len(problem.groups)) if (n := layout.evictions(i))}
        if self.moves is not None and sum(layout.left) - sum(lost.values()) > self.moves:
            return False
        if problem.rules is RuleSet.PAPER:
            return True
        under = Counter[int]()
        for group, count in lost.items():
            for budget in problem.groups[group].budgets:
                under[budget] += count
        return (
            lost.keys() <= self.evictable
            and sum(lost.values()) <= self.evictions
            and all(count <= problem.allowed[budget] for budget, count in under.items())
        )
