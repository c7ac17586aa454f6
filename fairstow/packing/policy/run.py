"""One run of a policy: what the planner is asked, and what becomes of its answer.

Called by the policy controller once a run is due. The search itself is the caller's:

    asked = ask(case)
    while isinstance(asked, Question):
        decision = planner.decide(asked.request, …)
        asked = answer(case, asked, decision)
    # a Verdict now: Found, to be confirmed on a fresh snapshot, or Skip

`answer` may ask again, narrower, where a plan would exceed what an hour allows one namespace: first
for a plan so small that it can't, then with those namespaces left alone, then it gives up.

What a plan may touch is settled beforehand, so that its proofs are about just that: the pool's
nodes (`Scope`), as many moves and evictions as the limits leave, no workload that is cooling down.
While a plan for any of the pool's nodes is unfinished no other is made, so room that is kept for
plans needs no regard here: it is on nodes that this one doesn't touch.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fairstow.api import PackingPlan, PackingPolicy, Reason, duration_milliseconds
from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.execution.objections import objections
from fairstow.packing.execution.progress import look
from fairstow.packing.history import cooling, elapsed, finished, undone
from fairstow.packing.model import Decision, Order, Proof, Request, Scope
from fairstow.packing.plan import to_plan
from fairstow.packing.policy.limits import Left, caps, excess, left
from fairstow.packing.policy.membership import may_run
from fairstow.packing.policy.pool_status import PoolView
from fairstow.packing.policy.setbacks import backing_off, repeated
from fairstow.packing.reservations import SnapshotWorld, holds_of

_UNDO = 3600
"""Seconds for which no plan undoes another, at least: for its cool-down a workload doesn't move."""

_TRIES = 3


@dataclass(frozen=True)
class Case:
    """What a run is decided on.

    Attributes:
        plans: all that there are, of this policy and others.
        now: seconds since 1970.
    """

    policy: PackingPolicy
    view: PoolView
    snapshot: Snapshot
    plans: tuple[PackingPlan, ...]
    now: int

    @property
    def own(self) -> tuple[PackingPlan, ...]:
        """The policy's own plans."""
        return tuple(p for p in self.plans if p.spec.policy == self.policy.metadata.name)


@dataclass(frozen=True)
class Question:
    """What the planner is asked. Attributes: left: of the hour's limits; tries: asked so often."""

    request: Request
    left: Left
    tries: int = 1


@dataclass(frozen=True)
class Skip:
    """No plan, and why. Attributes: retry_at: when to look again at the latest, if known."""

    reason: Reason
    message: str
    retry_at: int | None = None


@dataclass(frozen=True)
class Found:
    """A plan that is worth it and allowed, as the planner names it."""

    plan: PackingPlan
    decision: Decision

    @property
    def message(self) -> str:
        """What it does, for people."""
        spec = self.plan.spec
        return (
            f"{self.plan.metadata.name} places {_counted(len(spec.placements), 'pod')} with "
            f"{_counted(len(spec.moves), 'move')} and {_counted(len(spec.evictions), 'eviction')}"
        )


Verdict = Found | Skip


def held(case: Case) -> Skip | None:
    """Return why no plan is to be looked for now, whoever waits; None if one may be."""
    policy, now = case.policy, case.now
    if policy.spec.suspend:
        return Skip(Reason.SUSPENDED, Reason.SUSPENDED.sentence)
    if busy := _unfinished(case):
        return Skip(Reason.PLAN_UNFINISHED, f"{busy} isn't finished", None)
    if (until := backing_off(case.own, now)) is not None:
        return Skip(Reason.BACKING_OFF, Reason.BACKING_OFF.sentence, until)
    remaining = left(policy.spec.limits, case.own, now)
    if not any(caps(policy.spec.limits, remaining)):
        return Skip(Reason.LIMIT_REACHED, _used_up(policy), remaining.retry_at)
    return None


def ask(case: Case) -> Question | Skip:
    """Return what the planner is to be asked, or why it needn't be."""
    if (skip := held(case)) is not None:
        return skip
    if not case.view.waiting.hopeful:
        return Skip(Reason.NOTHING_PENDING, _nothing(case))
    spec, now = case.policy.spec, case.now
    remaining = left(spec.limits, case.own, now)
    moves, evictions = caps(spec.limits, remaining)
    request = Request(
        snapshot=case.snapshot,
        order=Order(spec.order),
        window=duration_milliseconds(spec.window) / 1000,
        max_moves=moves,
        max_evictions=evictions,
        min_age=_seconds(spec.minimum_age),
        cooling=cooling(case.plans, now, _seconds(spec.cool_down)),
        scope=_scope(case, remaining.spared, remaining.unserved),
    )
    return Question(request, remaining)


def answer(case: Case, question: Question, decision: Decision) -> Verdict | Question:
    """Return what becomes of the planner's answer, or a narrower question."""
    policy = case.policy
    disturbed = len(decision.moves) + len(decision.evictions)
    if not decision.placements:
        return _none(case, question, decision)
    if not disturbed:
        refs = _some([p.pod for p in decision.placements])
        return Skip(Reason.FITS_NOW, f"{refs} fit without moving anybody: left to the scheduler")
    gain = 1000 * len(decision.placements) // disturbed
    if gain < policy.spec.minimum_gain_permille:
        return Skip(
            Reason.GAIN_TOO_SMALL,
            f"the best plan places {_counted(len(decision.placements), 'pod')} for "
            f"{_counted(disturbed, 'move or eviction', 'moves and evictions')}: {gain} per 1000, "
            f"minimumGainPermille is {policy.spec.minimum_gain_permille}",
        )
    plan = to_plan(decision)
    if over := excess(question.left, plan):
        return _narrower(case, question, over.least, over.victims, over.beneficiaries)
    within = max(_UNDO, _seconds(policy.spec.cool_down))
    if names := undone(plan, case.plans, case.now, within):
        return Skip(Reason.PLAN_UNDOES, f"the best plan would undo {', '.join(names[:3])}")
    if said := repeated(plan, case.own, case.now):
        return Skip(Reason.PLAN_REPEATED, said)
    return Found(plan, decision)


def confirm(found: Found, fresh: Snapshot) -> Skip | None:
    """Return why a plan no longer holds, None if it does: the search took its time."""
    holds = holds_of(found.plan)
    progress = look(found.plan, holds, SnapshotWorld(fresh))
    lasting = [o for o in objections(found.plan, holds, progress, fresh) if not o.passes]
    return Skip(lasting[0].reason, lasting[0].message) if lasting else None


def _unfinished(case: Case) -> str:
    """Return the name of an unfinished plan that has to do with the pool's nodes, or ""."""
    pool, nodes = case.view.pool.metadata.name, case.view.names
    for plan in case.plans:
        if finished(plan) or plan.what_if:
            continue
        # A person's plan that nobody has approved is no more than a proposal.
        begun = plan.spec.approved and nodes & _nodes(plan)
        if begun or (plan.spec.policy and plan.spec.pool == pool):
            return f"plan {plan.metadata.name}"
    return ""


def _nodes(plan: PackingPlan) -> frozenset[str]:
    spec = plan.spec
    left = {move.from_ for move in spec.moves} | {eviction.from_ for eviction in spec.evictions}
    return frozenset(left | {p.node for p in spec.placements} | {m.to for m in spec.moves})


def _scope(case: Case, spared: frozenset[str], unserved: frozenset[str]) -> Scope:
    """Return what the plan is confined to."""
    view, policy = case.view, case.policy.metadata.name
    planned = {
        placement.uid
        for plan in case.plans
        if not finished(plan) and not plan.what_if and (plan.spec.policy or plan.spec.approved)
        for placement in plan.spec.placements
    }
    shapes: dict[object, bool] = {}
    untried: dict[str, str] = {}
    for pod in case.snapshot.pending:
        if pod.shape not in shapes:
            shapes[pod.shape] = any(may_run(pod, node) for node in view.nodes)
        if not shapes[pod.shape]:
            untried[pod.uid] = "that may run on none of the pool's nodes"
        elif pod.waiting_since is None:
            untried[pod.uid] = "that the scheduler hasn't tried yet"
        elif pod.uid in planned:
            untried[pod.uid] = "that another plan places"
        elif pod.namespace in unserved:
            untried[pod.uid] = f"of a namespace that policy {policy} can't serve within the hour"
    return Scope(view.pool.metadata.name, view.names, spared, untried)


def _narrower(
    case: Case, question: Question, least: int, victims: frozenset[str], gained: frozenset[str]
) -> Question | Skip:
    """Return a question whose plan disturbs or serves some namespaces less."""
    request, scope = question.request, question.request.scope
    names = ", ".join(sorted(victims | gained)[:3])
    message = f"maxMovesPerNamespacePerHour leaves too little to {names}"
    if question.tries >= _TRIES or scope is None:
        return Skip(Reason.LIMIT_REACHED, message, question.left.retry_at)
    if question.tries == 1 and least:
        moves = min(request.max_moves or 0, least)
        evictions = min(request.max_evictions, least - moves)
        narrow = replace(request, max_moves=moves, max_evictions=evictions)
    else:
        # Those found before are in `left`, so the scope is made of them anew.
        spared = scope.spared | victims
        narrow = replace(request, scope=_scope(case, spared, question.left.unserved | gained))
    return Question(narrow, question.left, question.tries + 1)


def _none(case: Case, question: Question, decision: Decision) -> Skip:
    """Say why there is no plan."""
    if question.tries > 1 or question.left.spared or question.left.unserved:
        message = "within maxMovesPerNamespacePerHour no plan places more pods"
        return Skip(Reason.LIMIT_REACHED, message, question.left.retry_at)
    cool_down = _seconds(case.policy.spec.cool_down)
    resting = question.request.cooling & {
        pod.workload for node in case.view.nodes for pod in case.snapshot.pods_on[node.name]
    }
    if resting:
        ends = [case.now + cool_down - int(a) for p in case.plans
                if (a := elapsed(p, case.now)) < cool_down]  # fmt: skip
        names = ", ".join(sorted(resting)[:3])
        return Skip(
            Reason.COOLING_DOWN, f"no plan while {names} cool down", min(ends, default=None)
        )
    pods = _some(case.view.waiting.hopeful)
    if all(tier.proof is Proof.OPTIMAL for tier in decision.tiers):
        return Skip(Reason.PROVED_OPTIMAL, f"proved: no plan within the limits places {pods}")
    return Skip(Reason.NO_BETTER_PLAN, f"found no plan that places {pods} within the window")


def _nothing(case: Case) -> str:
    reasons = case.view.waiting.by_reason
    if not reasons:
        return Reason.NOTHING_PENDING.sentence
    counts = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
    return f"no pod waits that a plan may help ({counts})"


def _used_up(policy: PackingPolicy) -> str:
    limits = policy.spec.limits
    if not limits.max_moves_per_plan and not limits.max_evictions_per_plan:
        return "maxMovesPerPlan and maxEvictionsPerPlan are 0"
    return f"maxMovesPerHour, {limits.max_moves_per_hour}, is used up"


def _some(pods: Iterable[Pod]) -> str:
    refs = [pod.ref for pod in pods]
    more = f" and {len(refs) - 3} more" if len(refs) > 3 else ""
    return ", ".join(refs[:3]) + more


def _counted(n: int, noun: str, plural: str = "") -> str:
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def _seconds(text: str) -> int:
    return duration_milliseconds(text) // 1000
