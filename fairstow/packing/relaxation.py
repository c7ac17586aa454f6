"""Bounds first: the linear relaxation, and a bound on each level that needs no trust in floats.

Dropping integrality of `x` (see `problem`) leaves a linear program that GLOP solves in
milliseconds. Its optimum bounds what any plan can place, and where its solution differs from the
current layout is where a good plan acts, so the search starts there.

A float optimum is no proof. For rows  lo ≤ A x ≤ hi,  columns  0 ≤ x ≤ u  and any multipliers y,

    max c·x  ≤  Σ_i max(y_i·lo_i, y_i·hi_i)  +  Σ_j u_j · max(0, c_j − y·A_j)      (weak duality)

(a row that is open on the side y points to gets y_i = 0). The right side is evaluated in exact
rational arithmetic with GLOP's own multipliers, so the bound holds whatever rounding did: a poor
y only makes it weaker.

Large clusters: nodes that are equal to all groups (same room, same groups may come) form a *cell*,
and x[g, cell] = Σ x[g, n] over its nodes. Summing the rows of a cell's nodes gives a row of the
cell, so every layout of the nodes is one of the cells: still a relaxation, with far fewer columns.
For placement it is as tight as the one by nodes, since averaging a fractional solution over equal
nodes is a solution too; for disturbance it is weaker.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import floor, inf
from typing import Any

from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

from fairstow.packing.limits import Limits
from fairstow.packing.model import RuleSet
from fairstow.packing.objective import Level
from fairstow.packing.problem import Problem, Site

BY_NODE = 40_000
"""Most (group, node) pairs for which the program is stated by nodes rather than by cells."""

COLUMNS_PER_SECOND = 30_000
"""About how large a program can be stated and solved in a second. Larger ones are left out, and
levels are then bounded by counting."""

_EPSILON = 1e-6
_SCALE = 1 << 44


class Relaxation:
    """The linear program of a problem; levels are optimised and then held one by one."""

    @classmethod
    def within(cls, problem: Problem, limits: Limits, seconds: float) -> "Relaxation | None":
        """Return the program if it can be stated and solved in about that time, else None."""
        by_node = problem.pairs <= BY_NODE
        found = [[n] for n in range(len(problem.nodes))] if by_node else cells(problem)
        columns = problem.pairs if by_node else len(found) * len(problem.groups)
        if columns > COLUMNS_PER_SECOND * seconds:
            return None
        return cls(problem, limits, found, by_node=by_node)

    def __init__(
        self, problem: Problem, limits: Limits, found: list[list[int]], *, by_node: bool
    ) -> None:
        self._problem, self._limits, self._cells = problem, limits, found
        self._cell_of = {n: cell for cell, nodes in enumerate(self._cells) for n in nodes}
        self._by_node = by_node
        self._rows: list[tuple[dict[int, int], float, float]] = []
        self._upper: list[int] = []
        self._x: dict[Site, int] = {}
        self._left: dict[tuple[int, int, int], int] = {}
        self._lost: dict[int, int] = {}
        self._solution: list[float] = []
        self._held: dict[Level, int] = {}
        for index in range(len(problem.groups)):
            if index not in problem.pinned:
                self._group(index)
        self._room()
        self._gangs()
        self._limit()
        self._program = _Program(self._upper)
        for row, low, high in self._rows:
            self._program.add(row, low, high)

    @property
    def columns(self) -> int:
        """Size of the program."""
        return len(self._upper)

    def _column(self, upper: int) -> int:
        self._upper.append(upper)
        return len(self._upper) - 1

    def _group(self, index: int) -> None:
        problem, limits = self._problem, self._limits
        group = problem.groups[index]
        total: dict[int, int] = {}
        left: dict[int, int] = {}
        running = self._by_cell(group.running)
        for cell, nodes in enumerate(self._cells):
            here = running.get(cell, {})
            # Nodes of a cell are equal to a group but for what runs of it there.
            empty = next((n for n in nodes if n not in here), None)
            most = sum(problem.ceiling(index, n) for n in here)
            if empty is not None:
                most += problem.ceiling(index, empty) * (len(nodes) - len(here))
            if not most:
                continue
            x = self._x[index, cell] = self._column(min(most, group.most))
            total[x] = 1
            if now := sum(here.values()):
                leaving = self._leaving(index, cell, here)
                left |= leaving
                self._rows.append((leaving | {x: 1}, now, inf))
        most = min(group.most, limits.caps.get(index, group.most))
        if index in limits.evictable and group.placed:
            lost = self._lost[index] = self._column(min(group.placed, limits.evictions))
            self._rows.append((total, -inf, most))
            self._rows.append((total | {lost: 1}, group.placed, inf))
            if self._by_node:
                self._rows.append((left | {lost: -1}, 0, inf))
            if problem.rules is RuleSet.PAPER:
                self._rows.append((total | {lost: 1}, -inf, group.most))
        else:
            self._rows.append((total, group.placed, most))

    def _leaving(self, index: int, cell: int, nodes: Iterable[int]) -> dict[int, int]:
        """Return columns for a group's departures from a cell, one by the work that is lost."""
        classes = Counter[int]()
        for node in nodes:
            classes.update(self._problem.groups[index].classes(node))
        found = {work: self._column(pods) for work, pods in sorted(classes.items())}
        self._left |= {(index, cell, work): column for work, column in found.items()}
        return dict.fromkeys(found.values(), 1)

    def _by_cell(self, running: Mapping[int, int]) -> dict[int, dict[int, int]]:
        """Return running pods by cell and node."""
        found: dict[int, dict[int, int]] = {}
        for node, count in running.items():
            found.setdefault(self._cell_of[node], {})[node] = count
        return found

    def _room(self) -> None:
        problem = self._problem
        rows: dict[Site, dict[int, int]] = {}
        for (index, cell), column in self._x.items():
            for resource, request in problem.groups[index].requests.items():
                if resource not in problem.over[self._cells[cell][0]]:
                    rows.setdefault((cell, resource), {})[column] = request
        for (cell, resource), row in rows.items():
            room = sum(problem.free[n][resource] for n in self._cells[cell])
            self._rows.append((row, -inf, room))

    def _gangs(self) -> None:
        """State that gangs are placed whole or not at all, a share standing for each choice."""
        columns: dict[int, list[int]] = {g: [] for gang in self._problem.gangs for g in gang.groups}
        for (index, _), column in self._x.items():
            if index in columns:
                columns[index].append(column)
        for gang in self._problem.gangs:
            share = self._column(1)
            everyone: dict[int, int] = {}
            for index in gang.groups:
                row = dict.fromkeys(columns[index], 1)
                everyone |= row
                self._rows.append((row | {share: -self._problem.groups[index].most}, -inf, 0))
            self._rows.append((everyone | {share: -gang.need}, 0, inf))

    def _limit(self) -> None:
        if self._limits.moves is not None and self._by_node:
            moves = dict.fromkeys(self._left.values(), 1) | dict.fromkeys(self._lost.values(), -1)
            self._rows.append((moves, -inf, self._limits.moves))
        for priority, most in self._limits.tier_caps.items():
            tier = self._coefficients(Level(places=True, priority=priority))
            self._rows.append((tier, -inf, most))
        if self._lost:
            self._rows.append((dict.fromkeys(self._lost.values(), 1), -inf, self._limits.evictions))

    def _coefficients(self, level: Level) -> dict[int, int]:
        """Return the level as a row of coefficients, in its own direction."""
        covers, rules = (
            [level.covers(g.priority) for g in self._problem.groups],
            self._problem.rules,
        )
        if level.places:
            return {c: 1 for (index, _), c in self._x.items() if covers[index]}
        cost = {
            c: rules.move_cost + work for (index, _, work), c in self._left.items() if covers[index]
        }
        if not self._by_node and rules is RuleSet.PAPER:
            return {}  # departures inside a cell aren't seen, so evictions can't be priced
        return cost | {
            c: rules.eviction_cost - rules.move_cost
            for index, c in self._lost.items()
            if covers[index]
        }

    def _constant(self, level: Level) -> int:
        """What pinned groups add to a level."""
        groups = self._problem.groups
        if not level.places:
            return 0
        return sum(
            groups[i].placed for i in self._problem.pinned if level.covers(groups[i].priority)
        )

    def bound(self, level: Level, seconds: float) -> int | None:
        """Return a proved bound on a level's value, or None if time ran out.

        Args:
            level: one that places is bounded from above, one that disturbs from below.
            seconds: most time to spend.
        """
        if seconds <= 0:
            return None
        sign = 1 if level.places else -1
        objective = {c: sign * v for c, v in self._coefficients(level).items()}
        solved = self._program.maximise(objective, seconds)
        if solved is None:
            return None
        self._solution, duals = solved
        best = self._weak_duality(objective, duals)
        return floor(best) + self._constant(level) if level.places else max(0, -floor(best))

    def hold(self, level: Level, reached: int) -> None:
        """Keep a level at what was reached (or bounded) while later ones are looked at.

        Holding a level again replaces the value it was held at before.
        """
        reached -= self._constant(level)
        low, high = (reached, inf) if level.places else (-inf, reached)
        if level in self._held:
            row = self._rows[self._held[level]][0]
            self._rows[self._held[level]] = (row, low, high)
        else:
            row = self._coefficients(level)
            self._held[level] = len(self._rows)
            self._rows.append((row, low, high))
        self._program.put(self._held[level], row, low, high)

    def release(self) -> None:
        """Hold no level any more."""
        for index in self._held.values():
            row = self._rows[index][0]
            self._rows[index] = (row, -inf, inf)
            self._program.put(index, row, -inf, inf)

    def active_nodes(self) -> frozenset[int]:
        """Nodes whose pods the last solution changes; none where it was stated by cells."""
        if not self._by_node:
            return frozenset()
        groups, solution = self._problem.groups, self._solution
        return frozenset(
            cell
            for (index, cell), column in self._x.items()
            if abs(solution[column] - groups[index].running.get(cell, 0)) > _EPSILON
        )

    def _weak_duality(self, objective: dict[int, int], duals: Iterable[float]) -> Fraction:
        """Evaluate the bound of the module's derivation exactly."""
        # All in integers: multipliers are rounded to multiples of 1/_SCALE.
        reduced = [0] * self.columns
        for column, coefficient in objective.items():
            reduced[column] = coefficient * _SCALE
        bound = 0
        for (row, low, high), dual in zip(self._rows, duals, strict=True):
            y = round(dual * _SCALE)
            side = high if y > 0 else low
            if y == 0 or abs(side) == inf:
                continue
            bound += y * int(side)
            for column, coefficient in row.items():
                reduced[column] -= y * coefficient
        bound += sum(u * r for u, r in zip(self._upper, reduced, strict=True) if r > 0)
        return Fraction(bound, _SCALE)


class _Program:
    """The same rows in GLOP, which starts each solve from the basis of the one before."""

    def __init__(self, upper: Sequence[int]) -> None:
        self._upper = upper
        self._made: list[tuple[Mapping[int, int], float, float]] = []
        self._start()

    def _start(self) -> None:
        """State the program anew, with no basis to start from."""
        self._solver = pywraplp.Solver.CreateSolver("GLOP")
        self._columns = [self._solver.NumVar(0, u, "") for u in self._upper]
        self._rows: list[Any] = []
        made, self._made = self._made, []
        for row, low, high in made:
            self.add(row, low, high)

    def add(self, row: Mapping[int, int], low: float, high: float) -> None:
        """Append a row."""
        constraint = self._solver.Constraint(low, high)
        for column, coefficient in row.items():
            constraint.SetCoefficient(self._columns[column], coefficient)
        self._rows.append(constraint)
        self._made.append((row, low, high))

    def put(self, index: int, row: Mapping[int, int], low: float, high: float) -> None:
        """Set the bounds of a row, appending it where it is new."""
        if index == len(self._rows):
            self.add(row, low, high)
        else:
            self._rows[index].SetBounds(low, high)
            self._made[index] = (row, low, high)

    def maximise(
        self, objective: Mapping[int, int], seconds: float
    ) -> tuple[list[float], list[float]] | None:
        """Return the solution and the multipliers of the rows, or None if time ran out."""
        status = self._solve(objective, seconds)
        if status == pywraplp.Solver.ABNORMAL:  # numbers went astray from the basis before
            self._start()
            status = self._solve(objective, seconds)
        if status != pywraplp.Solver.OPTIMAL:
            return None
        return [c.solution_value() for c in self._columns], [r.dual_value() for r in self._rows]

    def _solve(self, objective: Mapping[int, int], seconds: float) -> int:
        goal = self._solver.Objective()
        goal.Clear()
        for column, coefficient in objective.items():
            goal.SetCoefficient(self._columns[column], coefficient)
        goal.SetMaximization()
        self._solver.SetTimeLimit(max(1, int(seconds * 1000)))
        status: int = self._solver.Solve()
        return status


def cells(problem: Problem) -> list[list[int]]:
    """Return the nodes in sets that are equal to all groups."""
    welcome: list[list[int]] = [[] for _ in problem.nodes]
    for index, group in enumerate(problem.groups):
        for node in group.targets if index not in problem.pinned else ():
            welcome[node].append(index)
    found: dict[tuple[object, ...], list[int]] = {}
    for node, free in enumerate(problem.free):
        found.setdefault((free, tuple(welcome[node]), problem.over[node]), []).append(node)
    return list(found.values())
