"""What the installed Fairstow does about a pod: plans that name it, room kept from it, policies.

Called by the command line for a running cluster, beside the explanation that the snapshot alone
gives. Pure: the objects as the API server has them, and a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fairstow.api import GpuPool, PackingPlan, PackingPolicy, Reason
from fairstow.api.status import Condition, condition, conditions_of
from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.times import seconds
from fairstow.packing.announce import after, waits
from fairstow.packing.history import closed
from fairstow.packing.policy.membership import asks, may_run, members
from fairstow.packing.reservations import (
    PlanHolds,
    Reservations,
    SnapshotWorld,
    holds_of,
    reserves,
)

_RECENT = 3600
"""Seconds for which a plan that came to nothing is still told of."""

_MOST = 5


@dataclass(frozen=True)
class Installed:
    """Fairstow's objects in a cluster."""

    plans: tuple[PackingPlan, ...] = ()
    policies: tuple[PackingPolicy, ...] = ()
    pools: tuple[GpuPool, ...] = ()


@dataclass(frozen=True)
class UnderWay:
    """What is said of a pod, a sentence each.

    Attributes:
        plans: that place, move or evict it.
        kept: room that it would fit, kept for others.
        policies: that would look for room for it, and why they didn't act.
        next_step: one command where a plan serves the pod, else "".
        next_why: what it is for.
    """

    plans: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    next_step: str = ""
    next_why: str = ""


def under_way(pod: Pod, snapshot: Snapshot, installed: Installed, now: float) -> UnderWay:
    """Return what Fairstow does about a pod."""
    named = [plan for plan in installed.plans if _names(plan, pod)]
    plans = tuple(said for plan in named if (said := _plan(plan, pod, now)))
    step, why = _next(named, pod)
    return UnderWay(
        plans=plans,
        kept=tuple(_kept(pod, snapshot, installed.plans)) if pod.pending else (),
        policies=tuple(_policies(pod, snapshot, installed, now)) if pod.pending else (),
        next_step=step,
        next_why=why,
    )


def _entry(plan: PackingPlan, pod: Pod) -> str:
    """Return the uid under which a plan names a pod, or one of its workload; "" if it doesn't."""
    spec = plan.spec
    arriving = {each.uid for each in spec.placements} | {each.uid for each in spec.moves}
    if pod.uid in arriving | {each.uid for each in spec.evictions}:
        return pod.uid
    if not pod.pending or pod.owner is None:
        return ""
    who = pod.workload
    placed = ((p.uid, f"{p.namespace}/{p.owner}") for p in spec.placements)
    moved = ((m.uid, f"{m.namespace}/{m.owner}") for m in spec.moves)
    return next((uid for uid, workload in (*placed, *moved) if workload == who), "")


def _names(plan: PackingPlan, pod: Pod) -> bool:
    return bool(_entry(plan, pod))


def _plan(plan: PackingPlan, pod: Pod, now: float) -> str:
    """Say what a plan means for a pod, "" if that is long over."""
    conditions = conditions_of(plan)
    stale, succeeded = condition(conditions, "Stale"), condition(conditions, "Succeeded")
    name, uid = plan.metadata.name, _entry(plan, pod)
    if stale is not None and stale.status == "True":
        since = now - (seconds(stale.last_transition_time) or 0)
        if since > _RECENT:
            return ""
        return f"Plan {name} named it and was given up {_ago(since)}: {_said(stale)}"
    if succeeded is not None and succeeded.status == "True":
        return ""
    if plan.spec.approval is not None and plan.spec.approval.decision == "Rejected":
        return f"Plan {name} would have helped; {plan.spec.approval.by} rejected it."
    where, before = _where(plan, uid), ""
    if any(placement.uid == uid for placement in plan.spec.placements):
        before = after(plan, uid)
    if reserves(plan):
        step = plan.status.step.index if plan.status and plan.status.step else 0
        doing = f"step {step + 1} of {len(plan.spec.steps)}"
        waiting = f": {_said(succeeded)}" if succeeded else "."
        return f"Plan {name} is under way and {where}; it is at {doing}{waiting}"
    reason = _reason(succeeded)
    if succeeded is None:
        return f"Plan {name} {where}{before}; the operator hasn't looked at it yet."
    return f"Plan {name} {where}{before}; {waits(plan, reason)}."


def _reason(condition: Condition | None) -> Reason:
    said = condition.reason if condition else ""
    return next((r for r in Reason if r.value == said), Reason.WAITING_FOR_APPROVAL)


def _where(plan: PackingPlan, uid: str) -> str:
    for placement in plan.spec.placements:
        if placement.uid == uid:
            return f"has it run on {placement.node}"
    for move in plan.spec.moves:
        if move.uid == uid:
            return f"moves it from {move.from_} to {move.to}"
    return "evicts it for good, for pods of higher priority"


def _said(condition: Condition) -> str:
    said = (condition.message or condition.reason).rstrip(".")
    return f"{said} ({condition.reason})."


def _ago(span: float) -> str:
    minutes = int(span // 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'} ago" if minutes else "just now"


def _next(plans: Sequence[PackingPlan], pod: Pod) -> tuple[str, str]:
    for plan in plans:
        if closed(plan) or not pod.pending:
            continue
        name, approval = plan.metadata.name, plan.spec.approval
        if approval is None:
            return f"fairstow approve plan/{name}", "says what moves, then asks back"
        if approval.decision == "Approved":
            return f"fairstow describe plan/{name}", "shows how far the plan is"
    return "", ""


def _kept(pod: Pod, snapshot: Snapshot, plans: Iterable[PackingPlan]) -> Iterator[str]:
    """Say on which nodes the pod would fit, were their room not kept for others."""
    holding = [holds_of(plan) for plan in plans if reserves(plan)]
    reservations, world = Reservations(holding), SnapshotWorld(snapshot)
    refused = []
    for name in sorted(reservations.nodes):
        node = snapshot.node_by_name.get(name)
        free = world.free(name)
        if node is None or free is None or not may_run(pod, node):
            continue
        left = reservations.available(name, world)
        fits = all(amount <= free.get(r, 0) for r, amount in pod.shape.requests)
        if fits and not all(amount <= left.get(r, 0) for r, amount in pod.shape.requests):
            refused.append(name)
    for name in refused[:_MOST]:
        yield f"Room on {name} is kept for {_for_whom(name, holding, pod)}."
    if len(refused) > _MOST:
        yield f"So is the room it would fit on {len(refused) - _MOST} more nodes."


def _for_whom(node: str, holding: Iterable[PlanHolds], pod: Pod) -> str:
    own = pod.workload
    parts = []
    for plan in holding:
        counts: dict[str, int] = {}
        for hold in plan.holds:
            if hold.node == node:
                counts[hold.beneficiary] = counts.get(hold.beneficiary, 0) + 1
        who = [
            f"{number} pod{'' if number == 1 else 's'} of {name}{' itself' if name == own else ''}"
            for name, number in sorted(counts.items())
        ]
        if who:
            more = f" and {len(who) - _MOST} more" if len(who) > _MOST else ""
            parts.append(f"{', '.join(who[:_MOST])}{more} by plan {plan.name}")
    return "; ".join(parts)


def _policies(pod: Pod, snapshot: Snapshot, installed: Installed, now: float) -> Iterator[str]:
    """Say which policies look after the pod, and what came of their last look."""
    pools = {pool.metadata.name: pool.spec for pool in installed.pools}
    for policy in installed.policies:
        pool = pools.get(policy.spec.pool_ref.name)
        if pool is None or not asks(pod, pool.accelerator_resource):
            continue
        if any(may_run(pod, node) for node in members(pool, snapshot.nodes)):
            yield _policy(policy, now)


def _policy(policy: PackingPolicy, now: float) -> str:
    name, mode = policy.metadata.name, policy.spec.mode
    head = f"Policy {name} (pool {policy.spec.pool_ref.name}, mode {mode})"
    if policy.spec.suspend:
        return f"{head} is suspended."
    status = policy.status
    ready = condition(status.conditions, "Ready") if status else None
    if ready is not None and ready.status != "True":
        return f"{head} can't act: {_said(ready)}"
    run = status.last_run if status else None
    if run is None:
        after_ = policy.spec.triggers.unschedulable_for
        return f"{head} hasn't looked yet; it does once a pod has waited {after_}."
    looked = f"{head} last looked {_ago(now - (seconds(run.time) or 0))}"
    return f"{looked}: {(run.message or run.reason).rstrip('.')} ({run.reason})."
