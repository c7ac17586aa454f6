"""The scheduler's filters: may this pod arrive on this node?

Source: kube-scheduler's in-tree plugins NodeUnschedulable, TaintToleration, NodeAffinity,
NodeResourcesFit, InterPodAffinity (existing pods' anti-affinity). One rule is stricter than the
scheduler's: a node that isn't Ready or is being removed takes nothing, whatever is tolerated.

*Static* rules depend on the pod's shape and labels and on the node alone: while pods with
anti-affinity of their own stay where they are, existing anti-affinity is static too. Room is the
one rule that changes as a plan goes on. Arrivals are judged, not the past: a pod that stays is
legal where it is.
"""

from collections.abc import Iterable, Iterator, Mapping
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
    ANTI_AFFINITY = "ExistingPodAntiAffinity"
    ROOM = "InsufficientResources"
    # Only `state` asks these:
    FEATURES = "NodeDeclaredFeatures"
    PORTS = "HostPortTaken"
    CLAIM = "VolumeClaim"
    VOLUME_NODE = "VolumeNodeAffinity"
    VOLUME_LIMIT = "VolumeAttachLimit"
    SPREAD = "TopologySpread"
    POD_AFFINITY = "PodAffinity"
    OWN_ANTI_AFFINITY = "PodAntiAffinity"
    NOT_CONSIDERED = "NotConsidered"


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
    """The filters over one snapshot, with what they need looked up once.

    `staying` are the pods whose anti-affinity counts, all that hold room if left out.
    """

    def __init__(self, snapshot: Snapshot, staying: Iterable[Pod] | None = None) -> None:
        self._snapshot = snapshot
        self._guards = [
            (term, pod.namespace, value)
            for pod in (snapshot.pods if staying is None else staying)
            if pod.home in snapshot.node_by_name
            for term in pod.shape.anti_affinity
            if (value := snapshot.node_by_name[pod.home].labels.get(term.topology_key)) is not None
        ]
        self._forbidden: dict[tuple[str, object], frozenset[tuple[str, str]]] = {}

    def static_refusal(self, pod: Pod, node: Node) -> Refusal | None:
        """Return the first static rule by which the node refuses the pod, or None."""
        for refusal in node_refusals(pod.shape, node):
            return refusal
        for key, value in self.forbidden_domains(pod):
            if node.labels.get(key) == value:
                return kept_out(key, value)
        return None

    def forbidden_domains(self, pod: Pod) -> frozenset[tuple[str, str]]:
        """Topology (key, value) pairs that running pods' anti-affinity keeps this pod out of."""
        key = (pod.namespace, pod.labels)
        if key not in self._forbidden:
            labels = dict(pod.labels)
            self._forbidden[key] = frozenset(
                (term.topology_key, value)
                for term, namespace, value in self._guards
                if selects(term.selector, labels)
                and covers(term, namespace, pod.namespace, self._snapshot.namespaces)
            )
        return self._forbidden[key]


def node_refusals(shape: Shape, node: Node) -> Iterator[Refusal]:
    """Yield the rules of the node's own (not of its pods) by which it refuses."""
    if node.closed:
        yield Refusal(Rule.CLOSED, node.closed)
    if node.unschedulable and not _tolerates(shape, _UNSCHEDULABLE):
        yield Refusal(Rule.CORDONED, "is cordoned")
    if taint := untolerated(shape, node):
        value = f"={taint.value}" if taint.value else ""
        yield Refusal(Rule.TAINT, f"has the taint {taint.key}{value}:{taint.effect}")
    if mismatch := affinity_mismatch(shape, node):
        yield Refusal(Rule.AFFINITY, mismatch)


def kept_out(key: str, value: str) -> Refusal:
    """Return the refusal by the anti-affinity of a pod that runs in that domain."""
    return Refusal(Rule.ANTI_AFFINITY, f"lies in {key}={value}, which a pod there keeps it out of")


def untolerated(shape: Shape, node: Node) -> Taint | None:
    """Return the first taint that keeps pods out and that this shape doesn't tolerate."""
    for taint in node.taints:
        if taint.effect in _BLOCKING and not _tolerates(shape, taint):
            return taint
    return None


def covers(
    term: PodTerm,
    own: str,
    namespace: str,
    namespaces: Mapping[str, Mapping[str, str]],
    *,
    unknown: bool = True,
) -> bool:
    """Whether a term of a pod in `own` speaks of pods in `namespace`.

    `namespaces` has the labels by namespace; `unknown` is the answer where it lacks those asked
    for.
    """
    if not term.namespaces and term.namespace_selector is None:
        return namespace == own
    if namespace in term.namespaces:
        return True
    if term.namespace_selector is None:
        return False
    if not term.namespace_selector.requirements:
        return True
    labels = namespaces.get(namespace)
    return unknown if labels is None else selects(term.namespace_selector, labels)


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


def affinity_mismatch(shape: Shape, node: Node) -> str:
    """Say which node selector or required node affinity a node fails; "" if none."""
    for key, value in shape.node_selector:
        if node.labels.get(key) != value:
            return f"lacks the label {key}={value}"
    terms = shape.node_affinity
    if terms is not None and not node_terms_match(terms, node.name, node.labels):
        return "matches no term of the pod's required node affinity"
    return ""
