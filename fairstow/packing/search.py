"""The search: bounds, a layout of its own at every moment, and better ones until time ends.

Stages, each starting from the best layout so far, so the answer is never worse than the current
placement and never "unknown":

1. `fit`        place what fits as things are (greedy, best fit);
2. relaxation   bound every level, and learn on which nodes a good plan acts;
3. guided       CP-SAT on those nodes alone;
4. neighbourhoods  CP-SAT on a few nodes at a time (LNS), all levels as one weighted sum;
5. whole        where a level's bound isn't met: CP-SAT on the whole cluster, level by level,
                which finds the optimum or a tighter bound given time.

It ends early when every level meets its bound, or when neighbourhoods stop paying.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairstow.packing.cpsat import PlacementModel
from fairstow.packing.limits import Limits
from fairstow.packing.objective import Level, score, value
from fairstow.packing.problem import Layout, Problem
from fairstow.packing.relaxation import Relaxation
from fairstow.packing.room import fit, slack, undo

Clock = Callable[[], float]
Report = Callable[["Outcome"], None]

_WHOLE_CLUSTER = 60_000
"""Most integers for which the whole cluster is worth giving to CP-SAT at once."""

_GUIDED_NODES = 60
_NEIGHBOURHOOD_SECONDS = 0.4
_PATIENCE = 40
"""Neighbourhoods in a row without a gain before the search moves on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known at some moment of the search.

    Attributes:
        layout: the best layout so far.
        bounds: by level, the proved bound given what the levels above reached.
    """

    layout: Layout
    bounds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One search.

    Attributes:
        start: the layout to improve on.
        order: levels, most important first.
    """

    problem: Problem
    start: Layout
    order: tuple[Level, ...]
    limits: Limits
    seed: int
    workers: int


class Search:
    """One run; `now` and `deadline` are in seconds of the same clock."""

    def __init__(self, task: Task, now: Clock, deadline: float, report: Report) -> None:
        self._task, self._now, self._deadline, self._report = task, now, deadline, report
        self._random = random.Random(task.seed)  # noqa: S311
        self._best = task.start
        self._bounds = [_trivial(level, task) for level in task.order]
        self._round = 0

    def run(self) -> Outcome:
        """Search until the deadline, or until nothing better can be had."""
        task = self._task
        self._offer(fit(task.problem, self._best, task.limits))
        active = self._relax()
        if not self._done() and active:
            self._guided(active)
        self._neighbourhoods()
        if not self._done() and self._size() <= _WHOLE_CLUSTER:
            self._whole()
        self._tighten()
        return self._outcome()

    def _left(self) -> float:
        return self._deadline - self._now()

    def _outcome(self) -> Outcome:
        return Outcome(self._best, tuple(self._bounds))

    def _size(self) -> int:
        return sum(len(g.targets) for g in self._task.problem.groups)

    def _value(self, level: Level) -> int:
        return value(level, self._task.problem, self._best)

    def _done(self) -> bool:
        """Whether every level meets its bound, or no time is left."""
        met = all(self._met(i) for i in range(len(self._bounds)))
        return met or self._left() <= 0

    def _met(self, index: int) -> bool:
        return self._value(self._task.order[index]) == self._bounds[index]

    def _offer(self, layout: Layout | None) -> bool:
        """Take a layout if it is better; report it at once."""
        task = self._task
        if layout is None:
            return False
        layout = undo(task.problem, layout)
        new, old = (score(task.order, task.problem, la) for la in (layout, self._best))
        if new >= old:
            self._best = layout
        if new > old:
            self._report(self._outcome())
        return new > old

    def _relax(self) -> frozenset[int]:
        """Bound every level as if those above reached their bounds; return where to act."""
        relaxation = Relaxation(self._task.problem, self._task.limits)
        for index, level in enumerate(self._task.order):
            bound = relaxation.bound(level, self._left() / 4)
            if bound is None:
                return frozenset()
            # A bound holds given the bounds above, which are at least as good as what is reached:
            # it is no bound for what is reached yet, so only the first level keeps it (`_tighten`).
            if index == 0:
                self._bounds[0] = _tighter(level, self._bounds[0], bound)
            relaxation.hold(level, bound)
        self._report(self._outcome())
        return relaxation.active_nodes()

    def _tighten(self) -> None:
        """Bound every level given what the levels above it reached."""
        relaxation = Relaxation(self._task.problem, self._task.limits)
        for index, level in enumerate(self._task.order):
            bound = relaxation.bound(level, max(self._left(), 0.5))
            if bound is None:
                return
            self._bounds[index] = _tighter(level, self._bounds[index], bound)
            relaxation.hold(level, self._value(level))
        self._report(self._outcome())

    def _guided(self, active: frozenset[int]) -> None:
        nodes = sorted(active)
        if len(nodes) > _GUIDED_NODES:
            nodes = sorted(self._random.sample(nodes, _GUIDED_NODES))
        self._improve(nodes, self._left() * 0.35, self._task.workers)
        self._tighten()

    def _neighbourhoods(self) -> None:
        idle = 0
        while not self._done() and idle < _PATIENCE:
            self._round += 1
            better = self._improve(self._neighbourhood(), _NEIGHBOURHOOD_SECONDS, 1)
            idle = 0 if better else idle + 1

    def _improve(self, nodes: Sequence[int], seconds: float, workers: int) -> bool:
        """Optimise all levels at once on some nodes; say whether the best layout got better."""
        task, before = self._task, score(self._task.order, self._task.problem, self._best)
        model = PlacementModel(task.problem, self._best, nodes, task.limits)
        if not model.scalarise(task.order, _spans(task, self._best, nodes)):
            model.optimise(self._first_open())
        solved = model.solve(
            seconds=min(seconds, self._left()),
            workers=workers,
            seed=task.seed + self._round,
            on_layout=self._offer_quietly,
        )
        self._offer(solved.layout)
        return score(task.order, task.problem, self._best) > before

    def _offer_quietly(self, layout: Layout) -> None:
        self._offer(layout)

    def _first_open(self) -> Level:
        for index, level in enumerate(self._task.order):
            if not self._met(index):
                return level
        return self._task.order[-1]

    def _neighbourhood(self) -> list[int]:
        """Pick nodes: one where a pending pod may go, or where the plan acts, and roomy ones."""
        problem, rng = self._task.problem, self._random
        size = rng.choice((3, 4, 6, 8))
        waiting = [
            i
            for i, g in enumerate(problem.groups)
            if g.targets and sum(self._best[i].values()) < g.most
        ]
        touched = self._touched()
        if touched and (not waiting or rng.random() < 0.5):
            core = rng.sample(touched, min(len(touched), size))
        elif waiting:
            group = problem.groups[rng.choice(waiting)]
            core = [rng.choice(sorted(group.targets))]
        else:
            core = [rng.randrange(len(problem.nodes))]
        room = slack(problem, self._best)
        ranked = sorted(range(len(problem.nodes)), key=lambda n: -room[n] * rng.random())
        return sorted({*core, *ranked[:size]})

    def _touched(self) -> list[int]:
        nodes: set[int] = set()
        for group, at in zip(self._task.problem.groups, self._best, strict=True):
            nodes |= {n for n in at.keys() | group.running.keys()
                      if at.get(n, 0) != group.running.get(n, 0)}  # fmt: skip
        return sorted(nodes)

    def _whole(self) -> None:
        """Give CP-SAT the whole cluster, level by level, from the first open one."""
        task = self._task
        for index, level in enumerate(task.order):
            if self._left() <= 0:
                return
            if self._met(index):
                continue
            model = PlacementModel(
                task.problem, self._best, range(len(task.problem.nodes)), task.limits
            )
            for above in task.order[:index]:
                model.hold(above, self._value(above))
            constant = model.optimise(level)
            open_levels = sum(not self._met(i) for i in range(index, len(task.order)))
            solved = model.solve(
                seconds=self._left() / open_levels,
                workers=task.workers,
                seed=task.seed,
                on_layout=self._offer_quietly,
            )
            self._offer(solved.layout)
            bound = solved.bound + constant
            self._bounds[index] = _tighter(level, self._bounds[index], bound)
            if self._value(level) != self._bounds[index]:
                return  # what is below rests on this level


def trivial_outcome(task: Task) -> Outcome:
    """Return what is known before any search: the start, and bounds by counting."""
    return Outcome(task.start, tuple(_trivial(level, task) for level in task.order))


def _trivial(level: Level, task: Task) -> int:
    """Bound a level by counting: nobody places more pods than there are, nor disturbs below 0."""
    if not level.places:
        return 0
    return sum(
        min(g.most, task.limits.caps.get(i, g.most))
        for i, g in enumerate(task.problem.groups)
        if level.covers(g.priority)
    )


def _tighter(level: Level, one: int, other: int) -> int:
    return min(one, other) if level.places else max(one, other)


def _spans(task: Task, layout: Layout, nodes: Sequence[int]) -> list[int]:
    """Return by level how much its value can change on some nodes."""
    inside = frozenset(nodes)
    groups = list(zip(task.problem.groups, layout, strict=True))
    here = sum(c for _, at in groups for n, c in at.items() if n in inside)
    here += sum(c for g, _ in groups for n, c in g.running.items() if n in inside)
    waiting = sum(g.most - sum(at.values()) for g, at in groups)
    unit = 1 if not task.limits.evictions else 100
    return [here + waiting if level.places else unit * (here + waiting) for level in task.order]
