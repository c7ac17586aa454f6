"""From Kubernetes objects to records: checked field by field, equal parts shared.

Who calls it: `Builder` is fed items by `fairstow.cluster.dump` and by `fairstow.kube`. Every
refusal is an `InputError` naming object and field, so that a person can find it in the file.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.dump import FETCH, Item
from fairstow.cluster.errors import InputError
from fairstow.cluster.model import (
    AntiAffinity,
    Budget,
    Labels,
    Node,
    NodeTerm,
    Owner,
    Pod,
    Requirement,
    Selector,
    Shape,
    Taint,
    Toleration,
)
from fairstow.cluster.requests import effective, parse_all
from fairstow.cluster.selectors import OPERATORS
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.volumes import read_volumes

T = TypeVar("T", bound=Hashable)

DEFAULT_NAMESPACE = "default"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_GANG_LABELS = (
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "scheduling.k8s.io/group-name",
    "kueue.x-k8s.io/pod-group-name",
)
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
)


class Builder:
    """Collects objects one at a time and makes a `Snapshot` of them."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._pods: dict[tuple[str, str], Pod] = {}
        self._where: dict[str, str] = {}
        self._budgets: list[Budget] = []
        self._priority_classes: dict[int, str] = {}
        self._disruptable_jobs: set[str] = set()
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._known: set[str] = set()
        self._interned: dict[Hashable, Any] = {}
        self._orphans: dict[str, tuple[str, str]] = {}
        self._readers: dict[str, tuple[type[msgspec.Struct], Callable[[Any, Item], None]]] = {
            "Node": (wire.Node, self._node),
            "Pod": (wire.Pod, self._pod),
            "PodDisruptionBudget": (wire.Budget, self._budget),
            "PriorityClass": (wire.PriorityClass, self._priority_class),
            "Job": (wire.Job, self._job),
            "Namespace": (wire.Namespace, self._namespace),
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
        self._known.add(item.kind.removesuffix("List"))
        into, take = self._readers.get(item.kind, (None, None))
        if into is None or take is None:
            return
        try:
            take(item.decode(into), item)
        except InputError:
            raise
        except (ValueError, RecursionError) as error:  # includes msgspec's own errors
            raise InputError(item.where, _field_first(str(error))) from error

    def build(self, *, orphans_are_errors: bool = True) -> Snapshot:
        """Return the snapshot of everything added.

        Args:
            orphans_are_errors: refuse pods bound to unknown nodes (a dump); else leave them
                out (a live cluster, where a node may be deleted between two reads).

        Raises:
            InputError: there are no nodes, or a pod stands on a node that isn't there.
        """
        if not self._nodes:
            found = ", ".join(sorted(self._known)) or "nothing"
            raise InputError(
                "input",
                f"holds no Node (found: {found})",
                f"Fetch a cluster's state with:\n  {FETCH}",
            )
        pods = list(self._pods.values())
        lost = [p for p in pods if p.node and p.node not in self._nodes]
        if lost and orphans_are_errors:
            raise InputError(
                self._where[lost[0].uid],
                f"field spec.nodeName: no Node {lost[0].node} in the input"
                + (f" ({len(lost)} pods are like this)" if len(lost) > 1 else ""),
                "Nodes and pods must come from one moment. Fetch both together:\n  " + FETCH,
            )
        gone = {p.uid for p in lost}
        return Snapshot(
            nodes=tuple(sorted(self._nodes.values(), key=lambda n: n.name)),
            pods=tuple(
                sorted((p for p in pods if p.uid not in gone), key=lambda p: (p.namespace, p.name))
            ),
            budgets=tuple(sorted(self._budgets, key=lambda b: b.ref)),
            disruptable_jobs=frozenset(self._disruptable_jobs),
            priority_classes=dict(sorted(self._priority_classes.items())),
            namespaces=self._namespaces,
            known=frozenset(self._known),
        )

    def _intern(self, value: T) -> T:
        shared: T = self._interned.setdefault(value, value)
        return shared

    def _claim_uid(self, meta: wire.Metadata, item: Item, namespace: str = "") -> str:
        uid = meta.uid or f"{namespace}/{meta.name}"
        if uid in self._where:
            raise InputError(
                item.where,
                f"field metadata.uid: {uid} is also that of {self._where[uid]}",
                "Leave one of the two out; a dump taken twice can't be put together.",
            )
        self._where[uid] = item.where
        return uid

    def _node(self, raw: wire.Node, item: Item) -> None:
        meta, spec, status = raw.metadata, raw.spec or wire.NodeSpec(), raw.status
        self._claim_uid(meta, item)
        if meta.name in self._nodes:
            raise InputError(item.where, f"field metadata.name: node {meta.name} occurs twice")
        if status is None or (status.allocatable is None and status.capacity is None):
            raise InputError(
                item.where,
                "field status.allocatable: missing, so its room is unknown",
                "Keep the status of nodes in the dump (kubectl get … -o json writes it).",
            )
        field = "status.capacity" if status.allocatable is None else "status.allocatable"
        room = status.capacity if status.allocatable is None else status.allocatable
        taints = tuple(
            self._intern(Taint(t.key, t.value or "", t.effect)) for t in spec.taints or ()
        )
        self._nodes[meta.name] = Node(
            name=meta.name,
            labels=dict(self._labels(meta.labels)),
            taints=taints,
            allocatable=parse_all(room, field),
            unschedulable=bool(spec.unschedulable),
            closed=_closed(meta, taints, status.conditions or ()),
        )

    def _pod(self, raw: wire.Pod, item: Item) -> None:
        meta, spec, status = raw.metadata, raw.spec, raw.status or wire.PodStatus()
        namespace = meta.namespace or DEFAULT_NAMESPACE
        uid = self._claim_uid(meta, item, namespace)
        if (namespace, meta.name) in self._pods:
            raise InputError(item.where, f"field metadata.name: pod {meta.name} occurs twice")
        if status.phase in ("Succeeded", "Failed"):
            return
        conditions = {c.type: c for c in status.conditions or ()}
        scheduled, ready = conditions.get("PodScheduled"), conditions.get("Ready")
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
            shape=self._shape(raw),
            node=self._intern(spec.node_name or ""),
            nominated=status.nominated_node_name or "",
            terminating=meta.deletion_timestamp is not None,
            gated=bool(spec.scheduling_gates),
            ready=ready is not None and ready.status == "True",
            mirror=MIRROR_ANNOTATION in annotations,
            unschedulable=(
                scheduled.message or ""
                if scheduled is not None and scheduled.reason == "Unschedulable"
                else ""
            ),
        )

    def _shape(self, raw: wire.Pod) -> Shape:
        spec = raw.spec
        affinity = spec.affinity or wire.Affinity()
        wanted = (
            affinity.node_affinity or wire.NodeAffinity()
        ).required_during_scheduling_ignored_during_execution
        anti = (
            affinity.pod_anti_affinity or wire.PodAffinity()
        ).required_during_scheduling_ignored_during_execution
        volumes = read_volumes(spec.volumes or ())
        return self._intern(
            Shape(
                requests=self._intern(effective(raw)),
                node_selector=self._labels(spec.node_selector),
                node_affinity=None if wanted is None else _node_terms(wanted),
                tolerations=tuple(
                    self._intern(
                        Toleration(
                            t.key or "", t.operator or "Equal", t.value or "", t.effect or ""
                        )
                    )
                    for t in spec.tolerations or ()
                ),
                anti_affinity=tuple(_anti_affinity(t) for t in anti or ()),
                unmodelled=_unmodelled(raw, volumes.unmodelled),
                local_storage=volumes.local,
                priority=spec.priority or 0,
                preempts=spec.preemption_policy != "Never",
                scheduler=spec.scheduler_name or "default-scheduler",
            )
        )

    def _owner(self, meta: wire.Metadata) -> Owner | None:
        for reference in meta.owner_references or ():
            if reference.controller:
                return self._intern(Owner(reference.kind, reference.name, reference.uid))
        return None

    def _labels(self, labels: wire.Strings) -> Labels:
        return self._intern(tuple(sorted((labels or {}).items())))

    def _budget(self, raw: wire.Budget, item: Item) -> None:
        meta, status = raw.metadata, raw.status or wire.BudgetStatus()
        namespace = meta.namespace or DEFAULT_NAMESPACE
        self._claim_uid(meta, item, f"PodDisruptionBudget/{namespace}")
        # The Eviction API answers 429 while the status lags behind the spec.
        fresh = meta.generation is None or status.observed_generation == meta.generation
        self._budgets.append(
            Budget(
                namespace=namespace,
                name=meta.name,
                selector=read_selector(raw.spec.selector if raw.spec else None),
                allowed=max(status.disruptions_allowed, 0) if fresh else 0,
            )
        )

    def _priority_class(self, raw: wire.PriorityClass, _item: Item) -> None:
        self._priority_classes[raw.value] = min(
            raw.metadata.name, self._priority_classes.get(raw.value, raw.metadata.name)
        )

    def _job(self, raw: wire.Job, item: Item) -> None:
        uid = self._claim_uid(raw.metadata, item, f"Job/{raw.metadata.namespace}")
        policy = raw.spec.pod_failure_policy if raw.spec else None
        for rule in (policy.rules if policy else None) or ():
            types = {c.get("type") for c in rule.on_pod_conditions or ()}
            if rule.action == "Ignore" and "DisruptionTarget" in types:
                self._disruptable_jobs.add(uid)

    def _namespace(self, raw: wire.Namespace, _item: Item) -> None:
        self._namespaces[raw.metadata.name] = dict(self._labels(raw.metadata.labels))


def build(items: Iterable[Item]) -> Snapshot:
    """Return the snapshot of a dump's items."""
    builder = Builder()
    for item in items:
        builder.add(item)
    return builder.build()


def read_selector(raw: wire.LabelSelector | None) -> Selector | None:
    """Return a label selector in one form: `matchLabels` are `In` requirements."""
    if raw is None:
        return None
    equal = [Requirement(k, "In", (v,)) for k, v in sorted((raw.match_labels or {}).items())]
    return Selector((*equal, *_requirements(raw.match_expressions, "matchExpressions")))


def _requirements(raw: Iterable[wire.Requirement] | None, field: str) -> tuple[Requirement, ...]:
    read = []
    for requirement in raw or ():
        if requirement.operator not in OPERATORS:
            raise ValueError(f"{field}.operator: {requirement.operator!r} is no operator")
        read.append(
            Requirement(requirement.key, requirement.operator, tuple(requirement.values or ()))
        )
    return tuple(read)


def _node_terms(raw: wire.NodeSelector) -> tuple[NodeTerm, ...]:
    return tuple(
        NodeTerm(
            _requirements(t.match_expressions, "nodeSelectorTerms.matchExpressions"),
            _requirements(t.match_fields, "nodeSelectorTerms.matchFields"),
        )
        for t in raw.node_selector_terms or ()
    )


def _anti_affinity(term: wire.PodAffinityTerm) -> AntiAffinity:
    return AntiAffinity(
        selector=read_selector(term.label_selector),
        topology_key=term.topology_key,
        namespaces=tuple(term.namespaces or ()),
        namespace_selector=read_selector(term.namespace_selector),
    )


def _unmodelled(raw: wire.Pod, volumes: tuple[str, ...]) -> tuple[str, ...]:
    """Name the rules of a pod that the planner doesn't model, so it leaves the pod alone."""
    spec, affinity = raw.spec, raw.spec.affinity or wire.Affinity()
    containers = (*spec.containers, *(spec.init_containers or ()))
    uses = {
        "required pod affinity": affinity.pod_affinity is not None
        and affinity.pod_affinity.required_during_scheduling_ignored_during_execution,
        "required pod anti-affinity": affinity.pod_anti_affinity is not None
        and affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution,
        "topology spread (DoNotSchedule)": any(
            c.when_unsatisfiable == "DoNotSchedule" for c in spec.topology_spread_constraints or ()
        ),
        "host ports": any(p.host_port for c in containers for p in c.ports or ()),
        "resource claims (DRA)": spec.resource_claims,
        "gang scheduling": spec.workload_ref
        or spec.scheduling_group
        or any(
            key in _GANG_LABELS
            for key in (*(raw.metadata.labels or ()), *(raw.metadata.annotations or ()))
        ),
    }
    return (*(name for name, used in uses.items() if used), *volumes)


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


def _field_first(message: str) -> str:
    """Turn msgspec's "Expected `str`, got `int` - at `$.a.b`" into "field a.b: expected …"."""
    said, found, path = message.partition(" - at `$")
    if not found:
        return f"field {message}" if ": " in message else message
    return f"field {path.rstrip('`').lstrip('.')}: {said[0].lower()}{said[1:]}"
