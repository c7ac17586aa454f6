"""The problem with blocks, or the part of it on some nodes, as a CP-SAT model.

Called by the search. Pods, room and rules are those of `PlacementModel`; the ladders of blocks on
top are derived in the package's docstring. Blocks on other nodes stay as the standing has them.
"""

from collections.abc import Sequence
from math import prod

from ortools.sat.python import cp_model

from fairstow.packing.cpsat import Linear, PlacementModel
from fairstow.packing.defragment.blocks import Rung
from fairstow.packing.defragment.standing import Standing
from fairstow.packing.limits import Limits

_SAFE_WEIGHT = 1 << 40
"""Weights times counts stay far from int64."""

_PARTS = 16


class BlockModel(PlacementModel):
    """One model over chosen nodes around a standing."""

    def __init__(self, standing: Standing, nodes: Sequence[int], limit: int | None) -> None:
        """Limit: most moves in all."""
        super().__init__(standing.layout, nodes, Limits(moves=limit))
        self._standing, self._blocks = standing, standing.blocks
        self._groups_on: dict[int, list[int]] = {n: [] for n in self._nodes}
        for group, node in self._x:
            self._groups_on[node].append(group)
        self._found: list[Linear] = []
        for level in range(len(self._blocks.sizes)):
            outside = standing.totals[level] - sum(standing.at(n)[level] for n in self._nodes)
            self._found.append(_sum([outside, *(self._ladder(n, level) for n in self._nodes)]))

    def _ladder(self, node: int, level: int) -> Linear:
        """Return the free blocks of a size on a node."""
        rungs = self._blocks.rungs[node][level]
        have = self._standing.at(node)[level]
        if not self._groups_on[node]:
            return have
        free: list[cp_model.IntVar] = []
        for k in range(len(rungs)):
            variable = self._model.new_bool_var("")
            self._hints.append((variable, int(k < have)))
            if free:
                self._model.add_implication(variable, free[-1])
            free.append(variable)
        for resource in sorted({r for rung in rungs for r, _ in rung.room}):
            self._leave_room(node, resource, rungs, free)
        self._must_leave(node, rungs, free)
        return _sum(free)

    def _leave_room(
        self, node: int, resource: int, rungs: Sequence[Rung], free: Sequence[cp_model.IntVar]
    ) -> None:
        groups, incumbent = self._problem.groups, self._incumbent
        users = [g for g in self._groups_on[node] if resource in groups[g].requests]
        held = sum(groups[g].requests[resource] * incumbent.count((g, node)) for g in users)
        there = incumbent.room[node][resource] + held
        used = [groups[g].requests[resource] * self._x[g, node] for g in users]
        below = 0
        steps: list[Linear] = []
        for rung, variable in zip(rungs, free, strict=True):
            least = max(dict(rung.room)[resource], below)
            if there < least:
                self._model.add(variable == 0)
            elif resource in self._problem.over[node]:
                # Room may be below 0 there: only a block asks for it to be enough.
                self._model.add(_sum([*used, least]) <= there).only_enforce_if(variable)
            elif least > below:
                steps.append((least - below) * variable)
            below = least
        if steps:
            self._model.add(_sum([*used, *steps]) <= there)

    def _must_leave(
        self, node: int, rungs: Sequence[Rung], free: Sequence[cp_model.IntVar]
    ) -> None:
        """State the fewest departures for each block; it follows from the rest, and tightens it."""
        gone = [self._left[g, node] for g in self._groups_on[node] if (g, node) in self._left]
        for rung, variable in zip(rungs, free, strict=True):
            if rung.departures and gone:
                self._model.add(_sum(gone) >= rung.departures * variable)

    @property
    def _cost(self) -> Linear:
        incumbent, each = self._incumbent, self._problem.rules.move_cost
        everyone = range(len(self._problem.groups))
        moves = [each * self._departures.get(g, incumbent.left[g]) for g in everyone]
        return _sum([*moves, *(self._work.get(g, incumbent.work[g]) for g in everyone)])

    @property
    def _cost_span(self) -> int:
        """More than the cost can change inside this model."""
        dearest = self._problem.rules.move_cost + self._dearest_work
        return dearest * sum(self._incumbent.count(s) for s in self._x) + 1

    def hold_blocks(self, level: int, at_least: int) -> None:
        """Keep at least so many blocks of a size."""
        if not isinstance(self._found[level], int):
            self._model.add(self._found[level] >= at_least)

    def aim_at(self, level: int) -> bool:
        """Maximise the blocks of one size (the level after the last: minimise the cost).

        Returns whether there is anything to choose.
        """
        last = level == len(self._found)
        objective = self._cost if last else self._found[level]
        if isinstance(objective, int):
            return False
        if last:
            self._model.minimize(objective)
        else:
            self._model.maximize(objective)
        return True

    def aim_to_free(self, node: int, rung: Rung) -> None:
        """Minimise what a node lacks for a block, in sixteenths of what it takes, then cost."""
        groups, incumbent = self._problem.groups, self._incumbent
        lacks: list[Linear] = []
        for resource, least in rung.room:
            users = [g for g in self._groups_on[node] if resource in groups[g].requests]
            now = incumbent.room[node][resource]
            held = sum(groups[g].requests[resource] * incumbent.count((g, node)) for g in users)
            part = max(1, -(-least // _PARTS))
            most = max(0, -(-(least - min(now, 0)) // part))
            missing = self._variable(most, max(0, -(-(least - now) // part)))
            used = [groups[g].requests[resource] * self._x[g, node] for g in users]
            self._model.add(_sum([*used, -part * missing]) <= now + held - least)
            lacks.append(missing)
        self._model.minimize(_sum([*(self._cost_span * lack for lack in lacks), self._cost]))

    def aim_from(self, first: int) -> None:
        """Optimise all levels from one on as a weighted sum, or as many as weights allow."""
        rungs = self._blocks.rungs
        levels = [
            (self._found[i], sum(len(rungs[n][i]) for n in self._nodes))
            for i in range(first, len(self._found))
        ]
        levels.append((-1 * self._cost, self._cost_span))
        while len(levels) > 1 and prod(span + 1 for _, span in levels[1:]) > _SAFE_WEIGHT:
            levels.pop()
        weight, parts = 1, list[Linear]()
        for value, span in reversed(levels):
            parts.append(weight * value)
            weight *= span + 1
        self._model.maximize(_sum(parts))


def _sum(parts: Sequence[Linear]) -> Linear:
    if all(isinstance(part, int) for part in parts):
        return sum(parts)
    return cp_model.LinearExpr.sum(list(parts))
