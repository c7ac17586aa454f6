"""The problem, or the part of it on some nodes, as a CP-SAT model.

Who calls it: the search, on neighbourhoods of a few nodes and on the whole cluster. Pods on other
nodes stay as the incumbent layout has them, so any solution is a solution of the whole.

Derivation: see `problem` for x, d, E and the room constraints. E = max(0, R − T) is stated with a
Boolean b ("the group loses pods"): b → E = R − T, ¬b → E = 0 ∧ T ≥ R; an inequality alone would
let the solver inflate E to get round a limit on moves.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ortools.sat.python import cp_model

from fairstow.packing.limits import Limits
from fairstow.packing.model import EVICTION_COST, MOVE_COST
from fairstow.packing.objective import Level, departures, disturbance, evictions
from fairstow.packing.problem import Layout, Problem

Linear = Any
# ortools' own LinearExprT spans numpy scalars, with which `+` doesn't type-check.
_SAFE_WEIGHT = 1 << 50


@dataclass(frozen=True, slots=True)
class Solved:
    """What one solve found.

    Attributes:
        layout: the best layout, or None if none was found in time.
        bound: proved bound on the level's value in its own direction (whole-cluster solves).
        optimal: whether the layout is proved best.
    """

    layout: Layout | None
    bound: int
    optimal: bool


class PlacementModel:
    """One CP-SAT model over chosen nodes around an incumbent."""

    def __init__(
        self, problem: Problem, incumbent: Layout, nodes: Sequence[int], limits: Limits
    ) -> None:
        self.problem, self.incumbent, self.limits = problem, incumbent, limits
        self.nodes = list(nodes)
        self._inside = frozenset(nodes)
        self.model = cp_model.CpModel()
        self.x: dict[tuple[int, int], cp_model.IntVar] = {}
        self._hints: list[tuple[cp_model.IntVar, int]] = []
        self._placed: dict[int, Linear] = {}
        self._departures: dict[int, Linear] = {}
        self._evicted: dict[int, Linear] = {}
        for index in range(len(problem.groups)):
            self._group(index)
        for node in self.nodes:
            self._room(node)
        self._limit()

    def _variable(self, most: int, now: int) -> cp_model.IntVar:
        variable = self.model.new_int_var(0, most, "")
        self._hints.append((variable, now))
        return variable

    def _group(self, index: int) -> None:
        problem, layout = self.problem, self.incumbent[index]
        group = problem.groups[index]
        for node in self.nodes:
            if most := problem.ceiling(index, node):
                self.x[index, node] = self._variable(most, layout.get(node, 0))
        inside = [self.x[index, n] for n in self.nodes if (index, n) in self.x]
        if not inside:
            return
        outside = sum(count for n, count in layout.items() if n not in self._inside)
        placed = sum(inside) + outside
        most = min(group.most, self.limits.caps.get(index, group.most))
        self.model.add(placed <= max(most, sum(layout.values())))
        self._placed[index] = placed
        self._departures[index] = self._departed(index)
        if index in self.limits.evictable and group.placed:
            self._evicted[index] = self._eviction(index, placed)
        else:
            self.model.add(placed >= min(group.placed, sum(layout.values())))

    def _departed(self, index: int) -> Linear:
        total: Linear = 0
        for node, now in self.problem.groups[index].running.items():
            stays = self.incumbent[index].get(node, 0)
            if (index, node) not in self.x:
                total += max(0, now - stays)
                continue
            left = self._variable(now, max(0, now - stays))
            self.model.add(left >= now - self.x[index, node])
            total += left
        return total

    def _eviction(self, index: int, placed: Linear) -> cp_model.IntVar:
        before = self.problem.groups[index].placed
        now = evictions(self.problem, self.incumbent, index)
        lost = self._variable(before, now)
        loses = self.model.new_bool_var("")
        self._hints.append((loses, int(now > 0)))
        self.model.add(lost == before - placed).only_enforce_if(loses)
        self.model.add(lost == 0).only_enforce_if(~loses)
        self.model.add(placed >= before).only_enforce_if(~loses)
        return lost

    def _room(self, node: int) -> None:
        problem = self.problem
        for resource, free in enumerate(problem.free[node]):
            if resource in problem.over[node]:
                continue  # `ceiling` lets nothing that requests it arrive
            terms = [
                (group.requests[resource], self.x[index, node], problem.ceiling(index, node))
                for index, group in enumerate(problem.groups)
                if resource in group.requests and (index, node) in self.x
            ]
            if sum(request * most for request, _, most in terms) > free:
                self.model.add(sum(request * x for request, x, _ in terms) <= free)

    def _limit(self) -> None:
        limits, involved = self.limits, self._placed
        if limits.moves is not None and involved:
            total: Linear = 0
            for index in range(len(self.problem.groups)):
                if index in involved:
                    total += self._departures[index] - self._evicted.get(index, 0)
                else:
                    total += departures(self.problem, self.incumbent, index) - evictions(
                        self.problem, self.incumbent, index
                    )
            self.model.add(total <= limits.moves)
        if self._evicted:
            self.model.add(self._lost(range(len(self.problem.groups))) <= limits.evictions)
            for budget, allowed in enumerate(self.problem.allowed):
                under = [i for i, g in enumerate(self.problem.groups) if g.budget == budget]
                if any(i in self._evicted for i in under):
                    self.model.add(self._lost(under) <= allowed)

    def _lost(self, groups: Iterable[int]) -> Linear:
        total: Linear = 0
        for i in groups:
            total += self._evicted.get(i, evictions(self.problem, self.incumbent, i))
        return total

    def expression(self, level: Level) -> tuple[Linear, int]:
        """Return a level as (expression over this model's groups, constant of all others)."""
        total: Linear = 0
        constant = 0
        for index, group in enumerate(self.problem.groups):
            if not level.covers(group.priority):
                continue
            if index not in self._placed:
                constant += (
                    sum(self.incumbent[index].values())
                    if level.places
                    else disturbance(self.problem, self.incumbent, index)
                )
            elif level.places:
                total += self._placed[index]
            else:
                lost = self._evicted.get(index, 0)
                total += MOVE_COST * self._departures[index] + (EVICTION_COST - MOVE_COST) * lost
        return total, constant

    def hold(self, level: Level, at_least: int) -> None:
        """Keep a level no worse than a value."""
        total, constant = self.expression(level)
        if isinstance(total, int):
            return
        if level.places:
            self.model.add(total >= at_least - constant)
        else:
            self.model.add(total <= at_least - constant)

    def scalarise(self, order: Sequence[Level], spans: Sequence[int]) -> bool:
        """Set the lexicographic order as one weighted sum; False if weights would overflow.

        Args:
            order: levels, first is most important.
            spans: by level, the most its value can change inside this model.
        """
        weight, objective = 1, 0
        for level, span in zip(reversed(order), reversed(spans), strict=True):
            total, _ = self.expression(level)
            objective += weight * total if level.places else -weight * total
            weight *= span + 1
            if weight > _SAFE_WEIGHT:
                return False
        self.model.maximize(objective)
        return True

    def optimise(self, level: Level) -> int:
        """Set one level as the objective and return its constant part."""
        total, constant = self.expression(level)
        if level.places:
            self.model.maximize(total)
        else:
            self.model.minimize(total)
        return constant

    def solve(
        self,
        *,
        seconds: float,
        workers: int,
        seed: int,
        on_layout: Callable[[Layout], None] | None = None,
    ) -> Solved:
        """Solve within `seconds`; `bound` is that of the objective as set, without constants."""
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = max(seconds, 0.001)
        solver.parameters.num_workers = workers
        solver.parameters.random_seed = seed & 0x7FFFFFFF
        self.model.clear_hints()  # type: ignore[no-untyped-call]
        for variable, now in self._hints:
            self.model.add_hint(variable, now)
        callback = _Incumbents(self, on_layout) if on_layout else None
        status = solver.solve(self.model, callback)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return Solved(None, round(solver.best_objective_bound), False)
        layout = self.layout(solver.value)
        return Solved(layout, round(solver.best_objective_bound), status == cp_model.OPTIMAL)

    def layout(self, value: Callable[[cp_model.IntVar], int]) -> Layout:
        """Return the whole cluster's layout with this model's variables read by `value`."""
        merged = [{n: c for n, c in at.items() if n not in self._inside} for at in self.incumbent]
        for (index, node), variable in self.x.items():
            if count := value(variable):
                merged[index][node] = count
        return merged


class _Incumbents(cp_model.CpSolverSolutionCallback):
    """Hands every better layout on, so that nothing found is lost when time ends."""

    def __init__(self, model: PlacementModel, on_layout: Callable[[Layout], None]) -> None:
        super().__init__()
        self._model, self._on_layout = model, on_layout

    def on_solution_callback(self) -> None:
        """Called by CP-SAT in its own thread."""
        self._on_layout(self._model.layout(self.value))
