"""Who the plan speaks of, and that lists and steps say the same, before anything is replayed."""

import re

from fairstow.packing.checker.cluster import Cluster
from fairstow.packing.checker.plan import Change, Plan, PodRef
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.verdict import Report, Rule

_NAMED = re.compile(r"[A-Z][A-Za-z0-9]{0,62}/[a-z0-9][a-z0-9.-]{0,252}")


def check_changes(cluster: Cluster, plan: Plan, report: Report) -> None:
    """Check each placement, move and eviction against the pod as it is."""
    listed: set[str] = set()
    for change in plan.changes:
        ref = change.pod
        if ref.key in listed:
            message = f"{ref.key} is listed twice among placements, moves and evictions"
            report.add(Rule.POD_LISTED_TWICE, message, pod=ref.key)
        listed.add(ref.key)
        pod = _find(cluster, ref, report)
        if pod is None:
            continue
        if change.role == "placement":
            _check_pending(pod, report)
        else:
            _check_running(pod, change, report)
        owner = f"{pod.owner.kind}/{pod.owner.name}" if pod.owner else ""
        if not _NAMED.fullmatch(owner):
            owner = ""  # an owner reference may hold any text; a plan names what has a real name
        if change.owner != owner:
            message = f"the owner of {pod.key} is {owner!r}, the plan says {change.owner!r}"
            report.add(Rule.OWNER_MISMATCH, message, pod=pod.key)
        if change.role != "eviction":
            _check_requests(pod, change, report)


def _check_requests(pod: Pod, change: Change, report: Report) -> None:
    """The room that is kept for a pod is what it asks for: more locks others out, less loses it."""
    asked = {name: amount for name, amount in pod.requests.items() if amount} | {"pods": 1}
    kept = {name: amount for name, amount in change.requests.items() if amount}
    if kept != asked:
        names = sorted(n for n in asked.keys() | kept.keys() if asked.get(n) != kept.get(n))
        message = f"the plan keeps other room for {pod.key} than it asks for: {', '.join(names)}"
        report.add(Rule.REQUESTS_MISMATCH, message, pod=pod.key)


def _find(cluster: Cluster, ref: PodRef, report: Report, step: int | None = None) -> Pod | None:
    pod = cluster.pods.get(ref.key)
    if pod is None:
        report.add(Rule.POD_UNKNOWN, f"there is no pod {ref.key}", step=step, pod=ref.key)
        return None
    if pod.uid != ref.uid:
        message = f"pod {ref.key} has the uid {pod.uid}, the plan says {ref.uid}"
        report.add(Rule.POD_RECREATED, message, step=step, pod=ref.key)
        return None
    return pod


def _check_pending(pod: Pod, report: Report) -> None:
    reasons = []
    if pod.node:
        reasons.append(f"it is on {pod.node}")
    elif pod.nominated:
        reasons.append(f"preemption nominated it to {pod.nominated}")
    if pod.gated:
        reasons.append("it has scheduling gates")
    if pod.terminating:
        reasons.append("it is terminating")
    if pod.phase not in ("", "Pending"):
        reasons.append(f"its phase is {pod.phase}")
    for reason in reasons:
        message = f"{pod.key} doesn't wait for a node: {reason}"
        report.add(Rule.POD_NOT_PENDING, message, pod=pod.key)


def _check_running(pod: Pod, change: Change, report: Report) -> None:
    if pod.finished:
        message = f"{pod.key} can't be evicted: its phase is {pod.phase}"
        report.add(Rule.POD_NOT_ON_NODE, message, pod=pod.key, node=change.source)
    elif pod.node != change.source:
        place = f"on {pod.node}" if pod.node else "on no node"
        message = f"{pod.key} is {place}, the plan says {change.source}"
        report.add(Rule.POD_NOT_ON_NODE, message, pod=pod.key, node=change.source)
    if change.role == "move" and change.source == change.target:
        message = f"{pod.key} is moved from {change.source} to itself"
        report.add(Rule.MOVE_TO_SAME_NODE, message, pod=pod.key, node=change.source)


def check_steps(plan: Plan, report: Report) -> None:
    """Check that each change is carried out in exactly one step, and nothing else is."""
    changes = {change.pod: change for change in plan.changes}
    evicted: dict[PodRef, list[int]] = {}
    bound: dict[PodRef, list[tuple[int, str]]] = {}
    for number, step in enumerate(plan.steps, start=1):
        for ref in step.evict:
            evicted.setdefault(ref, []).append(number)
        for bind in step.bind:
            bound.setdefault(bind.pod, []).append((number, bind.node))
    for ref in evicted.keys() | bound.keys():
        if ref not in changes:
            number = min([*evicted.get(ref, ()), *(n for n, _ in bound.get(ref, ()))])
            message = f"step {number} touches {ref.key}, which the plan doesn't list with that uid"
            report.add(Rule.STEP_UNLISTED, message, step=number, pod=ref.key)
    for change in plan.changes:
        _check_roles(change, evicted.get(change.pod, []), bound.get(change.pod, []), report)


def _check_roles(
    change: Change, evicted: list[int], bound: list[tuple[int, str]], report: Report
) -> None:
    key, role = change.pod.key, change.role
    numbers = [*evicted, *(number for number, _ in bound)]
    if not numbers:
        report.add(Rule.STEP_MISSING, f"no step carries out the {role} of {key}", pod=key)
        return
    if len(evicted) > 1 or len(bound) > 1:
        where = ", ".join(map(str, sorted(numbers)))
        message = f"{key} is evicted {len(evicted)} and bound {len(bound)} times (steps {where})"
        report.add(Rule.STEP_REPEATED, message, step=min(numbers), pod=key)
    wanted = {"placement": (False, True), "move": (True, True), "eviction": (True, False)}[role]
    if (bool(evicted), bool(bound)) != wanted:
        does = "evicted and bound" if evicted and bound else "bound" if bound else "evicted"
        message = f"the {role} of {key} is {does} in the steps"
        report.add(Rule.STEP_ROLE_MISMATCH, message, step=min(numbers), pod=key)
    elif role == "move" and {*evicted} != {number for number, _ in bound}:
        message = f"{key} goes down in step {evicted[0]} and comes up in step {bound[0][0]}"
        report.add(Rule.STEP_ROLE_MISMATCH, message, step=evicted[0], pod=key)
    for number, node in bound:
        if change.target and node != change.target:
            message = f"step {number} binds {key} to {node}, its {role} says {change.target}"
            report.add(Rule.STEP_NODE_MISMATCH, message, step=number, pod=key, node=node)
