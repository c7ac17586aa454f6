"""The search for blocks, one size after the other, and what it proves.

Called by `planner`. Each size is a search for placements (`fairstow.packing.search`), wherever the
solver runs it. Bounds are put together from three sources, each valid given what the larger sizes
got: free devices (`Blocks.most`), departures (`counting`), and the bounds of the search.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fairstow.packing.defragment.blocks import Blocks
from fairstow.packing.defragment.greedy import free
from fairstow.packing.defragment.placeholders import Filled
from fairstow.packing.effort import Clock
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.outcome import Outcome
from fairstow.packing.problem import Site
from fairstow.packing.task import Task

if TYPE_CHECKING:
    from fairstow.packing.defragment.counting import CountingBound

Solve = Callable[[Task, float], Outcome]

_COUNTING_SHARE = 0.05
"""Share of the time for each of the two rounds of counting departures."""

_GREEDY_SHARE = 0.2
"""Share of what is left that the start of a size may take."""

_PHASE_SHARE = 0.6
"""Share of what is left that one size gets, but for the last, which gets all."""


@dataclass(frozen=True)
class Found:
    """A layout and what is proved.

    Attributes:
        changes: how the pods that move stand otherwise than now.
        totals: free blocks by size.
        bounds: on each of them, given the larger ones.
        least_cost: of any layout with these blocks.
    """

    changes: dict[Site, int]
    totals: tuple[int, ...]
    bounds: tuple[int, ...]
    least_cost: int


@dataclass(frozen=True)
class Phases:
    """The search's settings. Attributes: moves: most of them; None is no limit."""

    blocks: Blocks
    moves: int | None
    seed: int
    workers: int
    solve: Solve
    now: Clock

    def run(self, filled: Filled, deadline: float) -> Found:
        """Return the best layout found by then; never worse than now."""
        problem, levels = filled.problem, range(len(filled.sizes))
        begun = Incumbent(problem, {})
        seconds = _COUNTING_SHARE * (deadline - self.now())
        caps = [self.blocks.most(i) for i in levels]
        if levels:
            first = self._counting(begun).most(0, seconds)
            caps[0] = min(caps[0], caps[0] if first is None else first)
        changes: dict[Site, int] = {}
        bounds: Sequence[int] = [*caps, 0]
        for level in levels if filled.level_of else ():
            left = deadline - seconds - self.now()
            changes = self._start(filled, changes, level, self.now() + _GREEDY_SHARE * left)
            left = deadline - seconds - self.now()
            task = Task(
                problem=filled.down_to(level, caps),
                start=changes,
                order=filled.order(level),
                limits=Limits(moves=self.moves),
                proof_limits=Limits(moves=self.moves),
                seed=self.seed,
                workers=self.workers,
            )
            outcome = self.solve(task, left * (1 if level == levels[-1] else _PHASE_SHARE))
            changes, bounds = outcome.changes, outcome.bounds
            caps[0] = min(caps[0], bounds[0])
        return self._proved(filled, changes, bounds, caps[0] if levels else 0, deadline)

    def _start(
        self, filled: Filled, changes: dict[Site, int], level: int, until: float
    ) -> dict[Site, int]:
        """Return a layout to begin a size with: the one so far, or a better one by greed."""
        problem = replace(filled.problem, groups=filled.problem.groups[: filled.movers])
        before = Incumbent(problem, filled.moves(changes))
        layout = Incumbent(problem, filled.moves(changes))
        free(layout, self.blocks, level, self.moves, lambda: self.now() > until)
        if (
            self.blocks.counts(layout.room)[: level + 1]
            <= self.blocks.counts(before.room)[: level + 1]
        ):
            return changes
        return layout.changes() | filled.placeholders(changes)

    def _proved(
        self,
        filled: Filled,
        changes: dict[Site, int],
        bounds: Sequence[int],
        first: int,
        deadline: float,
    ) -> Found:
        """Put the bounds together; `first` is one on the largest size that always holds."""
        layout, now = Incumbent(filled.problem, changes), Incumbent(filled.problem, {})
        moved = Incumbent(filled.problem, filled.moves(changes))
        placed, totals = filled.placed(layout.at), self.blocks.counts(moved.room)
        counting, proved, exact = self._counting(now), list[int](), True
        for level, total in enumerate(totals):
            bound = self.blocks.most(level)
            if level == 0:
                bound = min(bound, first)
            left = deadline - self.now()
            if bound > total and (counted := counting.most(level, left / 2)) is not None:
                bound = min(bound, counted)
            inside = filled.inside(level, placed)
            if exact:
                bound = min(bound, inside + bounds[level])
            # What the search proved is given its own placeholders: all blocks must be among them.
            exact = exact and inside + placed[level] == total
            counting.hold(level, total)
            proved.append(max(bound, total))
        least = bounds[-1] if exact else 0
        counted = counting.least_cost(deadline - self.now())
        return Found(filled.moves(changes), totals, tuple(proved), max(least, counted or 0))

    def _counting(self, now: Incumbent) -> "CountingBound":
        # Here: 90 MB of ortools, which the operator has no other use for.
        from fairstow.packing.defragment.counting import CountingBound

        levels = range(len(self.blocks.sizes))
        at = [[self.blocks.count(n, i, room) for i in levels] for n, room in enumerate(now.room)]
        return CountingBound(self.blocks, at, self.moves, now.problem.rules.move_cost)
