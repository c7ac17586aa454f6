"""The pods that wait even with the plan, those that wait for one reason together."""

from dataclasses import dataclass

from fairstow.cluster.model import Pod
from fairstow.packing.explain import explain
from fairstow.packing.model import Decision


@dataclass(frozen=True)
class Group:
    """Pods of one owner and one shape."""

    pods: tuple[Pod, ...]

    def reason(self, decision: Decision) -> str:
        """Return why they wait, as one sentence."""
        said = explain(decision.request.snapshot, self.pods[0], decision).verdict
        return said.removeprefix("Waits: ")


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
