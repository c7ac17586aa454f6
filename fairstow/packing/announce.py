"""What the owners of pods are told, as Events on their pods: constructors of texts, no I/O.

Called by the controllers, which hand each `Announcement` to the recorder of Events. A user's Event
speaks of that user's pod first, names no pod of other namespaces (whoever may read Events there may
not read those), and ends with the command that helps.

`key` says when two announcements are the same one: the recorder sends one of a key once, and again
only after the Event has expired. Keys change with what a reader would want to hear again (the
plan, the step, the reason), never with counts or clocks alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairstow.api import PackingPlan, Reason
from fairstow.cluster.times import written

LONGEST = 1024
"""Characters of an Event's note that the API server takes."""


@dataclass(frozen=True)
class PodRef:
    """The pod that an Event is about."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Announcement:
    """An Event to be.

    Attributes:
        pod: whom it is about.
        reason: the word in `kubectl get events`.
        message: the sentence, at most `LONGEST` characters.
        key: equal for announcements that say the same.
        warning: whether its type is Warning.
        action: what was done or would be, for events.k8s.io/v1.
    """

    pod: PodRef
    reason: Reason
    message: str
    key: str
    warning: bool = False
    action: str = "Pack"


def would_run(plan: PackingPlan, waits_for: Reason, until: int | None = None) -> list[Announcement]:
    """Tell the pods that a plan places what it would take, and what the plan waits for.

    Args:
        plan: not under way yet.
        waits_for: the reason of its condition Succeeded, such as WaitingForApproval.
        until: with OutsideMaintenanceWindow, when the next window opens, seconds since 1970.
    """
    said = waits(plan, waits_for, until)
    return [
        _of(
            PodRef(p.namespace, p.name, p.uid),
            waits_for,
            f"Would run on {p.node}{after(plan, p.uid)}; {said}",
            plan.metadata.name,
        )
        for p in plan.spec.placements
    ]


def room_is_made(plan: PackingPlan, step: int) -> list[Announcement]:
    """Tell the pods that a plan has yet to place that it is under way, at this step (from 0)."""
    total, name = len(plan.spec.steps), plan.metadata.name
    return [
        _of(
            PodRef(p.namespace, p.name, p.uid),
            Reason.EXECUTING,
            f"Room is being made on {p.node} and kept for this pod: step {step + 1} of {total} of "
            f"plan {name}",
            f"{name}/{step}",
        )
        for p in plan.spec.placements
        if _bound_in(plan, p.uid) >= step
    ]


def moves(plan: PackingPlan, step: int) -> list[Announcement]:
    """Tell the pods that are about to be evicted in a step (from 0) why, and where they go."""
    name = plan.metadata.name
    going = {move.uid: move.to for move in plan.spec.moves}
    said = []
    for pod in plan.spec.steps[step].evict:
        where = (
            f"its replacement has room on {going[pod.uid]}"
            if pod.uid in going
            else "for pods of higher priority; its owner may start it again where there is room"
        )
        said.append(
            _of(
                PodRef(pod.namespace, pod.name, pod.uid),
                Reason.EVICTING,
                f"Evicted by plan {name}, step {step + 1} of {len(plan.spec.steps)}: {where}. To "
                "keep a pod where it is: annotation fairstow.dev/do-not-disrupt=true",
                f"{name}/{step}",
                action="Evict",
            )
        )
    return said


def given_up(plan: PackingPlan, reason: Reason, message: str = "") -> list[Announcement]:
    """Tell the pods that a plan was to place, and didn't, that nothing will come of it.

    Args:
        plan: one that is over.
        reason: of its condition Stale, or Rejected.
        message: of that condition; left out where it may name other people's pods.
    """
    name, done = plan.metadata.name, (plan.status.steps_done or 0) if plan.status else 0
    why = message or reason.sentence
    return [
        _of(
            PodRef(p.namespace, p.name, p.uid),
            reason,
            f"Plan {name} is given up: {why} This pod waits as before"
            + ("" if reason is Reason.REJECTED else "; another plan may follow"),
            name,
            warning=True,
        )
        for p in plan.spec.placements
        if _bound_in(plan, p.uid) >= done
    ]


def left_alone(
    pods: Iterable[PodRef], policy: str, reason: Reason, message: str = ""
) -> list[Announcement]:
    """Tell waiting pods why a policy's last run made no plan for them."""
    why = (message or reason.sentence).rstrip(".")
    return [
        _of(
            pod,
            reason,
            f"Policy {policy} looked for room by moving running pods and made no plan: {why}. "
            f"What would help: kubectl fairstow explain pod/{pod.namespace}/{pod.name}",
            policy,
        )
        for pod in pods
    ]


def _of(
    pod: PodRef,
    reason: Reason,
    message: str,
    about: str,
    *,
    warning: bool = False,
    action: str = "Pack",
) -> Announcement:
    short = message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"
    return Announcement(pod, reason, short, f"{pod.uid}/{reason}/{about}", warning, action)


def after(plan: PackingPlan, uid: str) -> str:
    """Say in a clause which evictions come before a pod is bound, "" if none does."""
    last = _bound_in(plan, uid)
    before = {pod.uid for step in plan.spec.steps[: last + 1] for pod in step.evict}
    moved = sum(move.uid in before for move in plan.spec.moves)
    evicted = sum(eviction.uid in before for eviction in plan.spec.evictions)
    parts = [f"moving {moved} running pod{_s(moved)}"] if moved else []
    parts += [f"evicting {evicted} pod{_s(evicted)} of lower priority"] if evicted else []
    return f" after {' and '.join(parts)}" if parts else ""


def _bound_in(plan: PackingPlan, uid: str) -> int:
    """Return the step that binds a pod; the last one if none does."""
    for index, step in enumerate(plan.spec.steps):
        if any(pod.uid == uid for pod in step.bind):
            return index
    return len(plan.spec.steps) - 1


def waits(plan: PackingPlan, reason: Reason, until: int | None = None) -> str:
    """Say in a clause what a plan waits for; arguments as of `would_run`."""
    name = plan.metadata.name
    match reason:
        case Reason.WAITING_FOR_APPROVAL:
            return f"{name} waits for approval: kubectl fairstow approve plan/{name}"
        case Reason.OUTSIDE_MAINTENANCE_WINDOW:
            opens = f", which opens at {written(until)}" if until is not None else ""
            return f"{name} waits for the next maintenance window{opens}"
        case Reason.SUSPENDED:
            return f"{name} waits, since policy {plan.spec.policy or 'of its pool'} is suspended"
        case _:
            said = reason.sentence
            return f"{name}: {said[0].lower()}{said[1:].rstrip('.')}"


def _s(number: int) -> str:
    return "" if number == 1 else "s"
