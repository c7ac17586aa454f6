"""The decision: a snapshot in, a plan out.

Who calls it: the command line, later the packing controller. Everything here is pure but for the
solver it is handed: `inline` runs the search in this process, `worker.Worker` in a warm one. The
window is for the whole decision, so what formulating took is taken off the search, and a share is
kept for putting steps in order.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fairstow.cluster.kept import for_whom
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.between import unplanned
from fairstow.packing.cost import cost
from fairstow.packing.defragment.planner import Freed, free_blocks
from fairstow.packing.effort import Clock
from fairstow.packing.formulate import formulate
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.model import Decision, Goal, Order, Request, RuleSet, Tier
from fairstow.packing.objective import Level, levels
from fairstow.packing.outcome import Outcome
from fairstow.packing.problem import Problem, Roster, pin_satisfied_tiers
from fairstow.packing.schedule import MOST_CHANGES, Schedule, schedule
from fairstow.packing.task import Task

Solver = Callable[[Task, float], Outcome]
"""Runs a search for so many seconds and returns the best it knows, at any price in quality."""

_KEPT_BACK = 0.05
"""Share of the window for everything after the search, at least."""

_STEPS_PER_FORMULATION = 2.0
"""How much longer putting steps in order takes than formulating, on large clusters."""


def inline(now: Clock) -> Solver:
    """Return a solver that searches in this process."""

    def solve(task: Task, seconds: float) -> Outcome:
        return task.run(now, now() + seconds, lambda _: None)

    return solve


@dataclass(frozen=True)
class Solution:
    """A layout before it is put in order: what benchmarks compare.

    Attributes:
        bounds: proved bound by level, most important level first.
        complete: whether the search ended by itself, not cut off by the window.
    """

    problem: Problem
    roster: Roster
    layout: Incumbent
    bounds: Mapping[Level, int]
    complete: bool = True

    @property
    def gained(self) -> bool:
        """Whether the layout is strictly better than the current placement."""
        order = tuple(self.bounds)
        return self.layout.score(order) > Incumbent(self.problem, {}).score(order)

    @property
    def proved(self) -> bool:
        """Whether every level meets its bound."""
        return all(self.layout.value(level) == bound for level, bound in self.bounds.items())


def decide(request: Request, solve: Solver, now: Clock, workers: int = 1) -> Decision:
    """Return the best plan found within the request's window; never worse than doing nothing.

    Args:
        request: what is asked.
        solve: where the search runs.
        now: a clock in seconds.
        workers: threads the solver may use.
    """
    if request.goal is Goal.DEFRAGMENT:
        return _defragmented(request, free_blocks(request, solve, now, workers))
    found = find(request, solve, now, workers)
    steps = schedule(request.snapshot, found.problem, found.roster, found.layout.at)
    return _decision(request, found, steps)


def find(request: Request, solve: Solver, now: Clock, workers: int = 1) -> Solution:
    """Return the best layout found within the window; arguments as of `decide`."""
    started = now()
    problem, roster = formulate(
        request.snapshot,
        request.rules,
        min_age=request.min_age,
        cooling=request.cooling,
        scope=request.scope,
    )
    kept = max(_KEPT_BACK * request.window, _STEPS_PER_FORMULATION * (now() - started))
    deadline = started + request.window - kept
    if request.order is Order.TIER_BY_TIER:
        problem = pin_satisfied_tiers(problem)
    if not any(g.pending for g in problem.groups):
        return Solution(problem, roster, Incumbent(problem, {}), {})
    limits, phases = _limits(request, problem), _eviction_phases(request, problem)
    task = Task(
        problem=problem,
        start={},
        order=levels(request.order, problem.priorities),
        limits=limits,
        proof_limits=_over_all(phases, limits, problem, request.max_evictions),
        seed=request.seed,
        workers=workers,
        effort=None if request.effort is None else request.effort / (1 + len(phases)),
    )
    outcome = solve(task, (deadline - now()) / (1 + len(phases)))
    complete = outcome.complete
    for done, priority in enumerate(phases, 1):
        evicting = _with_evictions(task, outcome, priority, request.max_evictions)
        if evicting is not None:
            task = evicting
            outcome = solve(task, (deadline - now()) / (1 + len(phases) - done))
            complete = complete and outcome.complete
    bounds = dict(zip(task.order, outcome.bounds, strict=True))
    layout, unchanged = Incumbent(problem, outcome.changes), Incumbent(problem, {})
    if layout.score(task.order) < unchanged.score(task.order):
        layout = unchanged
    return Solution(problem, roster, layout, bounds, complete)


def _limits(request: Request, problem: Problem) -> Limits:
    if request.rules is RuleSet.PRODUCT:
        return Limits(moves=request.max_moves)
    running = frozenset(i for i, g in enumerate(problem.groups) if g.placed)
    return Limits(
        moves=request.max_moves,
        evictions=sum(problem.groups[i].placed for i in running),
        evictable=running - problem.pinned,
    )


def _over_all(phases: list[int], limits: Limits, problem: Problem, evictions: int) -> Limits:
    """Return what any phase may do: bounds proved under it hold for the whole plan."""
    if not phases:
        return limits
    lower = (i for i, g in enumerate(problem.groups) if g.placed and g.priority < phases[0])
    return replace(limits, evictions=evictions, evictable=frozenset(lower))


def _eviction_phases(request: Request, problem: Problem) -> list[int]:
    """Return the priorities, highest first, whose pending pods may cost lower ones their place."""
    if request.rules is RuleSet.PAPER or not request.max_evictions:
        return []
    running = [g.priority for g in problem.groups if g.placed]
    waiting = {g.priority for g in problem.groups if g.pending and g.preempts}
    return sorted((p for p in waiting if any(r < p for r in running)), reverse=True)


def _with_evictions(task: Task, outcome: Outcome, priority: int, most: int) -> Task | None:
    """Return the task of evicting for the pods of one priority that still wait, or None.

    A victim must be of lower priority than a pod that gets its place, and a pod that must not
    preempt (preemptionPolicy Never) may cost nobody a place. So nothing but groups of this
    priority that may preempt can gain: other groups of it are held to what they have, and so are
    the tiers below as a whole, or they would gain by trading their own pods. An eviction lowers
    its tier's level, hence it only happens where this priority gains.
    """
    groups = task.problem.groups
    now = Incumbent(task.problem, outcome.changes)
    if not any(
        g.priority == priority and g.preempts and now.waiting(i) for i, g in enumerate(groups)
    ):
        return None
    limits = replace(
        task.limits,
        evictions=most,
        # Groups that lost pods for a higher priority stay open: they may get them back.
        evictable=frozenset(
            i
            for i, g in enumerate(groups)
            if g.placed and (g.priority < priority or now.evictions(i))
        ),
        caps={i: now.placed[i] for i, g in enumerate(groups) if not g.preempts},
        tier_caps={
            level.priority: now.value(level)
            for level in task.order
            if level.places and level.priority < priority
        },
    )
    return replace(task, start=outcome.changes, limits=limits)


def _decision(request: Request, found: Solution, done: Schedule) -> Decision:
    moved, evicted = [m.pod for m in done.moves], [e.pod for e in done.evictions]
    units = cost(moved, evicted, request.rules, request.snapshot)
    disturbed = [bound for level, bound in found.bounds.items() if not level.places]
    whole = done.layout == found.layout.at
    return Decision(
        request=request,
        placements=done.placements,
        moves=done.moves,
        evictions=done.evictions,
        steps=done.steps,
        tiers=_tiers(found.problem, found.roster, done, found.bounds),
        cost=units,
        proved_least_cost=units == 0 or (whole and bool(disturbed) and disturbed[-1] == units),
        not_considered=(
            *_confined(request),
            *_cut(done),
            *_cut_off(request, found),
            *_over(found.problem),
            *not_considered(request.snapshot, found.roster),
        ),
        budgets_known="PodDisruptionBudget" in request.snapshot.known,
    )


def _defragmented(request: Request, freed: Freed) -> Decision:
    snapshot, roster = request.snapshot, freed.roster
    before, pending = Counter(roster.fixed), Counter(p.shape.priority for p in snapshot.pending)
    for group in freed.problem.groups:
        before[group.priority] += group.placed
    return Decision(
        request=request,
        placements=(),
        moves=freed.done.moves,
        evictions=(),
        steps=freed.done.steps,
        tiers=tuple(
            Tier(p, before[p], before[p], pending[p], bound=before[p])
            for p in sorted(before.keys() | pending.keys(), reverse=True)
        ),
        cost=cost([m.pod for m in freed.done.moves], [], request.rules, snapshot),
        proved_least_cost=freed.least,
        not_considered=(
            *_confined(request),
            *_cut(freed.done),
            *_over(freed.problem),
            *_left_waiting(snapshot),
            *not_considered(snapshot, roster),
        ),
        budgets_known="PodDisruptionBudget" in snapshot.known,
        blocks=freed.tallies,
    )


def _confined(request: Request) -> tuple[str, ...]:
    scope = request.scope
    outside = sum(n.name not in scope.nodes for n in request.snapshot.nodes) if scope else 0
    if scope is None or not outside:
        return ()
    nodes = f"{outside} node{'s' if outside > 1 else ''}"
    return (f"{nodes} outside pool {scope.name}: nobody leaves them or arrives there",)


def _left_waiting(snapshot: Snapshot) -> tuple[str, ...]:
    refs = [p.ref for p in snapshot.pending]
    if not refs:
        return ()
    rule = "this plan places nobody; the scheduler may give them what becomes free"
    return (f"{_count(refs, 'pending pod')}: {rule} {_some(refs)}",)


def _over(problem: Problem) -> tuple[str, ...]:
    names = [problem.nodes[n] for n, over in enumerate(problem.over) if over]
    if not names:
        return ()
    rule = "nothing that asks for what they lack is placed there"
    return (f"{_count(names, 'node')} over capacity: {rule} {_some(names)}",)


def _cut_off(request: Request, found: Solution) -> tuple[str, ...]:
    if request.effort is None or found.complete:
        return ()
    said = "the window cut the search off, so the same question may get another answer"
    return (f"the effort asked for: {said} (give it a longer window or less effort)",)


def _cut(done: Schedule) -> tuple[str, ...]:
    if not done.cut:
        return ()
    return (f"changes beyond the first {MOST_CHANGES:,}: carry these out, then plan again",)


def _tiers(
    problem: Problem, roster: Roster, done: Schedule, bounds: Mapping[Level, int]
) -> tuple[Tier, ...]:
    before, after, waiting = Counter(roster.fixed), Counter(roster.fixed), Counter[int]()
    most = Counter(roster.fixed)
    for group, at in zip(problem.groups, done.layout, strict=True):
        before[group.priority] += group.placed
        after[group.priority] += sum(at.values())
        most[group.priority] += group.most
        waiting[group.priority] += group.pending
    left_out = Counter(pod.shape.priority for pod, _ in roster.unplaceable)
    waiting.update(left_out)
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
                left_out=left_out[priority],
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
        if pod.node and (reason := unplanned(pod)):
            staying.setdefault(reason, []).append(pod.ref)
    gated = [p.ref for p in snapshot.pods if p.gated and not p.home]
    said = [
        f"{_count(refs, 'pending pod')} {reason} {_some(refs)}"
        for reason, refs in sorted(waiting.items())
    ]
    said += [
        f"{_count(refs, 'running pod')} with {rule}: moving them isn't modelled yet {_some(refs)}"
        for rule, refs in sorted(staying.items())
    ]
    if "PodGroup" not in snapshot.known and any(p.pending and p.gang for p in snapshot.pods):
        said.append(
            "PodGroups are unknown: a gang is placed with all its pods there are, or not at all "
            "(they are read from -f too: kubectl get podgroups -A -o json)"
        )
    resting: dict[str, list[str]] = {}
    for pod, reason in roster.resting:
        resting.setdefault(reason, []).append(pod.ref)
    said += [
        f"{_count(refs, 'running pod')} left alone for now, {'each ' if len(refs) > 1 else ''}"
        f"because {reason} {_some(refs)}"
        for reason, refs in sorted(resting.items())
    ]
    if gated:
        said.append(f"{_count(gated, 'pod')} held by a scheduling gate {_some(gated)}")
    if kept := [room for _, rooms in sorted(snapshot.kept_on.items()) for room in rooms]:
        pods, nodes = _count([room.node for room in kept], "pod"), sorted(snapshot.kept_on)
        said.append(f"room for {pods} to come {_some(nodes)}, {for_whom(kept)}")
    return (*said, *snapshot.unknowns)


def _count(refs: list[str], noun: str) -> str:
    return f"{len(refs)} {noun}{'s' if len(refs) > 1 else ''}"


def _some(refs: list[str]) -> str:
    more = f" and {len(refs) - 3} more" if len(refs) > 3 else ""
    return f"({', '.join(refs[:3])}{more})"
