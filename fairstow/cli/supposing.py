"""What if pods were submitted that nobody has submitted yet: would they run, where, at what cost.

Called by `plan` and `explain` with `--with`. Two decisions are compared: one in which nothing may
move and nobody else waits (things as they are), and the plan for the whole cluster.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fairstow.cli.layout import count, one_line, wrapped
from fairstow.cli.making import decided
from fairstow.cli.sources import Source
from fairstow.cli.terminal import Look
from fairstow.cluster.model import Pod
from fairstow.packing.cost import cost
from fairstow.packing.explain import Explanation, State, explain_all, needed
from fairstow.packing.model import Decision, Request
from fairstow.packing.worker import Worker

_NODES = 4
_GROUPS = 8
"""Most nodes and workloads named, unless everything is asked for."""

_SHARE = 0.25
"""Of the window, for things as they are: nothing moves, so there is little to search."""

_LEFT_OUT = (
    "LimitRanges, quotas, webhooks and queues may change or hold back what is submitted; they "
    "aren't considered."
)


@dataclass(frozen=True)
class Group:
    """New pods of one workload.

    Attributes:
        now: how many would get which node as things are.
        planned: how many get which node by the plan.
        moves: running pods that the plan moves for their sake, `evictions` alike; `cost` of both.
        said: the explanation of the first pod that gets no node either way, else of the first.
    """

    pods: tuple[Pod, ...]
    now: Counter[str]
    planned: Counter[str]
    moves: int
    evictions: int
    cost: int
    said: Explanation


Outcome = tuple[Group, ...]


def new_pods(source: Source) -> tuple[Pod, ...]:
    """Return the pods that nobody has submitted, in the snapshot's order."""
    uids = source.what_if.uids if source.what_if else frozenset()
    return tuple(p for p in source.snapshot.pods if p.uid in uids)


def suppose(source: Source, question: Request, plan: Decision, worker: Worker) -> Outcome:
    """Return what becomes of the new pods.

    Args:
        source: the cluster with them.
        question: what the plan is the answer to.
        plan: for the whole cluster.
        worker: the solver.
    """
    if source.what_if is None:
        return ()
    now = decided(_as_things_are(question, source.what_if.uids), worker)
    return _outcome(source, now, plan)


def _as_things_are(request: Request, new: frozenset[str]) -> Request:
    """Return the question which of the new pods would run if nothing moved and nobody else waited.

    Those who wait already don't fit now, or the scheduler would have placed them.
    """
    pods = tuple(p for p in request.snapshot.pods if not p.pending or p.uid in new)
    snapshot = replace(request.snapshot, pods=pods)
    window = request.window * _SHARE
    return replace(request, snapshot=snapshot, window=window, max_moves=0, max_evictions=0)


def _outcome(source: Source, now: Decision, plan: Decision) -> Outcome:
    """Return what becomes of the new pods, a group for each workload, highest priority first."""
    where_now = {p.pod.uid: p.node for p in now.placements}
    planned = {p.pod.uid: p.node for p in plan.placements}
    workloads: dict[tuple[object, ...], list[Pod]] = {}
    for pod in new_pods(source):
        key = (-pod.shape.priority, pod.namespace, pod.owner.uid if pod.owner else pod.uid)
        workloads.setdefault((*key, pod.shape), []).append(pod)
    return tuple(
        _group(source, pods, where_now, planned, plan)
        for _, pods in sorted(workloads.items(), key=lambda kind: kind[0][:3])
    )


def _group(
    source: Source,
    pods: list[Pod],
    now: dict[str, str],
    planned: dict[str, str],
    plan: Decision,
) -> Group:
    explained = explain_all(source.snapshot, pods, plan, source=source.flags)
    placed = [(p, planned[p.uid]) for p in pods if p.uid in planned]
    moved, evicted = needed(plan, placed)
    gone = [m.pod for m in moved], [e.pod for e in evicted]
    return Group(
        pods=tuple(pods),
        now=Counter(now[p.uid] for p in pods if p.uid in now),
        planned=Counter(planned[p.uid] for p in pods if p.uid in planned),
        moves=len(moved),
        evictions=len(evicted),
        cost=cost(*gone, plan.request.rules, source.snapshot),
        said=next((e for e in explained if e.pod.uid not in planned.keys() | now), explained[0]),
    )


def heading(
    source: Source, groups: Outcome, plan: Decision | None, look: Look, *, wide: bool
) -> Iterator[str]:
    """Yield the lines that a what-if answer opens with: whether the new pods would run."""
    what_if = source.what_if
    if what_if is None:
        return
    yield wrapped(
        f"WHAT IF {what_if} submitted: {count(len(what_if.uids), 'new pod')}. Nothing was "
        "submitted, and this is no plan of the cluster as it is.",
        look.width,
    )
    shown = groups if wide else groups[:_GROUPS]
    for group in shown:
        yield wrapped(f"{_who(group)}: {_answer(group)}", look.width, "  - ", "    ")
    if len(shown) < len(groups):
        yield f"  ... and {count(len(groups) - len(shown), 'more workload')} (-o wide shows all)"
    notes = [f"Not considered: {note}." for note in what_if.notes]
    for note in (*_others(plan, what_if.uids), _LEFT_OUT, *notes):
        yield wrapped(note, look.width)
    yield ""


def _others(plan: Decision | None, new: frozenset[str]) -> Iterator[str]:
    """Say what the plan does for the pods that wait without the new ones."""
    waiting = [p for p in plan.request.snapshot.pending if p.uid not in new] if plan else []
    if plan and waiting:
        placed = sum(p.pod.uid not in new for p in plan.placements)
        yield (
            f"Of {count(len(waiting), 'pod')} that {'waits' if len(waiting) == 1 else 'wait'} "
            f"already the plan places {placed}; without --with it may be more."
        )


def _who(group: Group) -> str:
    first, number = group.pods[0], len(group.pods)
    name = one_line(str(first.owner)) if first.owner else first.name
    return f"{first.namespace}/{name}" + (f", {number} pods" if number > 1 else "")


def _answer(group: Group) -> str:
    """Say in a sentence or two what becomes of a workload's pods."""
    now, planned, number = group.now.total(), group.planned.total(), len(group.pods)
    on = f", for example on {_on(group.now)}"
    if now == number:
        said = f"{_all(number)} would run as things are{on}"
        less = "; with the plan for the whole cluster {} would, for pods that wait already"
        return said + (f"{less.format(planned or 'none')}." if planned < number else ".")
    if now:
        said = f"{now} of {number} would run as things are{on}"
    else:
        said = f"{'it would not' if number == 1 else 'none would'} run as things are"
    if planned <= now:
        nor = "nor would more" if now else "nor would it" if number == 1 else "nor would any"
        return f"{said}, {nor} with the plan. {_why(group)}"
    some = _all(number) if planned == number else f"{planned} of {number}"
    said += f"; with the plan {some} would, on {_on(group.planned)}, {_by(group)}"
    return said + (f". {_why(group)}" if planned < number else ".")


def _why(group: Group) -> str:
    """Say why not all of the pods would run."""
    if group.said.state is State.FITS and (group.now or group.planned):
        return "Each would fit alone, but not all beside each other."
    return group.said.verdict


def _all(number: int) -> str:
    return "it" if number == 1 else f"all {number}"


def _on(nodes: Counter[str]) -> str:
    named = [f"{node} ({n})" if n > 1 else node for node, n in sorted(nodes.items())]
    more = f" and {len(named) - _NODES} more" if len(named) > _NODES else ""
    return ", ".join(named[:_NODES]) + more


def _by(group: Group) -> str:
    done = [
        f"moving {count(group.moves, 'running pod')}" if group.moves else "",
        f"evicting {count(group.evictions, 'pod')} for good" if group.evictions else "",
    ]
    by = " and ".join(filter(None, done))
    return f"by {by} (cost {group.cost})" if by else "without disturbing any running pod"


def outcome_object(groups: Outcome) -> list[dict[str, Any]]:
    """Return what becomes of the new pods as JSON types."""
    return [
        {
            "namespace": group.pods[0].namespace,
            "owner": str(group.pods[0].owner) if group.pods[0].owner else "",
            "pods": [pod.name for pod in group.pods],
            "runNow": dict(sorted(group.now.items())),
            "runWithPlan": dict(sorted(group.planned.items())),
            "moves": group.moves,
            "evictions": group.evictions,
            "cost": group.cost,
            "verdict": group.said.verdict,
        }
        for group in groups
    ]
