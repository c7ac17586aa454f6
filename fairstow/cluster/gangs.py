"""Gangs: pods that are to run together or not at all, and how many of them must run.

Who calls it: `reading.Reader` for what a pod belongs to, the planner for what a gang needs.
Sources: coscheduling's PodGroup (sigs.k8s.io/scheduler-plugins), Volcano's PodGroup, Kueue's plain
pod groups. Gangs of other kinds (`shapes`) aren't modelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot

LABELS = (
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "kueue.x-k8s.io/pod-group-name",
)
ANNOTATION = "scheduling.k8s.io/group-name"
TOTAL_COUNT = "kueue.x-k8s.io/pod-group-total-count"


@dataclass(frozen=True, slots=True)
class Gang:
    """A gang of a snapshot.

    Attributes:
        name: "namespace/name".
        members: those that haven't ended, gated and terminating ones too.
        needed: how many must run.
        why: who says so.
    """

    name: str
    members: tuple[Pod, ...]
    needed: int
    why: str

    @property
    def running(self) -> int:
        """Members that have a node, or a nomination, and keep it."""
        return sum(bool(p.home) and not p.terminating for p in self.members)


def gang_of(namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """Return "namespace/name" of the gang a pod belongs to, or ""."""
    names = [labels.get(key) for key in LABELS] + [annotations.get(ANNOTATION)]
    return next((f"{namespace}/{name}" for name in names if name), "")


def gangs(snapshot: Snapshot) -> dict[str, Gang]:
    """Return the gangs that have pods in a snapshot, by name."""
    members: dict[str, list[Pod]] = {}
    for pod in snapshot.pods:
        if pod.gang:
            members.setdefault(pod.gang, []).append(pod)
    return {
        name: Gang(name, tuple(pods), *_needed(snapshot, name, pods))
        for name, pods in sorted(members.items())
    }


def _needed(snapshot: Snapshot, name: str, members: list[Pod]) -> tuple[int, str]:
    if name in snapshot.gang_sizes:
        return snapshot.gang_sizes[name], "minMember of its PodGroup"
    counts = [dict(pod.annotations).get(TOTAL_COUNT, "") for pod in members]
    numbers = [int(count) for count in counts if count.isascii() and count.isdigit()]
    if numbers:
        return max(numbers), f"annotation {TOTAL_COUNT}"
    return len(members), "all there are, for nothing says how many"
