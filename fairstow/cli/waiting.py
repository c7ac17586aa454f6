"""The pods that wait even with the plan, those that wait for one reason together."""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.cluster.model import Pod
from fairstow.packing.explain import explain_all
from fairstow.packing.model import Decision


@dataclass(frozen=True)
class Group:
    """Pods of one owner and one shape."""

    pods: tuple[Pod, ...]


def reasons(decision: Decision, groups: Sequence[Group]) -> list[str]:
    """Return why each group waits, as one sentence."""
    first = [group.pods[0] for group in groups]
    said = explain_all(decision.request.snapshot, first, decision)
    return [each.verdict.removeprefix("Waits: ") for each in said]


def still_waiting(decision: Decision) -> tuple[Group, ...]:
    """Return the pods that have no node after the plan, highest priority first."""
    placed = {p.pod.uid for p in decision.placements}
    waiting = [p for p in decision.request.snapshot.pending if p.uid not in placed]
    waiting += [e.pod for e in decision.evictions]
    groups: dict[tuple[object, ...], list[Pod]] = {}
    for pod in waiting:
        owner = pod.owner.uid if pod.owner else pod.uid
        groups.setdefault((-pod.shape.priority, pod.namespace, owner, pod.shape), []).append(pod)
    return tuple(Group(tuple(pods)) for _, pods in groups.items())
