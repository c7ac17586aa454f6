"""Bounds and the CP-SAT model, seen from inside: what no plan's text would show.

Covered: no layout beats its own bound on any level, in either order and with limits; a level's
expression says what the incumbent says, however often it is asked; a model that found nothing
proves nothing. Not covered: that bounds are tight (benchmarks).
"""

import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.packing.cpsat import PlacementModel
from fairstow.packing.formulate import formulate
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.model import Order, Request, RuleSet
from fairstow.packing.objective import levels
from fairstow.packing.planner import find, inline
from fairstow.packing.relaxation import Relaxation
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import clusters, snapshot

slow = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(
    clusters(preempting=True),
    st.sampled_from(Order),
    st.sampled_from(RuleSet),
    st.sampled_from((None, 1)),
    st.integers(0, 2),
)
def test_no_layout_beats_its_bound(
    objects: list[Json], order: Order, rules: RuleSet, moves: int | None, evictions: int
) -> None:
    request = Request(
        snapshot(objects), rules, order, window=1.0, max_moves=moves, max_evictions=evictions
    )
    found = find(request, inline(time.monotonic), time.monotonic)
    for level, bound in found.bounds.items():
        value = found.layout.value(level)
        assert value <= bound if level.places else value >= bound


@slow
@given(clusters(preempting=True), st.sampled_from(Order))
def test_an_expression_says_the_same_however_often_it_is_asked(
    objects: list[Json], order: Order
) -> None:
    problem, _ = formulate(snapshot(objects))
    evictable = frozenset(i for i, g in enumerate(problem.groups) if g.placed)
    limits = Limits(moves=3, evictions=2, evictable=evictable, tier_caps={0: 2, 100: 3})
    model = PlacementModel(Incumbent(problem, {}), range(len(problem.nodes)), limits)
    asked = levels(order, problem.priorities)
    once = [str(model._expression(level)) for level in asked]
    model.scalarise(asked)
    assert [str(model._expression(level)) for level in asked] == once


@slow
@given(clusters(), st.sampled_from(Order), st.sampled_from(RuleSet), st.integers(0, 3))
def test_pod_by_pod_and_by_counts_every_level_has_the_same_optimum(
    objects: list[Json], order: Order, rules: RuleSet, moves: int
) -> None:
    problem, _ = formulate(snapshot(objects), rules)
    evictable = frozenset(i for i, g in enumerate(problem.groups) if g.placed)
    limits = Limits(moves=moves, evictions=2, evictable=evictable)
    now, asked = Incumbent(problem, {}), levels(order, problem.priorities)
    best: dict[bool, list[int | None]] = {}
    for pod_by_pod in (False, True):
        reached: list[int | None] = []
        for index, level in enumerate(asked):
            model = PlacementModel(now, range(len(problem.nodes)), limits, pod_by_pod=pod_by_pod)
            for above, value in zip(asked[:index], reached, strict=True):
                model.hold(above, value or 0)
            constant = model.optimise(level)
            solved = model.solve(seconds=20, workers=1, seed=0)
            assert solved.optimal
            reached.append(constant + (solved.bound or 0))
        best[pod_by_pod] = reached
    assert best[True] == best[False]


CHAIN = [
    *(node(f"n{i}", gpu=1) for i in range(3)),
    *(pod(f"p{i}", f"n{i}", gpu=1) for i in range(2)),
    pod("w", gpu=1, nodeSelector={"host": "n0"}, priority=100),
]


def test_a_solve_without_time_proves_nothing() -> None:
    problem, _ = formulate(snapshot(CHAIN))
    model = PlacementModel(Incumbent(problem, {}), range(3), Limits())
    model.optimise(levels(Order.PLACE_FIRST, problem.priorities)[0])
    for seconds in (-1.0, 0.0, 1e-9):
        solved = model.solve(seconds=seconds, workers=1, seed=0)
        assert solved.bound is None or solved.changes is not None


def test_no_two_solves_together_cost_a_protected_pod_its_place() -> None:
    problem, _ = formulate(snapshot(CHAIN))
    group = next(i for i, g in enumerate(problem.groups) if g.placed)
    gone = {(group, min(problem.groups[group].running)): 0}
    for evictable in (frozenset({group}), frozenset[int]()):
        limits = Limits(evictions=5, evictable=evictable)
        assert limits.allow(Incumbent(problem, gone), gone) == bool(evictable)


def test_a_program_too_large_for_the_time_is_left_out() -> None:
    problem, _ = formulate(snapshot(CHAIN))
    assert Relaxation.within(problem, Limits(), 1.0) is not None
    assert Relaxation.within(problem, Limits(), 0.0) is None


@slow
@given(clusters())
def test_a_program_stated_anew_bounds_the_same(objects: list[Json]) -> None:
    problem, _ = formulate(snapshot(objects))
    order = levels(Order.PLACE_FIRST, problem.priorities)
    found = []
    for afresh in (False, True):
        relaxation = Relaxation.within(problem, Limits(), 10.0)
        assert relaxation is not None
        for level in order:
            if afresh:
                relaxation._program._start()
            bound = relaxation.bound(level, 10.0)
            assert bound is not None
            relaxation.hold(level, bound)
            found.append(bound)
    assert found[: len(order)] == found[len(order) :]


def test_no_layout_is_taken_that_overfills_a_node() -> None:
    problem, _ = formulate(snapshot(CHAIN))
    group = next(i for i, g in enumerate(problem.groups) if g.placed)
    for target, fits in ((1, False), (2, True)):
        moved = {(group, 0): 0, (group, target): problem.groups[group].running.get(target, 0) + 1}
        assert Limits().allow(Incumbent(problem, moved), moved) == fits
