"""The cluster as the checker sees it: what it needs of each raw Kubernetes object, and no more."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairstow.packing.checker import engines
from fairstow.packing.checker.engines import Engines
from fairstow.packing.checker.fields import CheckError, Fields
from fairstow.packing.checker.moments import read_moment
from fairstow.packing.checker.pods import Pod, read_namespace, read_pod
from fairstow.packing.checker.quantity import in_scheduler_units, read_amounts
from fairstow.packing.checker.selectors import Selector, Taint, matches, read_selector
from fairstow.packing.checker.storage import KINDS as STORAGE_KINDS
from fairstow.packing.checker.storage import Storage

_CLUSTER_WIDE = (
    "Node",
    "Namespace",
    *(kind for kind in STORAGE_KINDS if kind != "PersistentVolumeClaim"),
)
GROUPS = {
    "Node": "",
    "Namespace": "",
    "Pod": "",
    "PodDisruptionBudget": "policy",
    "Job": "batch",
    "PersistentVolume": "",
    "PersistentVolumeClaim": "",
    "StorageClass": "storage.k8s.io",
    "CSINode": "storage.k8s.io",
    "CSIDriver": "storage.k8s.io",
    "VolumeAttachment": "storage.k8s.io",
    **dict.fromkeys(engines.KINDS, engines.GROUP),
}
"""Kinds that are read, with their API group: others have kinds of the same name."""

POD_GROUP = "PodGroup"
"""Read whatever its API group: several schedulers have their own."""


@dataclass(frozen=True)
class Node:
    """A node; `allocatable` in the scheduler's units."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    unschedulable: bool
    ready: bool
    deleted: bool
    allocatable: Mapping[str, int]
    features: frozenset[str]


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget; `forbids` says why it allows nothing at all, or is ""."""

    namespace: str
    name: str
    selector: Selector | None
    allowed: int
    forbids: str


@dataclass
class Cluster:
    """All that was read; pods by "namespace/name", budgets by namespace.

    `tolerant_jobs` are those an eviction costs nothing, as ("namespace/name", uid); `known` are
    the kinds of which the input says all there is; `gangs` are the minMember of each PodGroup;
    `newest` is the newest time of a pod or node, in seconds since 1970.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    budgets: dict[str, list[Budget]] = field(default_factory=dict)
    tolerant_jobs: set[tuple[str, str]] = field(default_factory=set)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    storage: Storage = field(default_factory=Storage)
    known: set[str] = field(default_factory=set)
    gangs: dict[str, int] = field(default_factory=dict)
    engines: Engines = field(default_factory=Engines)
    newest: int | None = None

    def note_time(self, moment: int | None) -> None:
        """Take a time into account, which may be the newest."""
        if moment is not None:
            self.newest = moment if self.newest is None else max(self.newest, moment)

    def budgets_of(self, pod: Pod) -> list[Budget]:
        """Return the disruption budgets that cover a pod."""
        there = self.budgets.get(pod.namespace, ())
        return [budget for budget in there if matches(budget.selector, pod.labels)]

    def running(self) -> list[Pod]:
        """Return the pods on nodes that are there."""
        return [pod for pod in self.pods.values() if pod.node in self.nodes]


def read_cluster(objects: Iterable[Mapping[str, Any]], kinds_known: Iterable[str] = ()) -> Cluster:
    """Read raw objects; kinds that don't matter are passed over.

    Raises:
        CheckError: an object is malformed, or two different ones have the same name or uid.
    """
    if isinstance(objects, str | bytes | Mapping) or not isinstance(objects, Iterable):
        raise CheckError("the cluster must be given as a list of Kubernetes objects")
    cluster = Cluster(known=set(kinds_known))
    seen: dict[tuple[str, str], object] = {}
    uids: dict[str, str] = {}
    for number, raw in enumerate(objects):
        item = Fields.of(f"object {number}", "", raw)
        kind = item.text("kind")
        if not kind or (kind.endswith("List") and item.has("items")):
            raise CheckError(f"object {number} must be a single Kubernetes object with a kind")
        if not _matters(kind, item.text("apiVersion")):
            continue
        name = item.map("metadata").text("name")
        if not name:
            raise CheckError(f"object {number}, a {kind}, has no metadata.name")
        key = name if kind in _CLUSTER_WIDE else f"{read_namespace(item)}/{name}"
        where = f"{kind} {key}"
        identity = (item.text("apiVersion") + kind if kind == POD_GROUP else kind, key)
        if identity in seen:
            if seen[identity] == raw:
                continue
            raise CheckError(f"{where} is there twice, with different contents")
        seen[identity] = raw
        cluster.known.add(kind)
        _add(cluster, kind, key, Fields(where, "", item.value))
        if kind == "Pod":
            other = uids.setdefault(cluster.pods[key].uid, key)
            if other != key:
                raise CheckError(f"{where} has the same uid as Pod {other}")
    return cluster


def _matters(kind: str, api_version: str) -> bool:
    """Whether an object is read; one without apiVersion is taken for what its kind says."""
    group = api_version.partition("/")[0] if "/" in api_version else ""
    if kind in GROUPS:
        return not api_version or group == GROUPS[kind]
    return kind == POD_GROUP


def _add(cluster: Cluster, kind: str, key: str, item: Fields) -> None:
    match kind:
        case "Node":
            cluster.nodes[key] = _read_node(item)
            cluster.note_time(read_moment(item.map("metadata"), "creationTimestamp"))
            for condition in item.map("status").maps("conditions"):
                cluster.note_time(read_moment(condition, "lastHeartbeatTime"))
        case "Pod":
            cluster.pods[key] = read_pod(item)
            cluster.note_time(cluster.pods[key].newest)
        case "PodDisruptionBudget":
            budget = _read_budget(item)
            cluster.budgets.setdefault(budget.namespace, []).append(budget)
        case "Job":
            if _ignores_disruption(item):
                cluster.tolerant_jobs.add((key, item.map("metadata").text("uid")))
        case "Namespace":
            cluster.namespaces[key] = item.map("metadata").text_map("labels")
        case "PodGroup":
            spec = item.map("spec")
            if spec.has("minMember"):
                least = cluster.gangs.get(key, 0)
                cluster.gangs[key] = max(least, spec.integer("minMember"))
        case "ServingPool" | "InstanceDrain":
            cluster.engines.add(kind, key, item)
        case _:
            cluster.storage.add(kind, key, item)


def _read_node(item: Fields) -> Node:
    metadata, spec, status = item.map("metadata"), item.map("spec"), item.map("status")
    ready = [c.text("status") for c in status.maps("conditions") if c.text("type") == "Ready"]
    return Node(
        name=metadata.text("name"),
        labels=metadata.text_map("labels"),
        taints=tuple(
            Taint(t.text("key"), t.text("value"), t.text("effect")) for t in spec.maps("taints")
        ),
        unschedulable=spec.flag("unschedulable"),
        ready=ready == ["True"],
        deleted=metadata.has("deletionTimestamp"),
        # The API server's default: without allocatable, the capacity.
        allocatable=in_scheduler_units(
            read_amounts(status, "allocatable" if status.has("allocatable") else "capacity")
        ),
        features=frozenset(status.texts("declaredFeatures")),
    )


def _read_budget(item: Fields) -> Budget:
    metadata, status = item.map("metadata"), item.map("status")
    allowed = status.integer("disruptionsAllowed")
    if not status.has("disruptionsAllowed"):
        forbids = "has no status yet"
    elif status.integer("observedGeneration") < metadata.integer("generation"):
        forbids = "has a stale status"
    elif allowed <= 0:
        forbids = f"has disruptionsAllowed {allowed}"
    else:
        forbids = ""
    selector = read_selector(item.map("spec"), "selector")
    return Budget(read_namespace(item), metadata.text("name"), selector, allowed, forbids)


def _ignores_disruption(job: Fields) -> bool:
    """Whether an eviction costs the Job nothing: nothing stricter may match before the Ignore."""
    for rule in job.map("spec").map("podFailurePolicy").maps("rules"):
        if rule.text("action") != "Ignore":
            return False
        for pattern in rule.maps("onPodConditions"):
            if (pattern.text("type"), pattern.text("status") or "True") == (
                "DisruptionTarget",
                "True",
            ):
                return True
    return False
