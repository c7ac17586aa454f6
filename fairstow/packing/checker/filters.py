"""Whether a pod may arrive on a node in the state of the moment: the scheduler's filters.

Source: kube-scheduler's plugins NodeUnschedulable, TaintToleration, NodeAffinity,
NodeResourcesFit and InterPodAffinity. Two points are stricter: a node that isn't Ready or is
being deleted takes nothing whatever the pod tolerates, and pods nominated to a node hold their
room there against everyone.
"""

from collections.abc import Iterable, Iterator, Mapping

from fairstow.packing.checker.cluster import Cluster, Node
from fairstow.packing.checker.pods import AntiAffinity, Pod
from fairstow.packing.checker.selectors import Taint, matches
from fairstow.packing.checker.verdict import Rule

Obstacle = tuple[Rule, str]

_BLOCKING = ("NoSchedule", "NoExecute")
_CORDON = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
_LEAVING = ("ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted")


def node_obstacles(pod: Pod, node: Node) -> Iterator[Obstacle]:
    """Yield what keeps the pod off the node whoever else is there."""
    if pod.unmodelled:
        yield Rule.RULE_NOT_MODELLED, f"uses {pod.unmodelled}, which plans don't model"
    if not node.ready:
        yield Rule.NODE_NOT_READY, f"{node.name} isn't Ready"
    leaving = ["deletionTimestamp"] if node.deleted else []
    leaving += [taint.key for taint in node.taints if taint.key in _LEAVING]
    if leaving:
        yield Rule.NODE_BEING_DELETED, f"{node.name} is being deleted ({', '.join(leaving)})"
    if node.unschedulable and not _tolerates(pod, _CORDON):
        yield Rule.NODE_UNSCHEDULABLE, f"{node.name} is cordoned"
    for taint in node.taints:
        if taint.effect in _BLOCKING and not _tolerates(pod, taint):
            yield Rule.TAINT_NOT_TOLERATED, f"doesn't tolerate {taint} of {node.name}"
    for label, value in pod.node_selector.items():
        if node.labels.get(label) != value:
            has = f"{label}={node.labels[label]}" if label in node.labels else "no such label"
            message = f"selects nodes with {label}={value}, {node.name} has {has}"
            yield Rule.NODE_SELECTOR_MISMATCH, message
    if pod.node_terms is not None and not any(
        term.met_by(node.name, node.labels) for term in pod.node_terms
    ):
        message = f"{node.name} fulfils none of its {len(pod.node_terms)} node affinity terms"
        yield Rule.NODE_AFFINITY_MISMATCH, message


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


def anti_affinity_obstacles(
    pod: Pod, node: Node, guards: Mapping[str, tuple[Pod, str]], cluster: Cluster
) -> Iterator[Obstacle]:
    """Yield each pod whose required anti-affinity keeps this one out of the node's domain.

    Args:
        pod: the arriving pod.
        node: where it would go.
        guards: the live pods with anti-affinity and the node of each, by pod.
        cluster: for the nodes' and namespaces' labels.
    """
    for guard, where in guards.values():
        labels = cluster.nodes[where].labels if where in cluster.nodes else {}
        for term in guard.anti_affinity:
            domain = labels.get(term.topology_key)
            if domain is None or node.labels.get(term.topology_key) != domain:
                continue
            if matches(term.selector, pod.labels) and _speaks_of(term, pod.namespace, cluster):
                message = (
                    f"anti-affinity of {guard.key} keeps it out of {term.topology_key}={domain}"
                )
                yield Rule.ANTI_AFFINITY_CONFLICT, message


def _speaks_of(term: AntiAffinity, namespace: str, cluster: Cluster) -> bool:
    """Whether the term is about pods of a namespace; one with unknown labels may be meant."""
    if not term.namespaces and term.namespace_selector is None:
        return namespace == term.own_namespace
    if namespace in term.namespaces:
        return True
    if term.namespace_selector is None:
        return False
    labels = cluster.namespaces.get(namespace)
    return labels is None or matches(term.namespace_selector, labels)


def _tolerates(pod: Pod, taint: Taint) -> bool:
    return any(toleration.tolerates(taint) for toleration in pod.tolerations)
