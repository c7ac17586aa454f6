"""From Kubernetes objects to records: checked field by field, equal parts shared.

Who calls it: `Builder` is fed items by `fairstow.cluster.dump` and by `fairstow.kube`. Every
refusal is an `InputError` naming object and field, so that a person can find it in the file.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.gangs import TOTAL_COUNT, gang_of
from fairstow.cluster.items import FETCH, Item, sentence
from fairstow.cluster.model import Budget, Labels, Node, Owner, Pod, Taint
from fairstow.cluster.requests import parse_all
from fairstow.cluster.shapes import read_selector, read_shape
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.storage import Readers, StorageReader
from fairstow.cluster.times import seconds

T = TypeVar("T", bound=Hashable)

DEFAULT_NAMESPACE = "default"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_DELETING_TAINTS = (
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
)
# Annotations that say something about placement; the rest would only cost memory.
_KEPT_ANNOTATIONS = (
    "fairstow.dev/",
    "karpenter.sh/do-not-disrupt",
    "cluster-autoscaler.kubernetes.io/safe-to-evict",
    TOTAL_COUNT,
)
_TWICE = "Leave one of the two out; dumps taken at two moments can't be put together."
_KINDS_NOTED = 50
_ANY_GROUP = "*"
"""PodGroup: several schedulers have their own."""


class Builder:
    """Collects objects one at a time and makes a `Snapshot` of them.

    Args:
        live: the objects come from a running cluster, read kind after kind, so a pod on a node
            that is gone by now is left out and a node that reports no room yet takes nothing.
            In a dump both are damage.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._live = live
        self._nodes: dict[str, Node] = {}
        self._pods: dict[tuple[str, str], Pod] = {}
        self._budgets: dict[tuple[str, str], Budget] = {}
        self._where: dict[str, str] = {}
        self._newest: int | None = None
        self._priority_classes: dict[int, str] = {}
        self._disruptable_jobs: set[str] = set()
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._gang_sizes: dict[str, int] = {}
        self._storage = StorageReader()
        self._found: set[str] = set()
        self._interned: dict[Hashable, Any] = {}
        self._readers: Readers = {
            "Node": ("", wire.Node, self._node),
            "Pod": ("", wire.Pod, self._pod),
            "Namespace": ("", wire.Namespace, self._namespace),
            "PodGroup": (_ANY_GROUP, wire.PodGroup, self._pod_group),
            "PodDisruptionBudget": ("policy", wire.Budget, self._budget),
            "PriorityClass": ("scheduling.k8s.io", wire.PriorityClass, self._priority_class),
            "Job": ("batch", wire.Job, self._job),
            **self._storage.readers,
        }

    def add(self, item: Item) -> None:
        """Take one object in; kinds that placement doesn't depend on are only noted.

        Raises:
            InputError: the object is malformed; names object and field.
        """
        if not item.kind:
            raise InputError(
                item.where, "field kind: missing", f"Fetch a cluster's state with:\n  {FETCH}"
            )
        kind = item.kind.removesuffix("List")
        group, into, take = self._readers.get(kind, ("", None, None))
        elsewhere = item.api_version and item.api_version.rpartition("/")[0] != group
        if elsewhere and group != _ANY_GROUP:
            kind, into = item.api_version + " " + kind, None  # another API's kind, e.g. Volcano's
        if len(self._found) < _KINDS_NOTED:
            self._found.add(kind)
        if into is None or take is None or kind != item.kind:
            return
        try:
            take(item.decode(into), item)
        except InputError:
            raise
        except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
            raise InputError(item.where, sentence(error)) from error

    def build(self) -> Snapshot:
        """Return the snapshot of everything added.

        Raises:
            InputError: there are no nodes, or a pod stands on a node that isn't there.
        """
        if not self._nodes:
            found = printable(", ".join(sorted(self._found))) or "nothing"
            raise InputError(
                "cluster" if self._live else "input",
                f"holds no Node (found: {found})",
                f"Fetch a cluster's state with:\n  {FETCH}",
            )
        return Snapshot(
            nodes=tuple(sorted(self._nodes.values(), key=lambda n: n.name)),
            pods=self._settled(),
            budgets=tuple(b for _, b in sorted(self._budgets.items())),
            disruptable_jobs=frozenset(self._disruptable_jobs),
            priority_classes=dict(sorted(self._priority_classes.items())),
            namespaces=dict(sorted(self._namespaces.items())),
            known=frozenset(self._found & self._readers.keys()),
            storage=self._storage.storage,
            gang_sizes=dict(sorted(self._gang_sizes.items())),
            taken_at=self._newest,
        )

    def _settled(self) -> tuple[Pod, ...]:
        """Return the pods in order, none of them on a node that isn't there."""
        pods = [pod for _, pod in sorted(self._pods.items())]
        # What terminates on a node that is gone holds room nowhere.
        lost = [p for p in pods if p.node and p.node not in self._nodes and not p.terminating]
        if lost and not self._live:
            raise InputError(
                self._where[lost[0].uid],
                f"field spec.nodeName: no Node {lost[0].node} in the input"
                + (f" ({len(lost)} pods are like this)" if len(lost) > 1 else ""),
                "Nodes and pods must come from one moment. Fetch both together:\n  " + FETCH,
            )
        return tuple(
            msgspec.structs.replace(p, nominated="") if p.nominated not in self._nodes else p
            for p in pods
            if not p.node or p.node in self._nodes
        )

    def _intern(self, value: T) -> T:
        shared: T = self._interned.setdefault(value, value)
        return shared

    def _claim(self, meta: wire.Metadata, item: Item, namespace: str = "") -> str:
        """Return the object's UID (its name where it has none), which is nobody else's."""
        name = f"{namespace}/{meta.name}" if namespace else meta.name
        where = item.named(name)
        uid = meta.uid or f"{item.kind}/{name}"
        if uid in self._where:
            raise InputError(where, f"field metadata.uid: {printable(uid)} is also that of "
                f"{self._where[uid]}", _TWICE)  # fmt: skip
        self._where[uid] = where
        return uid

    def _node(self, raw: wire.Node, item: Item) -> None:
        meta, spec = raw.metadata, raw.spec or wire.NodeSpec()
        status = raw.status or wire.NodeStatus()
        self._claim(meta, item)
        self._time(meta.creation_timestamp, "metadata.creationTimestamp", item)
        for condition in status.conditions or ():
            self._time(condition.last_heartbeat_time, "status.conditions.lastHeartbeatTime", item)
        if meta.name in self._nodes:
            raise InputError(item.where, f"field metadata.name: {meta.name} occurs twice", _TWICE)
        # The API server takes capacity for allocatable where a node reports that alone.
        field = "status.allocatable" if status.allocatable else "status.capacity"
        room = status.allocatable or status.capacity
        if not room and not self._live:
            raise InputError(
                item.where,
                "field status.allocatable: missing, and so is status.capacity: its room is unknown",
                "Keep the status of nodes in the dump (kubectl get … -o json writes it).",
            )
        taints = tuple(
            self._intern(Taint(t.key, t.value or "", t.effect)) for t in spec.taints or ()
        )
        self._nodes[meta.name] = Node(
            name=meta.name,
            labels=dict(self._labels(meta.labels)),
            taints=taints,
            allocatable=parse_all(room, field),
            unschedulable=bool(spec.unschedulable),
            closed=_closed(meta, taints, status.conditions or ())
            or ("" if room else "reports no room yet"),
            features=self._intern(tuple(sorted(status.declared_features or ()))),
        )

    def _pod(self, raw: wire.Pod, item: Item) -> None:
        meta, spec, status = raw.metadata, raw.spec, raw.status or wire.PodStatus()
        namespace = meta.namespace or DEFAULT_NAMESPACE
        uid = self._claim(meta, item, namespace)
        if (namespace, meta.name) in self._pods:
            raise InputError(item.where, f"field metadata.name: {meta.name} occurs twice", _TWICE)
        created = self._time(meta.creation_timestamp, "metadata.creationTimestamp", item)
        started = self._time(status.start_time, "status.startTime", item)
        if status.phase in ("Succeeded", "Failed"):
            return
        conditions = {c.type: c for c in status.conditions or ()}
        scheduled, ready = conditions.get("PodScheduled"), conditions.get("Ready")
        unfit = scheduled is not None and scheduled.reason == "Unschedulable"
        judged = seconds(scheduled.last_transition_time or "") if scheduled is not None else None
        annotations = meta.annotations or {}
        self._pods[namespace, meta.name] = Pod(
            namespace=self._intern(namespace),
            name=meta.name,
            uid=uid,
            labels=self._labels(meta.labels),
            annotations=self._labels(
                {k: v for k, v in annotations.items() if k.startswith(_KEPT_ANNOTATIONS)}
            ),
            owner=self._owner(meta),
            shape=self._intern(read_shape(raw, self._intern)),
            node=self._intern(spec.node_name or ""),
            nominated=status.nominated_node_name or "",
            terminating=meta.deletion_timestamp is not None,
            gated=bool(spec.scheduling_gates),
            ready=ready is not None and ready.status == "True",
            mirror=MIRROR_ANNOTATION in annotations,
            unschedulable=scheduled.message or "" if scheduled is not None and unfit else "",
            gang=self._intern(gang_of(namespace, meta.labels or {}, annotations)),
            started=(created if started is None else started) if spec.node_name else None,
            waiting_since=(created if judged is None else judged) if unfit else None,
        )

    def _time(self, text: str | None, field: str, item: Item) -> int | None:
        """Return a time, which may be the newest so far; None where there is none."""
        if not text:
            return None
        moment = seconds(text)
        if moment is None:
            raise InputError(item.where, f"field {field}: {printable(text)} is no RFC 3339 time")
        self._newest = moment if self._newest is None else max(self._newest, moment)
        return moment

    def _owner(self, meta: wire.Metadata) -> Owner | None:
        for reference in meta.owner_references or ():
            if reference.controller:
                group = reference.api_version.partition("/")[0]
                return self._intern(Owner(reference.kind, reference.name, reference.uid, group))
        return None

    def _labels(self, labels: wire.Strings) -> Labels:
        return self._intern(tuple(sorted((labels or {}).items())))

    def _budget(self, raw: wire.Budget, item: Item) -> None:
        meta, status = raw.metadata, raw.status or wire.BudgetStatus()
        namespace = meta.namespace or DEFAULT_NAMESPACE
        self._claim(meta, item, namespace)
        if (namespace, meta.name) in self._budgets:
            raise InputError(item.where, f"field metadata.name: {meta.name} occurs twice", _TWICE)
        # The Eviction API answers 429 while the status lags behind the spec.
        fresh = (status.observed_generation or 0) >= (meta.generation or 0)
        self._budgets[namespace, meta.name] = Budget(
            namespace=namespace,
            name=meta.name,
            selector=read_selector(raw.spec.selector if raw.spec else None),
            allowed=max(status.disruptions_allowed, 0) if fresh else 0,
        )

    def _priority_class(self, raw: wire.PriorityClass, _item: Item) -> None:
        self._priority_classes[raw.value] = min(
            raw.metadata.name, self._priority_classes.get(raw.value, raw.metadata.name)
        )

    def _job(self, raw: wire.Job, item: Item) -> None:
        uid = self._claim(raw.metadata, item, raw.metadata.namespace or DEFAULT_NAMESPACE)
        policy = raw.spec.pod_failure_policy if raw.spec else None
        for rule in (policy.rules if policy else None) or ():
            if rule.action != "Ignore":
                break  # the first rule that matches decides, and this one may match an eviction
            if any(
                c.type == "DisruptionTarget" and c.status in (None, "True")
                for c in rule.on_pod_conditions or ()
            ):
                self._disruptable_jobs.add(uid)

    def _pod_group(self, raw: wire.PodGroup, _item: Item) -> None:
        least = raw.spec.min_member if raw.spec else None
        if least is not None:
            name = f"{raw.metadata.namespace or DEFAULT_NAMESPACE}/{raw.metadata.name}"
            self._gang_sizes[name] = max(least, self._gang_sizes.get(name, 0))

    def _namespace(self, raw: wire.Namespace, _item: Item) -> None:
        self._namespaces[raw.metadata.name] = dict(self._labels(raw.metadata.labels))


def build(items: Iterable[Item]) -> Snapshot:
    """Return the snapshot of a dump's items."""
    builder = Builder()
    for item in items:
        builder.add(item)
    return builder.build()


def _closed(
    meta: wire.Metadata, taints: tuple[Taint, ...], conditions: Iterable[wire.Condition]
) -> str:
    """Say why a node takes nothing at all, whatever a pod tolerates; "" if it may."""
    if meta.deletion_timestamp is not None:
        return "is being deleted"
    if any(t.key in _DELETING_TAINTS for t in taints):
        return "is being removed by an autoscaler"
    if not any(c.type == "Ready" and c.status == "True" for c in conditions):
        return "is not Ready"
    return ""
