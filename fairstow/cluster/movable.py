"""Who may be disturbed: a positive list, with the reason for everyone else.

A pod may be moved only if something recreates it and losing it costs no more than a restart:
ReplicaSets, StatefulSets, and Jobs whose podFailurePolicy ignores DisruptionTarget (else an
eviction counts against backoffLimit). Everything else joins by the annotation
`fairstow.dev/movable: "true"`, which overrides no other reason: data on a node's disk, in an
emptyDir or in an ephemeral volume goes with the pod whatever anybody says. (The claim of an
ephemeral volume belongs to its pod and is deleted with it; the pod made in its stead gets a new,
empty one.) A pod under two budgets can't be evicted at all: the Eviction API
answers 500. An LLM engine stays while its pool can't spare it (`engines`). Some may be moved, but
not yet: those that started only now, and those of a workload or a namespace that was disturbed a
short while ago (`Movability.rest`).
"""

from collections import Counter
from collections.abc import Collection
from functools import cached_property

from fairstow.cluster.model import Budget, Pod
from fairstow.cluster.selectors import selects
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import JUDGED
from fairstow.cluster.times import duration

MOVABLE = "fairstow.dev/movable"
_NEVER = {
    "fairstow.dev/do-not-disrupt": "true",
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}
_RECREATED = frozenset({("apps", "ReplicaSet"), ("apps", "StatefulSet")})
SYSTEM_CRITICAL = 2_000_000_000
_PART_OF = ("app.kubernetes.io/part-of", "fairstow")


class Movability:
    """Answers, for pods of one snapshot, whether they may be moved and under which budget.

    Args:
        snapshot: the cluster.
        min_age: seconds that a pod must have run.
        cooling: workloads to leave alone, as `namespace/Kind/name` (`Pod.workload`).
        spared: namespaces to leave alone.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        min_age: int = 0,
        cooling: Collection[str] = (),
        spared: Collection[str] = (),
    ) -> None:
        self._snapshot, self._min_age, self._cooling = snapshot, min_age, cooling
        self._spared = spared
        self._by_namespace: dict[str, list[Budget]] = {}
        for budget in snapshot.budgets:
            self._by_namespace.setdefault(budget.namespace, []).append(budget)
        self._matches: dict[tuple[str, object], tuple[Budget, ...]] = {}

    def budgets(self, pod: Pod) -> tuple[Budget, ...]:
        """Return the PodDisruptionBudgets that select a pod."""
        key = (pod.namespace, pod.labels)
        if key not in self._matches:
            labels = dict(pod.labels)
            self._matches[key] = tuple(
                b for b in self._by_namespace.get(pod.namespace, ()) if selects(b.selector, labels)
            )
        return self._matches[key]

    def refusal(self, pod: Pod) -> str:
        """Return why a running pod must stay where it is, as a phrase; "" if it may be moved."""
        return (
            _identity(pod)
            or self._claims(pod)
            or self._owner(pod)
            or self._budget(pod)
            or self._snapshot.engines.needed(pod)
            or self.rest(pod)
        )

    def rest(self, pod: Pod) -> str:
        """Return why a running pod is left alone for now, as a phrase, or ""."""
        if pod.namespace in self._spared:
            return "its namespace has been disturbed as much as an hour allows"
        if self._cooling and pod.workload in self._cooling:
            return "its workload was disturbed a short while ago"
        if not self._min_age:
            return ""
        if pod.started is None or self._snapshot.taken_at is None:
            return "its age isn't known"
        if self._snapshot.taken_at - pod.started < self._min_age:
            return f"it is younger than {duration(self._min_age)}"
        return ""

    def _claims(self, pod: Pod) -> str:
        """Reasons that lie in its claims: data that stays behind, a volume that can't follow."""
        for use in pod.shape.claims:
            if use.ephemeral:
                return f"its ephemeral volume {use.name} would be lost"
            if not {"PersistentVolumeClaim", "PersistentVolume"} <= self._snapshot.known:
                return f"its claim {use.name} may be a local volume, the input doesn't tell"
            storage = self._snapshot.storage
            claim = storage.claims.get((pod.namespace, use.name))
            volume = storage.volumes.get(claim.volume) if claim and claim.bound else None
            if claim is None or volume is None:
                return f"its claim {use.name} isn't bound"
            if volume.local:
                return f"its claim {use.name} is a local volume, whose data stays behind"
            if not claim.many_nodes and self._users[pod.namespace, use.name] > 1:
                return f"its claim {use.name} is for one node at a time, and other pods use it"
        return ""

    @cached_property
    def _users(self) -> Counter[tuple[str, str]]:
        """Pods that use or wait for a claim, by the claim's namespace and name."""
        return Counter(
            (pod.namespace, use.claim_of(pod.name))
            for pod in self._snapshot.pods
            for use in pod.shape.claims
        )

    def _owner(self, pod: Pod) -> str:
        if dict(pod.annotations).get(MOVABLE) == "true" or (
            pod.owner is not None and (pod.owner.group, pod.owner.kind) in _RECREATED
        ):
            return ""
        if pod.owner is None:
            return "no controller would recreate it"
        if (pod.owner.group, pod.owner.kind) == ("batch", "Job"):
            tolerant = pod.owner.uid in self._snapshot.disruptable_jobs
            return "" if tolerant else "its Job would count the eviction as a failure"
        return f"its owner is a {pod.owner.kind}, which isn't known to recreate it safely"

    def _budget(self, pod: Pod) -> str:
        budgets = self.budgets(pod)
        if len(budgets) > 1:
            return f"{len(budgets)} disruption budgets select it"
        if budgets and budgets[0].allowed == 0:
            return f"disruption budget {budgets[0].name} allows no disruption now"
        return ""


def _identity(pod: Pod) -> str:
    """Reasons that lie in the pod itself."""
    shape, annotations = pod.shape, dict(pod.annotations)
    if pod.terminating:
        return "it is terminating"
    if pod.mirror or (pod.owner is not None and pod.owner.kind in ("DaemonSet", "Node")):
        return "it belongs to its node"
    if pod.namespace == "kube-system" or shape.priority >= SYSTEM_CRITICAL:
        return "it is critical to the cluster"
    if _PART_OF in pod.labels:
        return "it is part of Fairstow"
    for key, value in _NEVER.items():
        if annotations.get(key) == value:
            return f"it is annotated {key}={value}"
    if pod.gang:
        return f"it is a member of gang {pod.gang}, which would lose it"
    if shape.local_storage:
        return f"its {shape.local_storage} would be lost"
    if unknown := [name for name in shape.unmodelled if name not in JUDGED]:
        return f"it uses {', '.join(unknown)}"
    return ""
