"""Required affinity and anti-affinity between pods, judged for one that arrives.

Source: kube-scheduler's plugin InterPodAffinity. Stricter in two points: a namespace whose labels
aren't in the dump may be meant by an anti-affinity's selector, and pods nominated to any node
count against an arrival, not only those of its node.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fairstow.packing.checker.cluster import Cluster, Node
from fairstow.packing.checker.pod_rules import PodTerm
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.selectors import matches
from fairstow.packing.checker.state import State
from fairstow.packing.checker.verdict import Obstacle, Rule


@dataclass(frozen=True)
class Meant:
    """The question whether a pod is one that all of the terms speak of.

    `doubtful` is the answer for a namespace that is selected by labels and has none in the dump.
    """

    terms: tuple[PodTerm, ...]
    doubtful: bool

    def holds(self, pod: Pod, cluster: Cluster) -> bool:
        """Answer for one pod."""
        return all(
            matches(term.selector, pod.labels) and self._of_namespace(term, pod.namespace, cluster)
            for term in self.terms
        )

    def _of_namespace(self, term: PodTerm, namespace: str, cluster: Cluster) -> bool:
        if not term.namespaces and term.namespace_selector is None:
            return namespace == term.own_namespace
        if namespace in term.namespaces or term.namespace_selector == ():
            return True
        if term.namespace_selector is None:
            return False
        labels = cluster.namespaces.get(namespace)
        return self.doubtful if labels is None else matches(term.namespace_selector, labels)


def anti_affinity_obstacles(pod: Pod, node: Node, state: State) -> Iterator[Obstacle]:
    """Yield what keeps the pod away from those in the node's domains, by its terms or theirs."""
    for guard, where in state.guards.values():
        labels = state.labels(where)
        for term in guard.anti_affinity:
            domain = labels.get(term.topology_key)
            if domain is None or node.labels.get(term.topology_key) != domain:
                continue
            if Meant((term,), doubtful=True).holds(pod, state.cluster):
                message = (
                    f"anti-affinity of {guard.key} keeps it out of {term.topology_key}={domain}"
                )
                yield Rule.ANTI_AFFINITY_CONFLICT, message
    for term in pod.anti_affinity:
        avoided = Meant((term,), doubtful=True)
        many = sum(_near(term, node, avoided, state)) + sum(
            _near(term, node, avoided, state, promised=True)
        )
        if many:
            where = f"{term.topology_key}={node.labels[term.topology_key]}"
            message = f"its anti-affinity keeps it away from {many} pods in {where}"
            yield Rule.ANTI_AFFINITY_CONFLICT, message


def affinity_obstacles(pod: Pod, node: Node, state: State) -> Iterator[Obstacle]:
    """Yield each affinity term of the pod that isn't met on the node.

    A pod near which it must be has to be meant by all of the terms. The first of its kind is let
    in on its own: nobody is meant by the terms in any of their domains, but itself.
    """
    if not pod.affinity:
        return
    for term in pod.affinity:
        if term.topology_key not in node.labels:
            message = f"its affinity needs {term.topology_key}, which {node.name} lacks"
            yield Rule.AFFINITY_UNMET, message
    present = [term for term in pod.affinity if term.topology_key in node.labels]
    wanted = Meant(pod.affinity, doubtful=False)
    unmet = [term for term in present if not any(_near(term, node, wanted, state))]
    if unmet and not _is_first(pod, state):
        for term in unmet:
            where = f"{term.topology_key}={node.labels[term.topology_key]}"
            yield Rule.AFFINITY_UNMET, f"no pod that its affinity means is in {where}"


def _is_first(pod: Pod, state: State) -> bool:
    """Whether the pod is meant by its own terms, and nobody in any of their domains is."""
    if not Meant(pod.affinity, doubtful=False).holds(pod, state.cluster):
        return False
    others = state.placed.count(Meant(pod.affinity, doubtful=True))
    return not any(
        term.topology_key in state.labels(where)
        for where, many in others.items()
        if many
        for term in pod.affinity
    )


def _near(
    term: PodTerm, node: Node, question: Meant, state: State, *, promised: bool = False
) -> Iterator[int]:
    """Yield the number of pods in question on each node of the term's domain around a node."""
    domain = node.labels.get(term.topology_key)
    if domain is None:
        return
    census = state.promised if promised else state.placed
    for where, many in census.count(question).items():
        if many and state.labels(where).get(term.topology_key) == domain:
            yield many
