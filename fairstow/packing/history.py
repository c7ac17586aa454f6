"""What earlier plans mean for the next one: who is left alone for now, and what would undo them.

Called by the packing controller before and after it decides. A workload one of whose pods was moved
or evicted is left alone for the policy's cool-down (`cooling` goes into the `Request`); and a plan
that sends pods back where a recent one took them from, or takes away what a recent one placed, is
not carried out (`undone`): one of the two was wrong, and pods would go round in circles.

Only what was carried out counts: steps up to `status.stepsDone`, and the one after them, which a
plan may have begun before it stopped. All that was before the newest transition of its conditions,
so the time since then is what counts; while a plan is Executing, no time has passed.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from fairstow.api import PackingPlan
from fairstow.api.status import conditions_of, holds
from fairstow.cluster.times import seconds


class _Named(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def owner(self) -> str: ...


Change = tuple[str, str, str]
"""What was done to a pod of a workload: (workload, node it left or "", node it got or "")."""


def cooling(plans: Iterable[PackingPlan], now: int, cool_down: int) -> frozenset[str]:
    """Return the workloads that were disturbed less than a cool-down ago.

    Args:
        plans: earlier plans, in any state.
        now: seconds since 1970.
        cool_down: seconds.

    Returns:
        Workloads as `namespace/Kind/name`; pods without an owner aren't recognised once recreated.
    """
    recent = (plan for plan in plans if elapsed(plan, now) < cool_down)
    return frozenset(
        workload for plan in recent for workload, source, _ in _carried_out(plan) if source
    )


def undone(
    plan: PackingPlan, earlier: Iterable[PackingPlan], now: int, within: int
) -> tuple[str, ...]:
    """Return the names of plans, carried out less than `within` seconds ago, that a plan undoes.

    It undoes another if it sends a pod of some workload back the way that the other moved one, or
    moves or evicts a pod of a workload from a node where the other placed one.
    """
    left = set(_changes(plan, everyone=True))
    return tuple(
        other.metadata.name
        for other in earlier
        if elapsed(other, now) < within
        and any(_undoes(left, workload, *nodes) for workload, *nodes in _carried_out(other))
    )


def _undoes(later: set[Change], workload: str, source: str, target: str) -> bool:
    if not target:
        return False
    back = (workload, target, source)
    return back in later if source else any(c[:2] == (workload, target) for c in later)


def finished(plan: PackingPlan) -> bool:
    """Whether nothing more will be done under a plan: it succeeded, was rejected or given up."""
    approval = plan.spec.approval
    return (approval is not None and approval.decision == "Rejected") or closed(plan)


def closed(plan: PackingPlan) -> bool:
    """Whether a plan's end stands in its status, so that nobody changes that any more."""
    return any(holds(conditions_of(plan), kind) for kind in ("Succeeded", "Stale"))


def ended_at(plan: PackingPlan) -> int | None:
    """Return when a plan succeeded or was given up, None if it wasn't."""
    over = (
        c for c in conditions_of(plan) if c.type in ("Succeeded", "Stale") and c.status == "True"
    )
    return max((at for c in over if (at := seconds(c.last_transition_time))), default=None)


def disturbed(plan: PackingPlan) -> frozenset[str]:
    """Return the UIDs of pods that a plan has moved or evicted; all it may, if it isn't finished.

    A step that was under way when a plan was given up counts whole.
    """
    done = (plan.status.steps_done or 0) if plan.status else 0
    steps = plan.spec.steps
    if finished(plan):
        begun = elapsed(plan, 0) != float("inf")
        steps = steps[: done + 1] if begun else ()
    return frozenset(pod.uid for step in steps for pod in step.evict)


def elapsed(plan: PackingPlan, now: int) -> float:
    """Return how many seconds ago a plan was last carried out, infinity if it never was."""
    status = plan.status
    if status is None or (status.started_at is None and not status.steps_done):
        return float("inf")
    if holds(status.conditions, "Executing"):
        return 0
    texts = [status.started_at or "", *(c.last_transition_time for c in status.conditions)]
    times = [moment for moment in map(seconds, texts) if moment is not None]
    return now - max(times, default=now)


def _carried_out(plan: PackingPlan) -> Iterator[Change]:
    return _changes(plan, everyone=False)


def _changes(plan: PackingPlan, *, everyone: bool) -> Iterator[Change]:
    """Yield what a plan does, or as much of it as was carried out."""
    done = plan.status.steps_done or 0 if plan.status else 0
    steps = plan.spec.steps if everyone else plan.spec.steps[: done + 1]
    touched = {pod.uid for step in steps for pod in step.evict}
    touched |= {pod.uid for step in steps for pod in step.bind}
    spec = plan.spec
    found = [(m.uid, _workload(m), m.from_, m.to) for m in spec.moves]
    found += [(e.uid, _workload(e), e.from_, "") for e in spec.evictions]
    found += [(p.uid, _workload(p), "", p.node) for p in spec.placements]
    for uid, workload, source, target in found:
        if uid in touched and workload:
            yield workload, source, target


def _workload(entry: _Named) -> str:
    return f"{entry.namespace}/{entry.owner}" if entry.owner else ""
