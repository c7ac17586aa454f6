"""From a request with the goal Defragment to steps and counts of blocks.

Called by `fairstow.packing.planner.decide`. The layout is found in a search (`phases`), put in
order (`schedule`), and cut after the step at which most blocks are free: what follows would move
pods for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairstow.cluster.model import Pod
from fairstow.cluster.pools import is_accelerator, product
from fairstow.packing.defragment.blocks import Blocks, blocks, sizes, takes
from fairstow.packing.defragment.phases import Found, Phases, Solve
from fairstow.packing.defragment.placeholders import fill
from fairstow.packing.defragment.units import refine
from fairstow.packing.effort import Clock
from fairstow.packing.formulate import formulate
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.model import BlockTally, Request
from fairstow.packing.problem import Problem, Roster
from fairstow.packing.schedule import Schedule, schedule

_KEPT_BACK = 0.05
"""Share of the window for everything after the search, at least."""

_SECOND_SHARE = 0.15
"""Share of the search's time kept for another where disruption budgets bar the way."""

_STEPS_PER_FORMULATION = 2.0
"""How much longer putting steps in order takes than formulating, on large clusters."""


@dataclass(frozen=True)
class Freed:
    """The answer. Attributes: least: whether less disturbance is proved not to do."""

    problem: Problem
    roster: Roster
    done: Schedule
    tallies: tuple[BlockTally, ...]
    least: bool


@dataclass(frozen=True)
class State:
    """A cluster whose running pods may move, and the blocks there can be."""

    problem: Problem
    roster: Roster
    blocks: Blocks


def free_blocks(request: Request, solve: Solve, now: Clock, workers: int) -> Freed:
    """Return the moves that free most blocks within the window; never worse than none."""
    started = now()
    state = state_of(request)
    kept = max(_KEPT_BACK * request.window, _STEPS_PER_FORMULATION * (now() - started))
    deadline = started + request.window - kept
    guarded = any(g.budgets for g in state.problem.groups)
    phases = Phases(state.blocks, request.max_moves, request.seed, workers, solve, now)
    share = 1 - _SECOND_SHARE * guarded
    found = phases.run(fill(state.problem, state.blocks), now() + share * (deadline - now()))
    done, after = in_order(request, state, found)
    if after < found.totals:
        rest = _without_barred(state.problem, found, done)
        other = phases.run(fill(rest, state.blocks), deadline)
        done, after = max((done, after), in_order(request, state, other), key=lambda d: d[1])
    before = state.blocks.counts(Incumbent(state.problem, {}).room)
    bounds = _bounds(state.blocks, found, after)
    moved = Incumbent(state.problem, found.changes)
    cost = sum(moved.disturbance(g) for g in range(len(state.problem.groups)))
    whole = after == found.totals and done.layout == moved.at
    return Freed(
        state.problem,
        state.roster,
        done,
        tuple(
            BlockTally(size.resource, size.size, had, has, max(bound, has))
            for size, had, has, bound in zip(state.blocks.sizes, before, after, bounds, strict=True)
        ),
        least=not done.moves or (whole and found.least_cost == cost),
    )


def state_of(request: Request) -> State:
    """Return the problem of moving running pods, each among nodes of its product.

    Pods that wait are left out, and so is all that holds for their sake.
    """
    snapshot = request.snapshot
    there = replace(snapshot, pods=tuple(p for p in snapshot.pods if not p.pending))
    products = {n.name: product(n) for n in snapshot.nodes}

    def kind(pod: Pod) -> str | None:
        bound = any(is_accelerator(r) for r, _ in pod.shape.requests)
        return products.get(pod.node) if bound else None

    problem, roster = formulate(
        there,
        request.rules,
        min_age=request.min_age,
        cooling=request.cooling,
        scope=request.scope,
        apart=kind,
    )
    groups = []
    for group, running in zip(problem.groups, roster.running, strict=True):
        name = next((kind(pods[0]) for pods in running.values()), None)
        own = {i for i, n in enumerate(problem.nodes) if name is None or products[n] == name}
        groups.append(replace(group, targets=group.targets & own))
    wanted = sizes(snapshot, request.blocks)
    taken = takes(snapshot, wanted)
    problem, units = refine(
        snapshot,
        replace(problem, groups=tuple(groups)),
        roster,
        (block for of_node in taken for block in of_node),
    )
    return State(problem, roster, blocks(snapshot, problem, wanted, taken, units))


def in_order(request: Request, state: State, found: Found) -> tuple[Schedule, tuple[int, ...]]:
    """Return the steps to a layout as far as they pay, and the free blocks after them."""
    problem, roster, blocks = state.problem, state.roster, state.blocks
    layout = Incumbent(problem, found.changes).at
    done = schedule(request.snapshot, problem, roster, layout, for_placements=False)
    group_of = {
        pod.uid: g
        for g, running in enumerate(roster.running)
        for pods in running.values()
        for pod in pods
    }
    index = {name: i for i, name in enumerate(problem.nodes)}
    at = Incumbent(problem, {})
    levels = range(len(blocks.sizes))
    totals = list(blocks.counts(at.room))
    best, kept = tuple(totals), 0
    for number, step in enumerate(done.steps, 1):
        nodes = {index[n] for pod, target in step.bind for n in (pod.node, target)}
        before = [blocks.count(n, i, at.room[n]) for i in levels for n in nodes]
        for pod, target in step.bind:
            g = group_of[pod.uid]
            here, there = (g, index[pod.node]), (g, index[target])
            at.apply({here: at.count(here) - 1, there: at.count(there) + 1})
        after = [blocks.count(n, i, at.room[n]) for i in levels for n in nodes]
        for i in levels:
            part = slice(i * len(nodes), (i + 1) * len(nodes))
            totals[i] += sum(after[part]) - sum(before[part])
        if tuple(totals) > best:
            best, kept = tuple(totals), number
    if kept == len(done.steps):
        return done, best
    gone = {pod.uid for step in done.steps[:kept] for pod in step.evict}
    moves = tuple(m for m in done.moves if m.pod.uid in gone)
    return replace(done, steps=done.steps[:kept], moves=moves), best


def _without_barred(problem: Problem, found: Found, done: Schedule) -> Problem:
    """Return the problem with those held in place whom disruption budgets barred from their way.

    Where one pod of a budget may be down at a time, a cycle of several can't be carried out.
    """
    meant = Incumbent(problem, found.changes).at
    barred = {
        budget
        for g, at, reached in zip(problem.groups, meant, done.layout, strict=True)
        if at != reached
        for budget in g.budgets
    }
    groups = tuple(
        replace(g, targets=frozenset()) if not barred.isdisjoint(g.budgets) else g
        for g in problem.groups
    )
    return replace(problem, groups=groups)


def _bounds(blocks: Blocks, found: Found, after: Sequence[int]) -> tuple[int, ...]:
    """Return the bounds that hold for what is carried out.

    A bound speaks of layouts with as many larger blocks as the layout that was found. From the
    first size at which the steps give another number on, the one by free devices holds.
    """
    same = next((i for i, n in enumerate(found.totals) if after[i] != n), len(after))
    return tuple(
        bound if level <= same else blocks.most(level) for level, bound in enumerate(found.bounds)
    )
