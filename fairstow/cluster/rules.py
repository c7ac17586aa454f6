"""The scheduler's filters: may this pod arrive on this node?

Source: kube-scheduler's in-tree plugins NodeUnschedulable, TaintToleration, NodeAffinity,
NodeResourcesFit, InterPodAffinity (existing pods' anti-affinity). One rule is stricter than the
scheduler's: a node that isn't Ready or is being removed takes nothing, whatever is tolerated.

*Static* rules depend on the pod's shape and labels and on the node alone: while pods with
anti-affinity of their own stay where they are, existing anti-affinity is static too. Room is the
one rule that changes as a plan goes on. Arrivals are judged, not the past: a pod that stays is
legal where it is.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from fairstow.cluster.model import Node, Pod, PodTerm, Shape, Taint
from fairstow.cluster.selectors import integer, node_terms_match, selects
from fairstow.cluster.snapshot import Snapshot

_BLOCKING = ("NoSchedule", "NoExecute")
_UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class Rule(StrEnum):
    """The filter that refuses, in the order in which they are asked."""

    CLOSED = "NodeClosed"
    CORDONED = "NodeUnschedulable"
    TAINT = "UntoleratedTaint"
    AFFINITY = "NodeAffinity"
    ANTI_AFFINITY = "ExistingPodPodTerm"
    ROOM = "InsufficientResources"


class Refusal(msgspec.Struct, frozen=True):
    """Why a node doesn't take a pod, with a phrase that follows the node's name."""

    rule: Rule
    detail: str


class Deficit(msgspec.Struct, frozen=True):
    """One resource a node is short of, in the scheduler's units."""

    resource: str
    wanted: int
    free: int

    @property
    def missing(self) -> int:
        """How much more is needed; what is over capacity doesn't add to it."""
        return self.wanted - max(self.free, 0)


class Rules:
    """The filters over one snapshot, with what they need looked up once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._guards = [
            (term, pod.namespace, value)
            for pod in snapshot.pods
            if pod.home in snapshot.node_by_name
            for term in pod.shape.anti_affinity
            if (value := snapshot.node_by_name[pod.home].labels.get(term.topology_key)) is not None
        ]
        self._forbidden: dict[tuple[str, object], frozenset[tuple[str, str]]] = {}

    def static_refusal(self, pod: Pod, node: Node) -> Refusal | None:
        """Return the first static rule by which the node refuses the pod, or None."""
        shape = pod.shape
        if node.closed:
            return Refusal(Rule.CLOSED, node.closed)
        if node.unschedulable and not _tolerates(shape, _UNSCHEDULABLE):
            return Refusal(Rule.CORDONED, "is cordoned")
        for taint in node.taints:
            if taint.effect in _BLOCKING and not _tolerates(shape, taint):
                value = f"={taint.value}" if taint.value else ""
                return Refusal(Rule.TAINT, f"has the taint {taint.key}{value}:{taint.effect}")
        if mismatch := _affinity_mismatch(shape, node):
            return Refusal(Rule.AFFINITY, mismatch)
        for key, value in self.forbidden_domains(pod):
            if node.labels.get(key) == value:
                return Refusal(
                    Rule.ANTI_AFFINITY, f"lies in {key}={value}, which a pod there keeps it out of"
                )
        return None

    def forbidden_domains(self, pod: Pod) -> frozenset[tuple[str, str]]:
        """Topology (key, value) pairs that running pods' anti-affinity keeps this pod out of."""
        key = (pod.namespace, pod.labels)
        if key not in self._forbidden:
            labels = dict(pod.labels)
            self._forbidden[key] = frozenset(
                (term.topology_key, value)
                for term, namespace, value in self._guards
                if selects(term.selector, labels) and self._covers(term, namespace, pod.namespace)
            )
        return self._forbidden[key]

    def _covers(self, term: PodTerm, own: str, namespace: str) -> bool:
        """Whether an anti-affinity term of a pod in `own` speaks of pods in `namespace`."""
        if not term.namespaces and term.namespace_selector is None:
            return namespace == own
        if namespace in term.namespaces:
            return True
        if term.namespace_selector is None:
            return False
        labels = self._snapshot.namespaces.get(namespace)
        return labels is None or selects(term.namespace_selector, labels)


def deficits(shape: Shape, free: Mapping[str, int]) -> tuple[Deficit, ...]:
    """Return every requested resource of which `free` hasn't enough; empty means it fits."""
    return tuple(
        Deficit(resource, wanted, free.get(resource, 0))
        for resource, wanted in shape.requests
        if wanted > free.get(resource, 0)
    )


def _tolerates(shape: Shape, taint: Taint) -> bool:
    for toleration in shape.tolerations:
        if toleration.effect and toleration.effect != taint.effect:
            continue
        if toleration.key and toleration.key != taint.key:
            continue
        match toleration.operator:
            case "Exists":
                return True
            case "Equal":
                if toleration.value == taint.value:
                    return True
            case "Lt" | "Gt":  # KEP-5471: numeric taints
                if _numeric(toleration.operator, taint.value, toleration.value):
                    return True
            case _:
                pass
    return False


def _numeric(operator: str, actual: str, bound: str) -> bool:
    left, right = integer(actual), integer(bound)
    if left is None or right is None:
        return False
    return left < right if operator == "Lt" else left > right


def _affinity_mismatch(shape: Shape, node: Node) -> str:
    for key, value in shape.node_selector:
        if node.labels.get(key) != value:
            return f"lacks the label {key}={value}"
    terms = shape.node_affinity
    if terms is not None and not node_terms_match(terms, node.name, node.labels):
        return "matches no term of the pod's required node affinity"
    return ""
