"""Bounds for clusters of any size: how many blocks so few departures can free at most.

Called by `planner`. A relaxation of the whole problem (see the package) that forgets where pods
go, and keeps how many leave which node and that free devices are neither made nor lost:

    z[n,i,1] ≥ z[n,i,2] ≥ …            a k-th block of size i is free on node n
    d[n] ≥ m[n,i,k] · z[n,i,k]         fewest departures for it (`Blocks.departures`)
    Σ_n d[n] ≤ N                       the limit on moves
    f[n] ≥ s_i · Σ_k z[n,i,k],   Σ_{n of a product} f[n] ≤ what the product has free

Every layout gives a solution of it with the same blocks and no more departures, so its optimum
bounds the problem's, level by level given what the levels above reached. It has some fifteen
Booleans a node; where CP-SAT doesn't finish, its bound counts.
"""

from collections.abc import Sequence

from ortools.sat.python import cp_model

from fairstow.packing.defragment.blocks import Blocks


class CountingBound:
    """The relaxation; stated anew for each question, which takes milliseconds."""

    def __init__(
        self, blocks: Blocks, now: Sequence[Sequence[int]], moves: int | None, each: int = 1
    ) -> None:
        """State it.

        Args:
            blocks: those there can be.
            now: blocks by node and size, which is where the solver starts.
            moves: the limit.
            each: what a move costs at least.
        """
        self._blocks, self._limit, self._each = blocks, moves, each
        self._model = cp_model.CpModel()
        self._departures: list[cp_model.IntVar] = []
        self._found: list[list[cp_model.IntVar]] = [[] for _ in blocks.sizes]
        held: dict[tuple[str, int], cp_model.IntVar] = {}
        for node, ladders in enumerate(blocks.departures):
            most = max((pods for ladder in ladders for pods in ladder), default=0)
            if not any(ladders):
                continue
            gone = self._variable(most, 0)
            if most:
                self._departures.append(gone)
            for level, ladder in enumerate(ladders):
                block = blocks.sizes[level]
                key = (block.resource, node)
                if ladder and key not in held:
                    held[key] = self._room(node, block.resource, now[node])
                rungs: list[cp_model.IntVar] = []
                for k, pods in enumerate(ladder):
                    free = self._variable(1, int(k < now[node][level]))
                    if rungs:
                        self._model.add_implication(free, rungs[-1])
                    if pods:
                        self._model.add(gone >= pods).only_enforce_if(free)
                    rungs.append(free)
                if rungs:
                    self._model.add(held[key] >= block.size * sum(rungs))
                self._found[level] += rungs
        if moves is not None and self._departures:
            self._model.add(sum(self._departures) <= moves)
        self._conserve(held)

    def _variable(self, most: int, hint: int) -> cp_model.IntVar:
        variable = self._model.new_int_var(0, most, "")
        self._model.add_hint(variable, hint)
        return variable

    def _room(self, node: int, resource: str, now: Sequence[int]) -> cp_model.IntVar:
        """Return f[n], hinted at what the blocks of now take."""
        sizes = [i for i, b in enumerate(self._blocks.sizes) if b.resource == resource]
        ladders, block = self._blocks.departures[node], self._blocks.sizes
        return self._variable(
            max(block[i].size * len(ladders[i]) for i in sizes),
            max(block[i].size * now[i] for i in sizes),
        )

    def _conserve(self, held: dict[tuple[str, int], cp_model.IntVar]) -> None:
        for resource in {b.resource for b in self._blocks.sizes}:
            level = next(i for i, b in enumerate(self._blocks.sizes) if b.resource == resource)
            for free, nodes in self._blocks.free[level]:
                here = [held[resource, n] for n in nodes if (resource, n) in held]
                if here:
                    self._model.add(sum(here) <= free)

    def most(self, level: int, seconds: float) -> int | None:
        """Return a bound on the blocks of a size, None if time ran out."""
        return self._solve(sum(self._found[level]), seconds, sign=1)

    def least_cost(self, seconds: float) -> int | None:
        """Return a bound from below on the cost, given what is held; work lost isn't counted."""
        return self._solve(self._each * sum(self._departures), seconds, sign=-1)

    def hold(self, level: int, reached: int) -> None:
        """Ask for that many blocks of a size from now on."""
        if self._found[level]:
            self._model.add(sum(self._found[level]) >= reached)

    def _solve(self, objective: cp_model.LinearExprT, seconds: float, *, sign: int) -> int | None:
        if isinstance(objective, int):
            return objective
        if seconds <= 0:
            return None
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = seconds
        solver.parameters.num_workers = 1
        self._model.proto.clear_objective()
        if sign > 0:
            self._model.maximize(objective)
        else:
            self._model.minimize(objective)
        status = solver.solve(self._model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None
        return round(solver.best_objective_bound)
