"""The decision: a snapshot in, a plan out.

Who calls it: the command line, later the packing controller. Everything here is pure but for the
solver it is handed: `inline` runs the search in this process, `worker.Worker` in a warm one. The
window is for the whole decision, so what formulating took is taken off the search, and a share is
kept for putting steps in order.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.limits import Limits
from fairstow.packing.model import (
    EVICTION_COST,
    MOVE_COST,
    Decision,
    Request,
    Tier,
)
from fairstow.packing.objective import Level, levels
from fairstow.packing.problem import Layout, Problem, Roster, formulate
from fairstow.packing.schedule import Schedule, schedule
from fairstow.packing.search import Clock, Outcome, Search, Task

Solver = Callable[[Task, float], Outcome]
"""Runs a search for so many seconds and returns the best it knows, at any price in quality."""

_KEPT_BACK = 0.05
"""Share of the window for everything after the search."""


def inline(now: Clock) -> Solver:
    """Return a solver that searches in this process."""

    def solve(task: Task, seconds: float) -> Outcome:
        return Search(task, now, now() + seconds, report=lambda _: None).run()

    return solve


def decide(request: Request, solve: Solver, now: Clock, workers: int = 1) -> Decision:
    """Return the best plan found within the request's window; never worse than doing nothing.

    Args:
        request: what is asked.
        solve: where the search runs.
        now: a clock in seconds.
        workers: threads the solver may use.
    """
    deadline = now() + request.window * (1 - _KEPT_BACK)
    problem, roster = formulate(request.snapshot)
    if not any(g.pending for g in problem.groups):
        return _decision(request, problem, roster, None, {})
    task = Task(
        problem=problem,
        start=problem.current(),
        order=levels(request.order, problem.priorities),
        limits=Limits(moves=request.max_moves),
        seed=request.seed,
        workers=workers,
    )
    seconds = deadline - now()
    outcome = solve(task, seconds / 2 if request.max_evictions else seconds)
    evicting = _with_evictions(task, outcome.layout, request.max_evictions)
    if evicting is not None:
        task, outcome = evicting, solve(evicting, deadline - now())
    return _decision(request, problem, roster, schedule(problem, roster, outcome.layout),
                     dict(zip(task.order, outcome.bounds, strict=True)))  # fmt: skip


def _with_evictions(task: Task, layout: Layout, most: int) -> Task | None:
    """Return the task of evicting for the pods that may preempt and still wait, if any.

    Pods that must not cost anybody a place (preemptionPolicy Never) are held to what moves alone
    gave them. An eviction lowers its own tier's level, so it only happens where a higher level
    gains, and only groups that may preempt can gain.
    """
    if not most:
        return None
    groups = task.problem.groups
    waiting = [
        g.priority
        for g, at in zip(groups, layout, strict=True)
        if g.preempts and sum(at.values()) < g.most
    ]
    evictable = frozenset(
        i for i, g in enumerate(groups) if waiting and g.placed and g.priority < max(waiting)
    )
    if not evictable:
        return None
    caps = {i: sum(layout[i].values()) for i, g in enumerate(groups) if not g.preempts}
    limits = replace(task.limits, evictions=most, evictable=evictable, caps=caps)
    return replace(task, start=layout, limits=limits)


def _decision(
    request: Request,
    problem: Problem,
    roster: Roster,
    done: Schedule | None,
    bounds: Mapping[Level, int],
) -> Decision:
    placements, moves, evictions, steps = (
        (done.placements, done.moves, done.evictions, done.steps) if done else ((), (), (), ())
    )
    cost = MOVE_COST * len(moves) + EVICTION_COST * len(evictions)
    tiers = _tiers(problem, roster, done, bounds)
    disturbed = [v for level, v in bounds.items() if not level.places]
    return Decision(
        request=request,
        placements=placements,
        moves=moves,
        evictions=evictions,
        steps=steps,
        tiers=tiers,
        cost=cost,
        proved_least_cost=cost == 0 or (bool(disturbed) and disturbed[-1] == cost),
        not_considered=not_considered(request.snapshot, roster),
        budgets_known="PodDisruptionBudget" in request.snapshot.known,
    )


def _tiers(
    problem: Problem, roster: Roster, done: Schedule | None, bounds: Mapping[Level, int]
) -> tuple[Tier, ...]:
    layout = done.layout if done else problem.current()
    before, after, waiting = Counter(roster.fixed), Counter(roster.fixed), Counter[int]()
    most = Counter(roster.fixed)
    for group, at in zip(problem.groups, layout, strict=True):
        before[group.priority] += group.placed
        after[group.priority] += sum(at.values())
        most[group.priority] += group.most
        waiting[group.priority] += group.pending
    for pod, _ in roster.unplaceable:
        waiting[pod.shape.priority] += 1
    tiers: list[Tier] = []
    for priority in sorted(before.keys() | waiting.keys(), reverse=True):
        level = bounds.get(Level(places=True, priority=priority))
        # A tier that fell short of its layout (budgets cut the steps) makes room below it.
        sure = all(t.after >= t.bound for t in tiers) or level is None
        bound = roster.fixed.get(priority, 0) + level if level is not None and sure else None
        tiers.append(
            Tier(
                priority=priority,
                before=before[priority],
                after=after[priority],
                pending=before[priority] + waiting[priority] - after[priority],
                bound=max(after[priority], most[priority] if bound is None else bound),
            )
        )
    return tuple(tiers)


def not_considered(snapshot: Snapshot, roster: Roster) -> tuple[str, ...]:
    """Say what a plan leaves out of consideration, a sentence each."""
    waiting: dict[str, list[str]] = {}
    for pod, reason in roster.unplaceable:
        waiting.setdefault(reason, []).append(pod.ref)
    staying: dict[str, list[str]] = {}
    for pod in snapshot.pods:
        if pod.node and pod.shape.unmodelled:
            staying.setdefault(", ".join(pod.shape.unmodelled), []).append(pod.ref)
    gated = [p.ref for p in snapshot.pods if p.gated and not p.home]
    said = [
        f"{_count(refs, 'pending pod')} with {rule}: not modelled yet, so not placed {_some(refs)}"
        for rule, refs in sorted(waiting.items())
    ]
    said += [
        f"{_count(refs, 'running pod')} with {rule}: not modelled yet, so not moved {_some(refs)}"
        for rule, refs in sorted(staying.items())
    ]
    if gated:
        said.append(f"{_count(gated, 'pod')} held by a scheduling gate {_some(gated)}")
    return (*said, *snapshot.unknowns)


def _count(refs: list[str], noun: str) -> str:
    return f"{len(refs)} {noun}{'s' if len(refs) > 1 else ''}"


def _some(refs: list[str]) -> str:
    more = f" and {len(refs) - 3} more" if len(refs) > 3 else ""
    return f"({', '.join(refs[:3])}{more})"
