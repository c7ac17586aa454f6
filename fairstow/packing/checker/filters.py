"""Whether a pod may arrive on a node in the state of the moment: the scheduler's filters.

The rules about the node itself and what the pods on it hold; those that look further are in
`affinity`, `spread` and `volumes`. Source: kube-scheduler's plugins NodeUnschedulable,
TaintToleration, NodeAffinity, NodeDeclaredFeatures, NodeResourcesFit and NodePorts. Two points
are stricter: a node that isn't Ready or is being deleted takes nothing whatever the pod
tolerates, and pods nominated to a node hold their room and ports there against everyone.
"""

from collections.abc import Iterable, Iterator

from fairstow.packing.checker.cluster import Node
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.selectors import Taint
from fairstow.packing.checker.verdict import Obstacle, Rule

_BLOCKING = ("NoSchedule", "NoExecute")
_CORDON = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
_LEAVING = ("ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted")


def node_obstacles(pod: Pod, node: Node) -> Iterator[Obstacle]:
    """Yield what keeps the pod off the node whoever else is there."""
    if pod.unmodelled:
        yield Rule.RULE_NOT_MODELLED, f"uses {pod.unmodelled}, which plans don't model"
    if not node.ready:
        yield Rule.NODE_NOT_READY, f"{node.name} isn't Ready"
    if leaving := being_deleted(node):
        yield Rule.NODE_BEING_DELETED, f"{node.name} is being deleted ({', '.join(leaving)})"
    if node.unschedulable and not _tolerates(pod, _CORDON):
        yield Rule.NODE_UNSCHEDULABLE, f"{node.name} is cordoned"
    for taint in untolerated(pod, node):
        yield Rule.TAINT_NOT_TOLERATED, f"doesn't tolerate {taint} of {node.name}"
    for label, value in pod.node_selector.items():
        if node.labels.get(label) != value:
            has = f"{label}={node.labels[label]}" if label in node.labels else "no such label"
            message = f"selects nodes with {label}={value}, {node.name} has {has}"
            yield Rule.NODE_SELECTOR_MISMATCH, message
    if not _meets_terms(pod, node):
        many = len(pod.node_terms or ())
        message = f"{node.name} fulfils none of its {many} node affinity terms"
        yield Rule.NODE_AFFINITY_MISMATCH, message
    for feature in sorted(pod.features - node.features):
        yield Rule.NODE_LACKS_FEATURE, f"needs {feature}, which {node.name} doesn't declare"


def room_obstacles(pod: Pod, node: Node, there: Iterable[Pod]) -> Iterator[Obstacle]:
    """Yield each resource of which the pod needs more than the pods there leave free."""
    used: dict[str, int] = {"pods": 0}
    for other in there:
        used["pods"] += 1
        for resource, amount in other.requests.items():
            used[resource] = used.get(resource, 0) + amount
    for resource, needed in (("pods", 1), *sorted(pod.requests.items())):
        free = node.allocatable.get(resource, 0) - used.get(resource, 0)
        if needed > free:
            unit = "m" if resource == "cpu" else ""
            message = f"needs {needed}{unit} {resource}, {free}{unit} free on {node.name}"
            yield Rule.INSUFFICIENT_RESOURCES, message


def port_obstacles(pod: Pod, node: Node, there: Iterable[Pod]) -> Iterator[Obstacle]:
    """Yield each host port of the pod that a pod there has."""
    if not pod.ports:
        return
    for other in there:
        for port in pod.ports:
            if any(port.meets(taken) for taken in other.ports):
                message = f"needs host port {port}, which {other.key} has on {node.name}"
                yield Rule.HOST_PORT_TAKEN, message


def being_deleted(node: Node) -> list[str]:
    """Return what says that a node is on its way out; empty if nothing does."""
    leaving = ["deletionTimestamp"] if node.deleted else []
    return leaving + [taint.key for taint in node.taints if taint.key in _LEAVING]


def meets_node_rules(pod: Pod, node: Node) -> bool:
    """Whether the node fulfils the pod's node selector and required node affinity."""
    selected = all(node.labels.get(k) == v for k, v in pod.node_selector.items())
    return selected and _meets_terms(pod, node)


def untolerated(pod: Pod, node: Node) -> list[Taint]:
    """Return the node's taints that keep the pod off."""
    return [t for t in node.taints if t.effect in _BLOCKING and not _tolerates(pod, t)]


def _meets_terms(pod: Pod, node: Node) -> bool:
    return pod.node_terms is None or any(t.met_by(node.name, node.labels) for t in pod.node_terms)


def _tolerates(pod: Pod, taint: Taint) -> bool:
    return any(toleration.tolerates(taint) for toleration in pod.tolerations)
