"""From a request with the goal Defragment to steps and counts of blocks.

Called by `fairstow.packing.planner.decide`.

The layout is found in a search (`search`), put in order (`schedule`), and cut after the step at
which most blocks are free: what follows would move pods for nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fairstow.cluster.model import Pod
from fairstow.cluster.pools import is_accelerator, product
from fairstow.packing.defragment.blocks import Blocks, blocks
from fairstow.packing.defragment.search import BlockTask
from fairstow.packing.defragment.standing import Standing
from fairstow.packing.effort import Clock
from fairstow.packing.formulate import formulate
from fairstow.packing.model import BlockTally, Request
from fairstow.packing.problem import Problem, Roster, Site
from fairstow.packing.schedule import Schedule, schedule
from fairstow.packing.search import Outcome

_KEPT_BACK = 0.05
"""Share of the window for everything after the search, at least."""

_SECOND_SHARE = 0.25
"""Share of the search's time kept for another where disruption budgets bar the way."""

_STEPS_PER_FORMULATION = 2.0
"""How much longer putting steps in order takes than formulating, on large clusters."""


@dataclass(frozen=True)
class Freed:
    """The answer. Attributes: least: whether fewer moves are proved not to do."""

    problem: Problem
    roster: Roster
    done: Schedule
    tallies: tuple[BlockTally, ...]
    least: bool


def free_blocks(
    request: Request,
    solve: Callable[[BlockTask, float], Outcome],
    now: Clock,
    workers: int,
) -> Freed:
    """Return the moves that free most blocks within the window; never worse than none."""
    started = now()
    problem, roster = state(request)
    found = blocks(request.snapshot, problem, roster, request.blocks)
    task = BlockTask(problem, found, {}, request.max_moves, request.seed, workers)
    kept = max(_KEPT_BACK * request.window, _STEPS_PER_FORMULATION * (now() - started))
    deadline = started + request.window - kept
    guarded = any(g.budget is not None for g in problem.groups)
    outcome = solve(task, (deadline - now()) * (1 - _SECOND_SHARE * guarded))
    best, unchanged = Standing(problem, found, outcome.changes), Standing(problem, found, {})
    if best.score < unchanged.score:
        best = unchanged
    done, after = _in_order(request, task, roster, best)
    if after < tuple(best.totals):
        other = solve(_without_stuck(task, best, done), deadline - now())
        second = Standing(problem, found, other.changes)
        done, after = max(
            (done, after), _in_order(request, task, roster, second), key=lambda each: each[1]
        )
    bounds = _bounds(outcome, task, best.totals, after)
    whole = after == tuple(best.totals) and len(done.moves) == best.moves
    return Freed(
        problem,
        roster,
        done,
        tuple(
            BlockTally(size.resource, size.size, had, has, max(bound, has))
            for size, had, has, bound in zip(
                found.sizes, unchanged.totals, after, bounds, strict=False
            )
        ),
        least=not done.moves or (whole and bounds[-1] == best.cost),
    )


def state(request: Request) -> tuple[Problem, Roster]:
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
        there, request.rules, min_age=request.min_age, cooling=request.cooling, apart=kind
    )
    groups = []
    for group, running in zip(problem.groups, roster.running, strict=True):
        name = next((kind(pods[0]) for pods in running.values()), None)
        own = {i for i, n in enumerate(problem.nodes) if name is None or products[n] == name}
        groups.append(replace(group, targets=group.targets & own))
    return replace(problem, groups=tuple(groups)), roster


def _in_order(
    request: Request, task: BlockTask, roster: Roster, best: Standing
) -> tuple[Schedule, tuple[int, ...]]:
    """Return the steps to a layout as far as they pay, and the free blocks after them."""
    at, problem = best.layout.at, task.problem
    done = schedule(request.snapshot, problem, roster, at, for_placements=False)
    return _cut(done, problem, roster, task.blocks)


def _without_stuck(task: BlockTask, best: Standing, done: Schedule) -> BlockTask:
    """Return the task with those held in place whom disruption budgets barred from their way.

    With budgets of one pod at a time, a cycle of several of its pods can't be carried out.
    """
    problem = task.problem
    barred = {
        g.budget
        for g, meant, reached in zip(problem.groups, best.layout.at, done.layout, strict=True)
        if meant != reached
    }
    groups = tuple(
        replace(g, targets=frozenset()) if g.budget in barred and g.budget is not None else g
        for g in problem.groups
    )
    return replace(task, problem=replace(problem, groups=groups))


def _cut(
    done: Schedule, problem: Problem, roster: Roster, found: Blocks
) -> tuple[Schedule, tuple[int, ...]]:
    """Cut a schedule where most blocks are free; return what is left and the blocks then."""
    group_of = {
        pod.uid: g
        for g, running in enumerate(roster.running)
        for pods in running.values()
        for pod in pods
    }
    index = {name: i for i, name in enumerate(problem.nodes)}
    standing = Standing(problem, found, {})
    best, kept = tuple(standing.totals), 0
    for number, step in enumerate(done.steps, 1):
        for pod, target in step.bind:
            here, there = (group_of[pod.uid], index[pod.node]), (group_of[pod.uid], index[target])
            standing.apply(_moved(standing, here, there))
        if tuple(standing.totals) > best:
            best, kept = tuple(standing.totals), number
    if kept == len(done.steps):
        return done, best
    gone = {pod.uid for step in done.steps[:kept] for pod in step.evict}
    moves = tuple(m for m in done.moves if m.pod.uid in gone)
    return replace(done, steps=done.steps[:kept], moves=moves), best


def _moved(standing: Standing, here: Site, there: Site) -> dict[Site, int]:
    count = standing.layout.count
    return {here: count(here) - 1, there: count(there) + 1}


def _bounds(
    outcome: Outcome, task: BlockTask, meant: Sequence[int], after: Sequence[int]
) -> tuple[int, ...]:
    """Return the bounds that hold for what is carried out.

    A bound speaks of layouts with as many larger blocks as the layout that was found. From the
    first size at which the steps give another number on, the one by counting devices holds.
    """
    same = next((i for i, n in enumerate(meant) if after[i] != n), len(meant))
    weakest = task.begin().bounds
    return tuple(
        bound if level <= same else weakest[level] for level, bound in enumerate(outcome.bounds)
    )
