"""One Kubernetes object as what a snapshot keeps of it: checked field by field, equal parts shared.

Who calls it: `project.Builder` for every object of a dump, `live.LiveCluster` for every event of a
watch. Every refusal is an `InputError` naming object and field, so that a person can find it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.engines import READERS as ENGINES
from fairstow.cluster.errors import InputError, printable
from fairstow.cluster.gangs import TOTAL_COUNT, gang_of
from fairstow.cluster.items import Item, sentence
from fairstow.cluster.kept import READERS as KEPT
from fairstow.cluster.model import Budget, Labels, Node, Owner, Pod, Taint
from fairstow.cluster.requests import parse_all
from fairstow.cluster.shapes import read_selector, read_shape
from fairstow.cluster.storage import READERS as STORAGE
from fairstow.cluster.times import seconds

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
_ANY_GROUP = "*"
"""PodGroup: several schedulers have their own."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """What one object says.

    Attributes:
        name: "namespace/name", or the name of an object in no namespace.
        value: its record, or a pair of key and record; None where it says nothing that counts.
        uid: its UID (its kind and name where it has none), of kinds that others refer to by it.
        moment: the newest time in it, in seconds since 1970.
    """

    name: str
    value: Any
    uid: str = ""
    moment: int | None = None


class Reader:
    """Reads objects one at a time.

    Args:
        live: the objects come from a running cluster, where a node that reports no room yet takes
            nothing. In a dump that is damage.
        intern: returns the shared one of equal values.
    """

    def __init__(self, *, live: bool, intern: Callable[[Any], Any]) -> None:
        self._live = live
        self._intern = intern
        self._kinds: dict[str, tuple[str, type[msgspec.Struct], Callable[[Any, Item], Read]]] = {
            "Node": ("", wire.Node, self._node),
            "Pod": ("", wire.Pod, self._pod),
            "Namespace": ("", wire.Namespace, self._namespace),
            "PodGroup": (_ANY_GROUP, wire.PodGroup, self._pod_group),
            "PodDisruptionBudget": ("policy", wire.Budget, self._budget),
            "PriorityClass": ("scheduling.k8s.io", wire.PriorityClass, self._priority_class),
            "Job": ("batch", wire.Job, self._job),
        }
        for kind, (group, into, function) in (STORAGE | ENGINES | KEPT).items():
            self._kinds[kind] = (group, into, _named(function))

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that are read."""
        return frozenset(self._kinds)

    def kind_of(self, item: Item) -> tuple[str, bool]:
        """Return an item's kind, that of an empty list included, and whether it is one to read."""
        kind = item.kind.removesuffix("List")
        if kind not in self._kinds:
            return kind, False
        group = self._kinds[kind][0]
        if item.api_version and group not in (_ANY_GROUP, item.api_version.rpartition("/")[0]):
            return f"{item.api_version} {kind}", False  # another API's kind of the same name
        return kind, kind == item.kind

    def read(self, item: Item) -> Read:
        """Return what an object of a kind to read says.

        Raises:
            InputError: the object is malformed; names object and field.
        """
        _, into, function = self._kinds[item.kind]
        try:
            return function(item.decode(into), item)
        except InputError:
            raise
        except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
            raise InputError(item.where, sentence(error)) from error

    def _node(self, raw: wire.Node, item: Item) -> Read:
        meta, spec = raw.metadata, raw.spec or wire.NodeSpec()
        status = raw.status or wire.NodeStatus()
        conditions = status.conditions or ()
        moments = [_time(meta.creation_timestamp, "metadata.creationTimestamp", item)]
        for condition in conditions:
            heartbeat = condition.last_heartbeat_time
            moments.append(_time(heartbeat, "status.conditions.lastHeartbeatTime", item))
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
        node = Node(
            name=meta.name,
            labels=dict(self._labels(meta.labels)),
            taints=taints,
            allocatable=parse_all(room, field),
            unschedulable=bool(spec.unschedulable),
            closed=_closed(meta, taints, conditions) or ("" if room else "reports no room yet"),
            features=self._intern(tuple(sorted(status.declared_features or ()))),
        )
        return Read(meta.name, node, _uid(meta, item, meta.name), _newest(moments))

    def _pod(self, raw: wire.Pod, item: Item) -> Read:
        meta, spec, status = raw.metadata, raw.spec, raw.status or wire.PodStatus()
        namespace = meta.namespace or DEFAULT_NAMESPACE
        name = f"{namespace}/{meta.name}"
        uid = _uid(meta, item, name)
        created = _time(meta.creation_timestamp, "metadata.creationTimestamp", item)
        started = _time(status.start_time, "status.startTime", item)
        moment = _newest((created, started))
        if status.phase in ("Succeeded", "Failed"):
            return Read(name, None, uid, moment)
        conditions = {c.type: c for c in status.conditions or ()}
        scheduled, ready = conditions.get("PodScheduled"), conditions.get("Ready")
        unfit = scheduled is not None and scheduled.reason == "Unschedulable"
        judged = seconds(scheduled.last_transition_time or "") if scheduled is not None else None
        annotations = meta.annotations or {}
        pod = Pod(
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
        return Read(name, pod, uid, moment)

    def _owner(self, meta: wire.Metadata) -> Owner | None:
        for reference in meta.owner_references or ():
            if reference.controller:
                group = reference.api_version.partition("/")[0]
                owner: Owner = self._intern(
                    Owner(reference.kind, reference.name, reference.uid, group)
                )
                return owner
        return None

    def _labels(self, labels: wire.Strings) -> Labels:
        shared: Labels = self._intern(tuple(sorted((labels or {}).items())))
        return shared

    def _budget(self, raw: wire.Budget, item: Item) -> Read:
        meta, status = raw.metadata, raw.status or wire.BudgetStatus()
        name = _full_name(meta)
        # The Eviction API answers 429 while the status lags behind the spec.
        fresh = (status.observed_generation or 0) >= (meta.generation or 0)
        budget = Budget(
            namespace=meta.namespace or DEFAULT_NAMESPACE,
            name=meta.name,
            selector=read_selector(raw.spec.selector if raw.spec else None),
            allowed=max(status.disruptions_allowed, 0) if fresh else 0,
        )
        return Read(name, budget, _uid(meta, item, name))

    def _priority_class(self, raw: wire.PriorityClass, _item: Item) -> Read:
        return Read(raw.metadata.name, (raw.value, raw.metadata.name))

    def _job(self, raw: wire.Job, item: Item) -> Read:
        name = _full_name(raw.metadata)
        uid = _uid(raw.metadata, item, name)
        return Read(name, uid if _disruptable(raw) else None, uid)

    def _pod_group(self, raw: wire.PodGroup, _item: Item) -> Read:
        least = raw.spec.min_member if raw.spec else None
        name = _full_name(raw.metadata)
        return Read(name, None if least is None else (name, least))

    def _namespace(self, raw: wire.Namespace, _item: Item) -> Read:
        return Read(raw.metadata.name, (raw.metadata.name, dict(self._labels(raw.metadata.labels))))


def _named(function: Callable[[Any], Any]) -> Callable[[Any, Item], Read]:
    return lambda raw, _item: Read(_plain_name(raw.metadata), function(raw))


def _plain_name(meta: wire.Metadata) -> str:
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


def _full_name(meta: wire.Metadata) -> str:
    return f"{meta.namespace or DEFAULT_NAMESPACE}/{meta.name}"


def _uid(meta: wire.Metadata, item: Item, name: str) -> str:
    return meta.uid or f"{item.kind}/{name}"


def _time(text: str | None, field: str, item: Item) -> int | None:
    """Return a time; None where there is none."""
    if not text:
        return None
    moment = seconds(text)
    if moment is None:
        raise InputError(item.where, f"field {field}: {printable(text)} is no RFC 3339 time")
    return moment


def _newest(moments: Iterable[int | None]) -> int | None:
    return max((m for m in moments if m is not None), default=None)


def _disruptable(raw: wire.Job) -> bool:
    """Whether a Job's podFailurePolicy ignores the disruption of its pods."""
    policy = raw.spec.pod_failure_policy if raw.spec else None
    for rule in (policy.rules if policy else None) or ():
        if rule.action != "Ignore":
            return False  # the first rule that matches decides, and it may match an eviction
        if any(
            c.type == "DisruptionTarget" and c.status in (None, "True")
            for c in rule.on_pod_conditions or ()
        ):
            return True
    return False


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
