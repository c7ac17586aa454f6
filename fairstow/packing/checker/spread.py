"""Topology spread constraints that must hold, judged for a pod that arrives.

Source: kube-scheduler's plugin PodTopologySpread. Only nodes that have the keys of all the pod's
constraints count, and terminating pods don't. An empty selector (not an absent one) counts nobody
who is there, as in the scheduler. Stricter in one point: nominated pods of any priority count.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fairstow.packing.checker.cluster import Cluster, Node
from fairstow.packing.checker.filters import meets_node_rules, untolerated
from fairstow.packing.checker.pod_rules import Spread
from fairstow.packing.checker.pods import Pod
from fairstow.packing.checker.selectors import Selector, matches
from fairstow.packing.checker.state import State
from fairstow.packing.checker.verdict import Obstacle, Rule


@dataclass(frozen=True)
class Alike:
    """The question whether a pod of the namespace is one of those to be spread."""

    namespace: str
    selector: Selector | None

    def holds(self, pod: Pod, cluster: Cluster) -> bool:  # noqa: ARG002 - as every question
        """Answer for one pod."""
        return (
            pod.namespace == self.namespace
            and not pod.terminating
            and matches(self.selector, pod.labels)
        )


class SpreadJudge:
    """Judges arrivals; remembers which nodes count for pods with the same rules."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._domains: dict[object, Mapping[str, str]] = {}

    def obstacles(self, pod: Pod, node: Node) -> Iterator[Obstacle]:
        """Yield each constraint that the pod would break on the node."""
        for spread in pod.spread:
            if spread.topology_key not in node.labels:
                message = f"is spread over {spread.topology_key}, which {node.name} lacks"
                yield Rule.SPREAD_EXCEEDED, message
            else:
                yield from self._judge(pod, node, spread)

    def _judge(self, pod: Pod, node: Node, spread: Spread) -> Iterator[Obstacle]:
        domain, alike = node.labels[spread.topology_key], Alike(pod.namespace, spread.selector)
        domains = self._counted(pod, spread)
        counts = dict.fromkeys(domains.values(), 0)
        if spread.selector != ():
            for where, many in self._state.placed.count(alike).items():
                if where in domains:
                    counts[domains[where]] += many
        if node.name in domains:
            counts[domain] += self._state.promised.count(alike).get(node.name, 0)
        enough = bool(counts) and len(counts) >= spread.min_domains
        least = min(counts.values()) if enough else 0
        after = counts.get(domain, 0) + int(matches(spread.selector, pod.labels))
        if after - least > spread.max_skew:
            rest = f"{least} in the emptiest of {len(counts)} domains"
            if not enough:
                rest = f"{len(counts)} of minDomains {spread.min_domains} there"
            message = (
                f"would make {after} pods of its spread in {spread.topology_key}={domain}, "
                f"{rest}, maxSkew {spread.max_skew}"
            )
            yield Rule.SPREAD_EXCEEDED, message

    def _counted(self, pod: Pod, spread: Spread) -> Mapping[str, str]:
        """Return the domain of each node that counts for one constraint of the pod."""
        keys = tuple(each.topology_key for each in pod.spread)
        rules = (tuple(pod.node_selector.items()), pod.node_terms, pod.tolerations)
        question = (keys, rules, spread)
        if question not in self._domains:
            self._domains[question] = {
                node.name: node.labels[spread.topology_key]
                for node in self._state.cluster.nodes.values()
                if all(key in node.labels for key in keys)
                and (not spread.honors_affinity or meets_node_rules(pod, node))
                and (not spread.honors_taints or not untolerated(pod, node))
            }
        return self._domains[question]
