"""The problem, or the part of it on some nodes, as a CP-SAT model.

Who calls it: the search, on neighbourhoods of a few nodes and on the whole cluster. Pods on other
nodes stay as the incumbent has them, so any solution is a solution of the whole.

Derivation: see `problem` for x, d and the room constraints, `objective` for E. On chosen nodes a
group can hold at most what it holds there now plus what waits, which bounds x. Under the product's
rules E = max(0, R − T) is stated with a Boolean b ("the group loses pods"): b → E = R − T,
¬b → E = 0 ∧ T ≥ R; an inequality alone would let the solver inflate E to get round a limit on
moves. Under the paper's rules any E between max(0, R − T) and min(D, P + R − T) is a real choice,
and the objective picks the largest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ortools.sat.python import cp_model

from fairstow.packing.by_pod import by_pod
from fairstow.packing.claims_statement import state_claims
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.model import RuleSet
from fairstow.packing.objective import Level
from fairstow.packing.problem import Gang, Site
from fairstow.packing.statement import Variables, add_up, state_between

Linear = Any
# ortools' own LinearExprT spans numpy scalars, with which `+` doesn't type-check.

_SAFE_WEIGHT = 1 << 40
"""Weights times counts stay far from int64."""


_BOUNDING = ("lb_tree_search", "reduced_costs")
"""Of CP-SAT's strategies those that raise the bound on a disturbance fastest; with two threads it
runs neither by itself (compared on the grid of `benchmarks.paper_grid`)."""


@dataclass(frozen=True, slots=True)
class Solved:
    """What one solve found.

    Attributes:
        changes: counts on the model's nodes, or None if no layout was found in time.
        bound: proved bound on the objective as it was set, without constants; None if unknown.
        optimal: whether the layout is proved best.
        work: CP-SAT's deterministic time that it took.
    """

    changes: dict[Site, int] | None
    bound: int | None
    optimal: bool
    work: float = 0.0


class PlacementModel:
    """One CP-SAT model over chosen nodes around an incumbent.

    With `exact_only` it leaves out the rules between pods that are stricter than they must be: its
    bounds then hold for all plans, its layouts may be none.
    """

    def __init__(
        self,
        incumbent: Incumbent,
        nodes: Sequence[int],
        limits: Limits,
        *,
        pod_by_pod: bool = False,
        exact_only: bool = False,
    ) -> None:
        self._incumbent, self._problem, self._limits = incumbent, incumbent.problem, limits
        self._nodes, self._pod_by_pod = list(nodes), pod_by_pod
        self._model = cp_model.CpModel()
        self._x: dict[Site, Linear] = {}
        self._most: dict[Site, int] = {}
        self._span = 0
        self._dearest_work = 0
        self._hints: list[tuple[cp_model.IntVar, int]] = []
        self._placed: dict[int, Linear] = {}
        self._departures: dict[int, Linear] = {}
        self._work: dict[int, Linear] = {}
        self._evicted: dict[int, Linear] = {}
        self._lost_pods: dict[int, Linear] = {}
        for index in range(len(self._problem.groups)):
            if index not in self._problem.pinned:
                self._group(index)
        for node in self._nodes:
            self._room(node)
        of = Variables(self._model, self._nodes, self._x, self._most, self._hints)
        state_between(incumbent, of, exact_only=exact_only)
        state_claims(incumbent, of)
        for gang in self._problem.gangs:
            self._gang(gang)
        self._limit()

    def _variable(self, most: int, now: int) -> cp_model.IntVar:
        variable = self._model.new_int_var(0, most, "")
        self._hints.append((variable, now))
        return variable

    def _group(self, index: int) -> None:
        problem, incumbent = self._problem, self._incumbent
        group = problem.groups[index]
        inside = sum(incumbent.count((index, n)) for n in self._nodes)
        movable = inside + incumbent.waiting(index)
        if not movable:
            return
        for node in self._nodes:
            if most := min(problem.ceiling(index, node), movable):
                self._most[index, node] = most
        if self._pod_by_pod:
            self._state_pods(index)
        else:
            self._state_counts(index)
        here = [self._x[index, n] for n in self._nodes if (index, n) in self._x]
        if not here:
            return
        self._span += movable
        before = incumbent.placed[index]
        placed = add_up([*here, before - inside])
        most = min(group.most, self._limits.caps.get(index, group.most))
        self._model.add(placed <= max(most, before))
        self._placed[index] = placed
        if index in self._limits.evictable and group.placed:
            self._evicted[index] = self._eviction(index, placed)
        else:
            self._model.add(placed >= min(group.placed, before))

    def _state_counts(self, index: int) -> None:
        """State a group as one integer per node, made of who stays and who arrives."""
        incumbent, group = self._incumbent, self._problem.groups[index]
        left: list[Linear] = [incumbent.left[index]]
        work: list[Linear] = [incumbent.work[index]]
        for node in (n for i, n in self._most if i == index):
            now, most = incumbent.count((index, node)), self._most[index, node]
            home = group.running.get(node, 0)
            if not home:
                self._x[index, node] = self._variable(most, now)
                continue
            stay = self._variable(min(home, most), min(now, home))
            come = self._variable(most, now - min(now, home))
            self._x[index, node] = stay + come
            self._model.add(stay + come <= most)
            left.append(min(now, home) - stay)
            if group.work.get(node):
                work += [
                    self._work_of(index, node, home - stay),
                    -group.work_lost(node, max(0, home - now)),
                ]
        self._departures[index], self._work[index] = add_up(left), add_up(work)

    def _work_of(self, index: int, node: int, left: Linear) -> Linear:
        """Return what those lose who leave a node: the solver chooses who loses least."""
        group = self._problem.groups[index]
        gone = max(0, group.running[node] - self._incumbent.count((index, node)))
        leaving: list[Linear] = []
        works: list[Linear] = []
        for work, pods in group.classes(node).items():
            leaving.append(self._variable(pods, min(pods, gone)))
            gone -= min(pods, gone)
            works.append(work * leaving[-1])
        self._model.add(add_up(leaving) >= left)
        self._dearest_work = max(self._dearest_work, group.work[node][-1])
        return add_up(works)

    def _state_pods(self, index: int) -> None:
        """State a group pod by pod; only where all nodes are looked at."""
        nodes = [n for i, n in self._most if i == index]
        stays = index not in self._limits.evictable
        pods = by_pod(self._model, self._incumbent, index, nodes, stays=stays)
        for node, count in pods.x.items():
            self._x[index, node] = count
            self._model.add(count <= self._most[index, node])
        self._hints += pods.hints
        self._departures[index], self._work[index] = add_up(pods.left), add_up(pods.work)
        self._lost_pods[index] = add_up(pods.lost)
        dearest = (works[-1] for works in self._problem.groups[index].work.values() if works)
        self._dearest_work = max(self._dearest_work, *dearest, 0)

    def _eviction(self, index: int, placed: Linear) -> Linear:
        group = self._problem.groups[index]
        if self._pod_by_pod and self._problem.rules is RuleSet.PAPER:
            return self._lost_pods[index]
        running, now = group.placed, self._incumbent.evictions(index)
        lost = self._variable(running, now)
        if self._problem.rules is RuleSet.PAPER:
            self._model.add(lost >= running - placed)
            self._model.add(lost <= group.pending + running - placed)
            self._model.add(lost <= self._departures[index])
            return lost
        loses = self._model.new_bool_var("")
        self._hints.append((loses, int(now > 0)))
        self._model.add(lost == running - placed).only_enforce_if(loses)
        self._model.add(lost == 0).only_enforce_if(~loses)
        self._model.add(placed >= running).only_enforce_if(~loses)
        return lost

    def _room(self, node: int) -> None:
        problem, groups = self._problem, self._problem.groups
        sites = [s for s in ((i, node) for i in range(len(groups))) if s in self._x]
        for resource, left in enumerate(self._incumbent.room[node]):
            if resource in problem.over[node]:
                continue  # `ceiling` lets nothing that requests it arrive
            users = [s for s in sites if resource in groups[s[0]].requests]
            held = sum(groups[s[0]].requests[resource] * self._incumbent.count(s) for s in users)
            if sum(groups[s[0]].requests[resource] * self._most[s] for s in users) > left + held:
                used = sum(groups[s[0]].requests[resource] * self._x[s] for s in users)
                self._model.add(used <= left + held)

    def _gang(self, gang: Gang) -> None:
        """Place none or enough, those counted that the incumbent has on other nodes."""
        placed = self._incumbent.placed
        total = add_up([self._placed.get(i, placed[i]) for i in gang.groups])
        if isinstance(total, int):
            return
        runs = self._model.new_bool_var("")
        self._hints.append((runs, int(any(placed[i] for i in gang.groups))))
        self._model.add(total >= gang.need).only_enforce_if(runs)
        self._model.add(total == 0).only_enforce_if(~runs)

    def _limit(self) -> None:
        limits, incumbent = self._limits, self._incumbent
        everyone = range(len(self._problem.groups))
        if limits.moves is not None and self._placed:
            parts = [self._departures.get(i, incumbent.left[i]) for i in everyone]
            parts += [-self._evicted.get(i, incumbent.evictions(i)) for i in everyone]
            self._model.add(add_up(parts) <= limits.moves)
        for priority, most in limits.tier_caps.items():
            tier = Level(places=True, priority=priority)
            placed, constant = self._expression(tier)
            if not isinstance(placed, int):
                self._model.add(placed <= max(most, incumbent.value(tier)) - constant)
        if self._evicted and self._problem.rules is RuleSet.PRODUCT:
            self._model.add(self._lost(everyone) <= limits.evictions)
            for budget, allowed in enumerate(self._problem.allowed):
                under = [i for i in everyone if budget in self._problem.groups[i].budgets]
                if any(i in self._evicted for i in under):
                    self._model.add(self._lost(under) <= allowed)

    def _lost(self, groups: Iterable[int]) -> Linear:
        return add_up([self._evicted.get(i, self._incumbent.evictions(i)) for i in groups])

    def _expression(self, level: Level) -> tuple[Linear, int]:
        """Return a level as (expression over this model's groups, constant of all others)."""
        rules, incumbent = self._problem.rules, self._incumbent
        parts: list[Linear] = []
        constant = 0
        for index, group in enumerate(self._problem.groups):
            if not level.covers(group.priority):
                continue
            if index not in self._placed:
                constant += (
                    incumbent.placed[index] if level.places else incumbent.disturbance(index)
                )
            elif level.places:
                parts.append(self._placed[index])
            else:
                lost = self._evicted.get(index, incumbent.evictions(index))
                parts.append(rules.move_cost * self._departures[index])
                parts.append((rules.eviction_cost - rules.move_cost) * lost)
                parts.append(self._work[index])
        return add_up(parts), constant

    def hold(self, level: Level, at_least: int) -> None:
        """Keep a level no worse than a value."""
        total, constant = self._expression(level)
        if isinstance(total, int):
            return
        if level.places:
            self._model.add(total >= at_least - constant)
        else:
            self._model.add(total <= at_least - constant)

    def scalarise(self, order: Sequence[Level]) -> None:
        """Set the lexicographic order as one weighted sum, or as much of it as weights allow.

        A level's weight exceeds all that the levels below it can change together inside this
        model: counts by `span`, units by `span` times the dearest unit.
        """
        rules = self._problem.rules
        dearest = max(rules.move_cost, rules.eviction_cost) if self._evicted else rules.move_cost
        dearest += self._dearest_work
        factors = [2 * self._span * (1 if level.places else dearest) + 1 for level in order]
        kept = len(order)
        while kept > 1 and prod(factors[1:kept]) > _SAFE_WEIGHT:
            kept -= 1
        weight = 1
        parts: list[Linear] = []
        for level, factor in zip(reversed(order[:kept]), reversed(factors[:kept]), strict=True):
            total, _ = self._expression(level)
            parts.append(total * (weight if level.places else -weight))
            weight *= factor
        self._model.maximize(add_up(parts))

    def optimise(self, level: Level) -> int:
        """Set one level as the objective and return its constant part."""
        total, constant = self._expression(level)
        if level.places:
            self._model.maximize(total)
        else:
            self._model.minimize(total)
        return constant

    def solve(
        self,
        *,
        seconds: float,
        workers: int,
        seed: int,
        bounding: bool = False,
        by_work: bool = False,
        on_changes: Callable[[dict[Site, int]], None] | None = None,
    ) -> Solved:
        """Solve within `seconds`, starting from the incumbent.

        Args:
            seconds: at most.
            workers: threads.
            seed: of the solver's random choices.
            bounding: whether a bound is wanted more than a better layout.
            by_work: whether `seconds` are of CP-SAT's deterministic time; the same question then
                gets the same answer.
            on_changes: gets every better layout.
        """
        if seconds <= 0:
            return Solved(None, None, False)
        solver = cp_model.CpSolver()
        if by_work:
            solver.parameters.max_deterministic_time = seconds
            solver.parameters.interleave_search = workers > 1
        else:
            solver.parameters.max_time_in_seconds = seconds
        solver.parameters.num_workers = workers
        solver.parameters.random_seed = seed & 0x7FFFFFFF
        if bounding and workers == len(_BOUNDING):
            solver.parameters.subsolvers.extend(_BOUNDING)
        for variable, now in self._hints:
            self._model.add_hint(variable, now)
        callback = _Improvements(self, on_changes) if on_changes else None
        status = solver.solve(self._model, callback)
        work = float(solver.response_proto.deterministic_time)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            # Without a solution CP-SAT reports 0 as the bound, which proves nothing.
            return Solved(None, None, False, work)
        bound = round(solver.best_objective_bound)
        return Solved(self.read(solver.value), bound, status == cp_model.OPTIMAL, work)

    def read(self, value: Callable[[Linear], int]) -> dict[Site, int]:
        """Return the counts of a solution that differ from the incumbent's."""
        counts = {site: value(variable) for site, variable in self._x.items()}
        return {s: c for s, c in counts.items() if c != self._incumbent.count(s)}


class _Improvements(cp_model.CpSolverSolutionCallback):
    """Hands every better layout on, so that nothing found is lost when time ends."""

    def __init__(
        self, model: PlacementModel, on_changes: Callable[[dict[Site, int]], None]
    ) -> None:
        super().__init__()
        self._model, self._on_changes = model, on_changes

    def on_solution_callback(self) -> None:
        """Called by CP-SAT, one solution at a time, in a thread of its own."""
        self._on_changes(self._model.read(self.value))
