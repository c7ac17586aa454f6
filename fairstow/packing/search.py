"""The search: bounds, a layout of its own at every moment, and better ones until time ends.

Stages, each starting from the best layout so far, so the answer is never worse than the current
placement and never "unknown":

1. repair       greedily, one waiting pod after the other (`repair`), then a few neighbourhoods,
                so that something is won even where there is no time for the rest;
2. relaxation   bound every level, and learn on which nodes a good plan acts;
3. guided       CP-SAT on those nodes alone;
4. neighbourhoods  CP-SAT on a few nodes at a time, chosen by a bandit, all levels as one sum;
5. whole        where a level's bound isn't met: CP-SAT on the whole cluster, level by level,
                which finds the optimum or a tighter bound given time.

It ends early when every level meets its bound or stage 5 has solved every level; on clusters too
large for stage 5, when neighbourhoods stop paying.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fairstow.packing.between import exact
from fairstow.packing.cpsat import PlacementModel, Solved
from fairstow.packing.effort import UNLIMITED, Clock, Meter, spend
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.neighbourhoods import Choice, Neighbourhoods
from fairstow.packing.objective import Level
from fairstow.packing.outcome import Outcome, Report, by_counting
from fairstow.packing.problem import Site
from fairstow.packing.relaxation import COLUMNS_PER_SECOND, Relaxation
from fairstow.packing.repair import Repair

if TYPE_CHECKING:
    from fairstow.packing.task import Task

_WHOLE_CLUSTER = 60_000
"""Most (group, node) pairs for which the whole cluster is worth giving to CP-SAT at once."""

_POD_BY_POD = 60_000
"""Most (pod, node) pairs for which the whole cluster is stated pod by pod."""

_TINY = 2_000
"""Most (pod, node) pairs that CP-SAT settles as a whole sooner than bit by bit."""

_TINY_SHARE = 0.05

_GUIDED_NODES = 60
_GUIDED_SHARE = 0.3
_NEIGHBOURHOOD_SECONDS = 0.2
_PATIENCE = 40
"""Neighbourhoods in a row without a gain before the search moves on."""

_PATIENCE_AT_SCALE = 150
"""The same where the whole cluster is too large to be solved at once."""

_REPAIR_UNITS = 0.002
_SOLVE_UNITS = 0.01
"""Units of work of looking at one waiting pod, and of stating and reading one model."""

_REPAIR_SHARE = 0.5
_BEFORE_WHOLE = {True: 0.35, False: 0.75}
"""Share of what is left for neighbourhoods where the whole cluster can be solved after them: less
where it is stated pod by pod, which is what proves most."""

_FIRST_PATIENCE = 8
_FIRST_SHARE = 0.2

_REPORT_EVERY = 0.25
"""Seconds between reports from the middle of a solve."""

_WHOLE_SHARE = {True: 0.9, False: 0.7}
"""Share of what is left that one level of the whole cluster may take, of a tiny one and others."""

_WITHOUT_SHARE = 0.5
"""Share of what is left for the bound of one level without rules that are too strict."""

_TIGHTEN_SHARE = 0.1
"""Share of the window kept at most for bounding the levels once the layout is final."""


class Search:
    """One run; `now` and `deadline` are of one clock, of seconds or of work (`effort`)."""

    def __init__(self, task: "Task", now: Clock, deadline: float, report: Report) -> None:
        self._task, self._now, self._deadline, self._report = task, now, deadline, report
        size = len(task.order) * task.problem.pairs / COLUMNS_PER_SECOND
        self._reserve = min(_TIGHTEN_SHARE * (deadline - now()), size)
        self._best = Incumbent(task.problem, task.start)
        self._score = self._best.score(task.order)
        self._bounds = [by_counting(level, task.problem) for level in task.order]
        self._relaxation: Relaxation | None = None
        self._assumed: list[int] = []
        self._round = 0
        # What CP-SAT proves holds for plans if it may do all they may, and no rule is too strict.
        self._exact = exact(task.problem.between)
        self._proves = task.limits == task.proof_limits and self._exact
        self._tiny = task.problem.pods_by_nodes <= _TINY
        self._pod_by_pod = task.problem.pods_by_nodes <= _POD_BY_POD
        self._reported = now()

    def run(self) -> Outcome:
        """Search until the deadline, or until nothing better can be had."""
        self._repair()
        share = _TINY_SHARE if self._tiny else _FIRST_SHARE
        self._neighbourhoods([], _FIRST_PATIENCE, self._now() + share * self._left())
        active = self._relax()
        small = self._task.problem.pairs <= _WHOLE_CLUSTER
        if not self._done() and 0 < len(active) < len(self._task.problem.in_play):
            self._guided(sorted(active))
        while not self._done():
            share = _BEFORE_WHOLE[self._pod_by_pod] if small else 1
            share = _TINY_SHARE if self._tiny else share
            until = self._now() + share * self._left()
            patience = _PATIENCE if small else _PATIENCE_AT_SCALE
            better = self._neighbourhoods(sorted(active), patience, until)
            if (small and not self._done() and self._whole()) or not (small or better):
                break
        self._tighten()
        return self._outcome()

    def _left(self) -> float:
        return self._deadline - self._reserve - self._now()

    def _outcome(self) -> Outcome:
        return Outcome(self._best.changes(), tuple(self._bounds))

    def _done(self) -> bool:
        """Whether every level meets its bound, or no time is left."""
        return self._left() <= 0 or all(self._met(i) for i in range(len(self._bounds)))

    def _met(self, index: int) -> bool:
        return self._best.value(self._task.order[index]) == self._bounds[index]

    def _offer(self, changes: dict[Site, int] | None) -> bool:
        """Take changes that make the layout no worse; report and say if it got better."""
        if not changes:
            return False
        before = self._best.changes()
        self._best.apply(changes)
        self._best.undo()
        score = self._best.score(self._task.order)
        if score < self._score or not self._task.limits.allow(self._best, changes):
            self._restore(before)
            return False
        better = score > self._score
        self._forget_bounds(score)
        self._score = score
        if better:
            self._report(self._outcome())
        return better

    def _forget_bounds(self, score: tuple[int, ...]) -> None:
        """Drop bounds that rest on a level that got worse.

        A bound holds for all layouts whose levels above are at least as good as when it was
        proved. Those above may improve, then it still holds; where one got worse (for the sake
        of one further up) what is below it may now reach more.
        """
        worse = [
            i for i, (new, old) in enumerate(zip(score, self._score, strict=True)) if new < old
        ]
        for index in range(min(worse) + 1 if worse else len(score), len(score)):
            self._bounds[index] = by_counting(self._task.order[index], self._task.problem)

    def _restore(self, before: dict[Site, int]) -> None:
        touched = self._best.changes().keys() | before.keys()
        running = [g.running for g in self._task.problem.groups]
        self._best.apply({(g, n): before.get((g, n), running[g].get(n, 0)) for g, n in touched})

    def _repair(self) -> None:
        """Place greedily: small pods first, which places more; then large first, if any wait."""
        task = self._task
        until = self._now() + _REPAIR_SHARE * self._left()
        for largest_first in (False, True):
            layout = Incumbent(task.problem, task.start)
            repair = Repair(layout, task.limits, task.order)
            repair.run(largest_first=largest_first, more_time=lambda: self._may_go_on(until))
            self._offer(layout.difference(self._best))
            if self._done() or not any(map(layout.waiting, range(len(task.problem.groups)))):
                break
        self._report(self._outcome())

    def _may_go_on(self, until: float) -> bool:
        """Whether there is time for one more pod."""
        spend(self._now, _REPAIR_UNITS)
        return self._now() < until

    def _relax(self) -> frozenset[int]:
        """Bound every level as if those above reached their bounds; return where to act."""
        relaxation = Relaxation.within(
            self._task.problem, self._task.proof_limits, self._left() / 3
        )
        if relaxation is None:
            return frozenset()
        for level in self._task.order:
            bound = self._relaxed(relaxation, level, self._left() / 3)
            if bound is None:
                return frozenset()
            self._assumed.append(bound)
            relaxation.hold(level, bound)
        self._relaxation = relaxation
        self._take_assumed()
        self._report(self._outcome())
        return relaxation.active_nodes()

    def _relaxed(self, relaxation: Relaxation, level: Level, seconds: float) -> int | None:
        """Bound a level; what that costs in work is reckoned by the program's size."""
        spend(self._now, relaxation.columns / COLUMNS_PER_SECOND)
        return relaxation.bound(level, UNLIMITED if self._by_work and seconds > 0 else seconds)

    def _take_assumed(self) -> None:
        """Take the bounds of `_relax` as far as the levels above reached what they assume."""
        for index, (level, bound) in enumerate(zip(self._task.order, self._assumed, strict=False)):
            self._bounds[index] = _tighter(level, self._bounds[index], bound)
            if self._best.value(level) != bound:
                return

    def _tighten(self) -> None:
        """Bound every level given what the levels above it reached; skips what is known."""
        order = self._task.order
        self._take_assumed()
        relaxation = self._relaxation
        if relaxation is None or all(self._met(i) for i in range(len(order))):
            return
        relaxation.release()
        for index, level in enumerate(order):
            if not self._met(index):
                bound = self._relaxed(relaxation, level, (self._deadline - self._now()) / 2)
                if bound is None:
                    return
                self._bounds[index] = _tighter(level, self._bounds[index], bound)
            relaxation.hold(level, self._best.value(level))
        self._report(self._outcome())

    def _neighbourhoods(self, active: Sequence[int], patience: int, until: float) -> bool:
        """Improve neighbourhood by neighbourhood until it stops paying; say if it ever paid.

        As many at a time as there are workers, on nodes of their own. Each is solved by one thread
        and all are stated before and offered after, so the outcome doesn't hang on who is first.
        """
        neighbourhoods = Neighbourhoods(self._best, active, self._task.seed + self._round)
        idle, paid = 0, False
        with ThreadPoolExecutor(self._task.workers) as pool:
            while not self._done() and idle < patience and self._now() < until:
                choices = neighbourhoods.choose(self._task.workers)
                models = [self._open_model(choice.nodes) for choice in choices]
                solved = list(pool.map(self._solve, models, choices))
                for choice, found in zip(choices, solved, strict=True):
                    self._spend(found)
                    better = self._offer(found.changes)
                    neighbourhoods.learn(choice, better=better)
                    idle, paid = (0, True) if better else (idle + 1, paid)
                self._round += len(choices)
        return paid

    def _solve(self, model: PlacementModel, choice: Choice) -> Solved:
        seconds = min(_NEIGHBOURHOOD_SECONDS, self._left())
        seed = self._task.seed + self._round + choice.nodes[0]
        return model.solve(seconds=seconds, workers=1, seed=seed, by_work=self._by_work)

    @property
    def _by_work(self) -> bool:
        return isinstance(self._now, Meter)

    def _spend(self, solved: Solved) -> None:
        spend(self._now, _SOLVE_UNITS + solved.work)

    def _guided(self, active: list[int]) -> None:
        nodes = Neighbourhoods(self._best, active, self._task.seed).sample(active, _GUIDED_NODES)
        solved = self._open_model(nodes).solve(
            seconds=self._left() * _GUIDED_SHARE,
            workers=self._task.workers,
            seed=self._task.seed,
            by_work=self._by_work,
            on_changes=self._report_only,
        )
        self._spend(solved)
        self._offer(solved.changes)
        self._tighten()

    def _open_model(self, nodes: Sequence[int]) -> PlacementModel:
        """Return a model of some nodes that optimises what is open.

        The first levels that meet their bound are held, all below them optimised together as one
        sum: without the large weights of what can't get better, the solver sees the rest clearly.
        """
        task = self._task
        model = PlacementModel(self._best, nodes, task.limits)
        first = next((i for i in range(len(task.order)) if not self._met(i)), 0)
        for level in task.order[:first]:
            model.hold(level, self._best.value(level))
        model.scalarise(task.order[first:])
        return model

    def _report_only(self, changes: dict[Site, int]) -> None:
        """Report a layout in the middle of a long solve, so that it isn't lost if time ends there.

        Called from the solver's thread: the incumbent is read, never changed.
        """
        if self._by_work or self._now() - self._reported < _REPORT_EVERY:
            return
        self._reported = self._now()
        task = self._task
        layout = Incumbent(task.problem, self._best.changes() | changes)
        layout.undo()
        if layout.score(task.order) > self._score and task.limits.allow(layout, changes):
            bounds = task.begin().bounds
            self._report(Outcome(layout.changes(), bounds, complete=False))

    def _whole(self) -> bool:
        """Give CP-SAT the whole cluster, level by level, from the first open one.

        Returns whether it solved them all: what this search may do, it has done.
        """
        task = self._task
        self._tighten()
        for index, level in enumerate(task.order):
            if self._left() <= 0:
                return False
            if self._met(index):
                continue
            model, constant = self._model_of_all(index)
            last = index == len(task.order) - 1
            solved = model.solve(
                seconds=self._left() * (1 if last else _WHOLE_SHARE[self._tiny]),
                workers=task.workers,
                seed=task.seed,
                bounding=not level.places,
                by_work=self._by_work,
                on_changes=self._report_only,
            )
            self._spend(solved)
            self._offer(solved.changes)
            if solved.bound is not None and self._proves:
                bound = solved.bound + constant
                self._bounds[index] = _tighter(level, self._bounds[index], bound)
            if not self._exact and not self._met(index):
                self._bound_without(index)
            if not solved.optimal:
                return False  # what is below rests on this level
            self._tighten()
        return True

    def _bound_without(self, index: int) -> None:
        """Bound a level by the whole cluster without the rules that are stricter than they must be.

        Leaving rules out only adds layouts, so the bound holds for all that some order leads to.
        """
        task, level = self._task, self._task.order[index]
        if task.limits != task.proof_limits:
            return
        model, constant = self._model_of_all(index, exact_only=True)
        solved = model.solve(
            seconds=self._left() * _WITHOUT_SHARE,
            workers=task.workers,
            seed=task.seed,
            bounding=not level.places,
            by_work=self._by_work,
        )
        self._spend(solved)
        if solved.bound is not None:
            self._bounds[index] = _tighter(level, self._bounds[index], solved.bound + constant)

    def _model_of_all(self, index: int, *, exact_only: bool = False) -> tuple[PlacementModel, int]:
        """Return the whole cluster with one level to optimise, and the constant part of it."""
        task = self._task
        model = PlacementModel(
            self._best,
            task.problem.in_play,
            task.limits,
            pod_by_pod=self._pod_by_pod,
            exact_only=exact_only,
        )
        for above in task.order[:index]:
            model.hold(above, self._best.value(above))
        return model, model.optimise(task.order[index])


def _tighter(level: Level, one: int, other: int) -> int:
    return min(one, other) if level.places else max(one, other)
