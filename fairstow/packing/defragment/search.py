"""The search for blocks: a layout of its own at every moment, bounds, better layouts until the end.

1. counting       bound every size, given what the larger ones reached (`counting`);
2. climb          free size after size: what is cheapest to free (`greedy`), then single nodes by
                  many small exchanges (`drain`);
3. neighbourhoods CP-SAT on a few nodes at a time, all open levels as one sum;
4. whole          where the cluster is small enough, CP-SAT on all of it, level by level, which
                  finds the optimum or a tighter bound given time.

It ends when every level meets its bound or stage 4 has solved them all; on large clusters when
climbs and neighbourhoods stop paying.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fairstow.packing.between import exact
from fairstow.packing.defragment.blocks import Blocks
from fairstow.packing.defragment.climb import Climb
from fairstow.packing.defragment.counting import CountingBound
from fairstow.packing.defragment.cpsat import BlockModel
from fairstow.packing.defragment.neighbourhoods import Choice, Neighbourhoods
from fairstow.packing.defragment.standing import Standing
from fairstow.packing.effort import Clock
from fairstow.packing.problem import Problem, Site
from fairstow.packing.search import Outcome, Report

_WHOLE_CLUSTER = 60_000
"""Most (group, node) pairs for which the whole cluster is worth giving to CP-SAT at once."""

_CLIMB_SHARE = 0.4
_COUNTING_SHARE = 0.15
_NEIGHBOURHOOD_SECONDS = 0.4
_PATIENCE = 16
"""Neighbourhoods in a row without a gain before the search moves on."""

_NEIGHBOURHOOD_SHARE = 0.4
_FRUITLESS = 3
"""Rounds in a row without a gain after which the search of a large cluster ends."""

_LEVEL_SHARE = 0.6
"""Share of what is left that one level of the whole cluster may take."""

_BOUND_SHARE = 0.1
"""Share of the window kept for bounds once the layout is final."""


@dataclass(frozen=True, slots=True)
class BlockTask:
    """One search for blocks.

    Attributes:
        start: the changes to begin with.
        moves: most moves, None for no limit.
    """

    problem: Problem
    blocks: Blocks
    start: dict[Site, int]
    moves: int | None
    seed: int
    workers: int

    def begin(self) -> Outcome:
        """Return what is known before any search: the start, and bounds by counting devices."""
        return Outcome(self.start, (*map(self._capacity, range(self._sizes)), 0), complete=False)

    def run(self, now: Clock, deadline: float, report: Report) -> Outcome:
        """Search until the deadline."""
        return BlockSearch(self, now, deadline, report).run()

    @property
    def _sizes(self) -> int:
        return len(self.blocks.sizes)

    def _capacity(self, level: int) -> int:
        """No product has more blocks than devices free, nor than its nodes' rungs."""
        size = self.blocks.sizes[level].size
        return sum(
            min(free // size, sum(len(self.blocks.rungs[n][level]) for n in nodes))
            for free, nodes in self.blocks.free[level]
        )


class BlockSearch:
    """One run; `now` and `deadline` are in seconds of the same clock."""

    def __init__(self, task: BlockTask, now: Clock, deadline: float, report: Report) -> None:
        self._task, self._now, self._deadline, self._report = task, now, deadline, report
        self._reserve = _BOUND_SHARE * (deadline - now())
        self._best = Standing(task.problem, task.blocks, task.start)
        self._bounds = list(task.begin().bounds)
        self._now_at = [self._best.at(n) for n in range(len(task.problem.nodes))]
        self._levels = range(len(task.blocks.sizes) + 1)
        self._round = 0
        self._climber = Climb(
            task.problem, task.blocks, task.start, task.moves, task.seed, task.workers
        )

    def run(self) -> Outcome:
        """Search until the deadline, or until nothing better can be had."""
        if not self._task.blocks.sizes:
            return Outcome({}, tuple(self._bounds))
        self._bound(_COUNTING_SHARE * self._left())
        self._climb(_CLIMB_SHARE * self._left())
        self._bound(_COUNTING_SHARE * self._left())
        small = self._task.problem.pairs <= _WHOLE_CLUSTER
        fruitless = 0
        while not self._done() and fruitless < _FRUITLESS:
            paid = self._neighbourhoods(_PATIENCE)
            if small and not self._done() and self._whole():
                break
            paid = self._climb(_CLIMB_SHARE * self._left()) or paid
            fruitless = 0 if paid or small else fruitless + 1
        self._undo()
        self._bound(self._deadline - self._now())
        return self._outcome()

    def _left(self) -> float:
        return self._deadline - self._reserve - self._now()

    def _value(self, level: int) -> int:
        best = self._best
        return best.totals[level] if level < len(best.totals) else best.cost

    def _met(self, level: int) -> bool:
        return self._value(level) == self._bounds[level]

    def _done(self) -> bool:
        return self._left() <= 0 or all(map(self._met, self._levels))

    def _open(self) -> int:
        """The first level that doesn't meet its bound."""
        return next((i for i in self._levels if not self._met(i)), 0)

    def _outcome(self) -> Outcome:
        return Outcome(self._best.layout.changes(), tuple(self._bounds))

    def _offer(self, changes: dict[Site, int] | None) -> bool:
        """Take changes of a solve, and climb on from there; say if the layout got better."""
        before = self._best.totals.copy()
        if not changes or not self._take(changes):
            return False
        changed = [i for i, n in enumerate(before) if n != self._best.totals[i]]
        if changed:
            self._climber.restart_from(changed[0] + 1, self._best.layout.changes())
        return True

    def _take(self, changes: dict[Site, int]) -> bool:
        """Take changes that make the layout better; report and say if it got better."""
        before = self._best.totals.copy()
        if not self._best.improve(changes, self._task.moves):
            return False
        self._keep_bounds(before)
        self._report(self._outcome())
        return True

    def _keep_bounds(self, before: list[int]) -> None:
        """Keep the bounds that still hold for a layout with other totals.

        A bound is proved for layouts with at least so many blocks of each larger size. It holds
        as long as none of these numbers falls: fewer layouts have more.
        """
        first = next((i for i, n in enumerate(before) if self._best.totals[i] != n), None)
        if first is None:
            return
        weakest = self._task.begin().bounds
        for level in range(first + 2, len(self._bounds)):
            if any(self._best.totals[i] < before[i] for i in range(first + 1, level)):
                self._bounds[level] = weakest[level]

    def _climb(self, seconds: float) -> bool:
        """Free blocks size by size, from the first that can get more; say if any were."""
        until, paid, first = self._now() + seconds, False, self._open()
        while first < self._levels[-1] and self._now() < until:
            found = self._climber.run(first, self._bounds[:-1], lambda: until - self._now())
            better = self._take(self._instead(found))
            paid, first = paid or better, self._open() if better else first + 1
        return paid

    def _instead(self, found: Standing) -> dict[Site, int]:
        """Return the changes that make another layout of the best one."""
        running = [g.running for g in self._task.problem.groups]
        back = {s: running[s[0]].get(s[1], 0) for s in self._best.layout.changes()}
        return back | found.layout.changes()

    def _undo(self) -> None:
        before = self._best.totals.copy()
        self._best.undo()
        self._keep_bounds(before)

    def _bound(self, seconds: float) -> None:
        """Bound every level given what the levels above it reached."""
        until = self._now() + seconds
        counting = CountingBound(
            self._task.blocks,
            self._now_at,
            self._task.moves,
            self._task.problem.rules.move_cost,
        )
        for level in self._levels:
            last = level == self._levels[-1]
            if not self._met(level):
                left = (until - self._now()) / (1 if last else 2)
                found = counting.least_cost(left) if last else counting.most(level, left)
                if found is not None:
                    self._tighten(level, found)
            if not last:
                counting.hold(level, self._value(level))
        self._report(self._outcome())

    def _tighten(self, level: int, bound: int) -> None:
        tighter = max if level == self._levels[-1] else min
        self._bounds[level] = tighter(self._bounds[level], bound)

    def _neighbourhoods(self, patience: int) -> bool:
        """Improve neighbourhood by neighbourhood until it stops paying; say if it ever paid.

        As many at a time as there are workers, on nodes of their own; each is solved by one
        thread, so that the outcome doesn't hang on which is first.
        """
        chooser = Neighbourhoods(self._best, self._task.seed + self._round)
        idle, paid = 0, False
        until = self._now() + _NEIGHBOURHOOD_SHARE * self._left()
        with ThreadPoolExecutor(self._task.workers) as pool:
            while not self._done() and idle < patience and self._now() < until:
                choices = chooser.choose(self._task.workers, self._open())
                for choice, found in zip(choices, pool.map(self._solve, choices), strict=True):
                    better = self._offer(found)
                    chooser.learn(choice, better=better)
                    idle, paid = (0, True) if better else (idle + 1, paid)
                self._round += len(choices)
        return paid

    def _solve(self, choice: Choice) -> dict[Site, int] | None:
        model = BlockModel(self._best, choice.nodes, self._task.moves)
        first = self._open()
        for level in range(first):
            model.hold_blocks(level, self._value(level))
        model.aim_from(first)
        seconds = min(_NEIGHBOURHOOD_SECONDS, self._left())
        seed = self._task.seed + self._round + choice.nodes[0]
        return model.solve(seconds=seconds, workers=1, seed=seed).changes

    def _whole(self) -> bool:
        """Give CP-SAT the whole cluster, level by level, from the first open one.

        Returns whether it solved them all: what this search may do, it has done.
        """
        task = self._task
        for level in self._levels:
            if self._left() <= 0:
                return False
            if self._met(level):
                continue
            model = BlockModel(self._best, range(len(task.problem.nodes)), task.moves)
            for above in range(level):
                model.hold_blocks(above, self._value(above))
            if not model.aim_at(level):
                self._tighten(level, self._value(level))
                continue
            share = 1 if level == self._levels[-1] else _LEVEL_SHARE
            solved = model.solve(
                seconds=self._left() * share,
                workers=task.workers,
                seed=task.seed,
                on_changes=self._found_on_the_way(),
            )
            self._offer(solved.changes)
            if solved.bound is not None and exact(task.problem.between):
                self._tighten(level, solved.bound)
            if not solved.optimal:
                return False  # what is below rests on this level
            self._bound(_COUNTING_SHARE * self._left())
        return True

    def _found_on_the_way(self) -> Callable[[dict[Site, int]], None]:
        """Return what reports a layout in the middle of a long solve; it reads, never changes.

        Called from the solver's thread.
        """
        task, start, score = self._task, self._best.layout.changes(), self._best.score

        def report(changes: dict[Site, int]) -> None:
            layout = Standing(task.problem, task.blocks, start | changes)
            if layout.score > score and (task.moves is None or layout.moves <= task.moves):
                self._report(Outcome(layout.layout.changes(), task.begin().bounds, complete=False))

        return report
