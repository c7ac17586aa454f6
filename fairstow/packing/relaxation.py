"""Bounds first: the linear relaxation, and a bound on each level that needs no trust in floats.

Dropping integrality of `x` (see `problem`) leaves a linear program that GLOP solves in
milliseconds. Its optimum bounds what any plan can place, and where its solution differs from the
current layout is where a good plan acts, so the search starts there.

A float optimum is no proof. For rows  lo ≤ A x ≤ hi,  columns  0 ≤ x ≤ u  and any multipliers y,

    max c·x  ≤  Σ_i max(y_i·lo_i, y_i·hi_i)  +  Σ_j u_j · max(0, c_j − y·A_j)      (weak duality)

(a row that is open on the side y points to gets y_i = 0). The right side is evaluated in exact
rational arithmetic with GLOP's own multipliers, so the bound holds whatever rounding did: a poor
y only makes it weaker.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor, inf

from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

from fairstow.packing.limits import Limits
from fairstow.packing.model import EVICTION_COST, MOVE_COST
from fairstow.packing.objective import Level
from fairstow.packing.problem import Problem

MAX_COLUMNS = 400_000
"""Beyond this the program is too slow to be worth it; levels are then bounded by counting."""

_EPSILON = 1e-6


class Relaxation:
    """The linear program of a problem; levels are optimised and then held one by one."""

    def __init__(self, problem: Problem, limits: Limits) -> None:
        self._problem, self._limits = problem, limits
        self._rows: list[tuple[dict[int, int], float, float]] = []
        self._upper: list[int] = []
        self._x: dict[tuple[int, int], int] = {}
        self._left: dict[tuple[int, int], int] = {}
        self._lost: dict[int, int] = {}
        self._solution: list[float] = []
        for index in range(len(problem.groups)):
            self._group(index)
        self._room()
        self._limit()

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
        nodes = sorted(group.targets | group.running.keys())
        at = {n: self._column(most) for n in nodes if (most := problem.ceiling(index, n))}
        self._x |= {(index, n): column for n, column in at.items()}
        total = dict.fromkeys(at.values(), 1)
        most = min(group.most, limits.caps.get(index, group.most))
        if index in limits.evictable and group.placed:
            self._lost[index] = self._column(min(group.placed, limits.evictions))
            self._rows.append((total, -inf, most))
            self._rows.append((total | {self._lost[index]: 1}, group.placed, inf))
        else:
            self._rows.append((total, group.placed, most))
        for node, now in group.running.items():
            left = self._left[index, node] = self._column(now)
            self._rows.append(({left: 1, at[node]: 1}, now, inf))

    def _room(self) -> None:
        problem = self._problem
        rows: dict[tuple[int, int], dict[int, int]] = {}
        for (index, node), column in self._x.items():
            for resource, request in problem.groups[index].requests.items():
                if resource not in problem.over[node]:
                    rows.setdefault((node, resource), {})[column] = request
        for (node, resource), row in rows.items():
            self._rows.append((row, -inf, problem.free[node][resource]))

    def _limit(self) -> None:
        if self._limits.moves is not None:
            moves = dict.fromkeys(self._left.values(), 1) | dict.fromkeys(self._lost.values(), -1)
            self._rows.append((moves, -inf, self._limits.moves))
        if self._lost:
            self._rows.append((dict.fromkeys(self._lost.values(), 1), -inf, self._limits.evictions))

    def _coefficients(self, level: Level) -> dict[int, int]:
        """Return the level as a row of coefficients, in its own direction."""
        covers = [level.covers(g.priority) for g in self._problem.groups]
        if level.places:
            return {c: 1 for (index, _), c in self._x.items() if covers[index]}
        cost = {c: MOVE_COST for (index, _), c in self._left.items() if covers[index]}
        return cost | {
            c: EVICTION_COST - MOVE_COST for index, c in self._lost.items() if covers[index]
        }

    def bound(self, level: Level, seconds: float) -> int | None:
        """Return a proved bound on a level's value, or None if time ran out.

        Args:
            level: one that places is bounded from above, one that disturbs from below.
            seconds: most time to spend.
        """
        objective = self._coefficients(level)
        sign = 1 if level.places else -1
        duals = self._solve({c: sign * v for c, v in objective.items()}, seconds)
        if duals is None:
            return None
        best = self._weak_duality({c: sign * v for c, v in objective.items()}, duals)
        return floor(best) if level.places else -floor(best)

    def hold(self, level: Level, reached: int) -> None:
        """Keep a level at what was reached (or bounded) while later ones are looked at."""
        row = self._coefficients(level)
        self._rows.append((row, reached, inf) if level.places else (row, -inf, reached))

    def active_nodes(self) -> frozenset[int]:
        """Nodes whose pods the last solution changes."""
        groups, solution = self._problem.groups, self._solution
        return frozenset(
            node
            for (index, node), column in self._x.items()
            if abs(solution[column] - groups[index].running.get(node, 0)) > _EPSILON
        )

    def _solve(self, objective: dict[int, int], seconds: float) -> Sequence[float] | None:
        if self.columns > MAX_COLUMNS or seconds <= 0:
            return None
        solver = pywraplp.Solver.CreateSolver("GLOP")
        solver.SetTimeLimit(max(1, int(seconds * 1000)))
        columns = [solver.NumVar(0, upper, "") for upper in self._upper]
        constraints = []
        for row, low, high in self._rows:
            constraint = solver.Constraint(low, high)
            for column, coefficient in row.items():
                constraint.SetCoefficient(columns[column], coefficient)
            constraints.append(constraint)
        for column, coefficient in objective.items():
            solver.Objective().SetCoefficient(columns[column], coefficient)
        solver.Objective().SetMaximization()
        if solver.Solve() != pywraplp.Solver.OPTIMAL:
            return None
        self._solution = [c.solution_value() for c in columns]
        return [c.dual_value() for c in constraints]

    def _weak_duality(self, objective: dict[int, int], duals: Iterable[float]) -> Fraction:
        """Evaluate the bound of the module's derivation exactly."""
        reduced = [Fraction(0)] * self.columns
        for column, coefficient in objective.items():
            reduced[column] += coefficient
        bound = Fraction(0)
        for (row, low, high), dual in zip(self._rows, duals, strict=True):
            y = Fraction(dual).limit_denominator(1 << 40)
            side = high if y > 0 else low
            if y == 0 or abs(side) == inf:
                continue
            bound += y * Fraction(side)
            for column, coefficient in row.items():
                reduced[column] -= y * coefficient
        return bound + sum(
            (u * r for u, r in zip(self._upper, reduced, strict=True) if r > 0), Fraction(0)
        )
