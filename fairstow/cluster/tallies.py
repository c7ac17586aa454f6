"""Counts of running pods by topology domain, kept up to date as pods come and go.

Used by `state`. A tally is made when the first pod asks for it, by counting every pod once; after
that each arrival or departure costs one step in the tallies that count the pod. Source:
kube-scheduler's InterPodAffinity and PodTopologySpread plugins.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from fairstow.cluster.model import Node, Pod, PodTerm, Shape, Spread
from fairstow.cluster.rules import affinity_mismatch, covers, untolerated
from fairstow.cluster.selectors import selects

Namespaces = Mapping[str, Mapping[str, str]]
Kind = tuple[str, object]
"""A pod's namespace and labels: all that a term can tell pods apart by."""


class Tally(Protocol):
    """Something that counts pods."""

    def counts(self, pod: Pod) -> bool:
        """Whether pods with this one's namespace and labels count at all."""

    def shift(self, pod: Pod, node: Node, step: int, *, bound: bool) -> None:
        """Count a pod (step 1) or take it out (-1); not `bound` is one only nominated there."""


T = TypeVar("T", bound=Tally)
K = TypeVar("K", bound=Hashable)


def add(table: dict[K, int], key: K | None, step: int) -> None:
    """Add to a count; what is at 0 isn't in the table, and None isn't counted."""
    if key is None:
        return
    count = table.get(key, 0) + step
    if count:
        table[key] = count
    else:
        table.pop(key, None)


class TermTally:
    """Pods that one term matches, by the value of its topology key."""

    def __init__(self, term: PodTerm, own: str, namespaces: Namespaces) -> None:
        self._term, self._own, self._namespaces = term, own, namespaces
        self._here: dict[str, int] = {}

    def counts(self, pod: Pod) -> bool:
        """Whether the term matches the pod; namespaces without known labels count."""
        return selects(self._term.selector, dict(pod.labels)) and covers(
            self._term, self._own, pod.namespace, self._namespaces
        )

    def shift(self, pod: Pod, node: Node, step: int, *, bound: bool) -> None:
        """Count a pod in its domain, if its node is in one."""
        del pod, bound
        add(self._here, node.labels.get(self._term.topology_key), step)

    def at(self, node: Node) -> bool:
        """Whether any stands in the node's domain."""
        return self._here.get(node.labels.get(self._term.topology_key, ""), 0) > 0


class AffinityTally:
    """Pods that match all terms of a shape's affinity at once, by each term's domain.

    Attributes:
        any: whether one stands in any domain of any of the keys. Pods in namespaces without known
            labels count here, but in no domain: neither may let a pod in.
    """

    def __init__(self, terms: tuple[PodTerm, ...], own: str, namespaces: Namespaces) -> None:
        self._terms, self._own, self._namespaces = terms, own, namespaces
        self._here: dict[tuple[str, str], int] = {}
        self._maybe: dict[tuple[str, str], int] = {}

    @property
    def any(self) -> bool:
        """Whether one stands anywhere."""
        return bool(self._maybe)

    def counts(self, pod: Pod) -> bool:
        """Whether all terms match the pod, or may."""
        return self.matches(pod, unknown=True)

    def matches(self, pod: Pod, *, unknown: bool) -> bool:
        """Whether all terms match the pod."""
        labels = dict(pod.labels)
        return all(
            selects(t.selector, labels)
            and covers(t, self._own, pod.namespace, self._namespaces, unknown=unknown)
            for t in self._terms
        )

    def shift(self, pod: Pod, node: Node, step: int, *, bound: bool) -> None:
        """Count a pod in the domains of its node."""
        del bound
        sure = self.matches(pod, unknown=False)
        for term in self._terms:
            if (value := node.labels.get(term.topology_key)) is not None:
                add(self._maybe, (term.topology_key, value), step)
                if sure:
                    add(self._here, (term.topology_key, value), step)

    def missing(self, node: Node) -> PodTerm | None:
        """Return the first term without a matching pod in the node's domain."""
        for term in self._terms:
            value = node.labels.get(term.topology_key)
            if value is None or not self._here.get((term.topology_key, value)):
                return term
        return None


class SpreadTally:
    """Pods that one spread constraint of a shape counts, by domain, on nodes that count for it."""

    def __init__(self, shape: Shape, rule: Spread, own: str, nodes: Iterable[Node]) -> None:
        self._rule, self._own = rule, own
        keys = [r.topology_key for r in shape.spread]
        self._nodes = {
            n.name
            for n in nodes
            if all(key in n.labels for key in keys)
            and not (rule.honor_affinity and affinity_mismatch(shape, n))
            and not (rule.honor_taints and untolerated(shape, n))
        }
        domains = {n.labels[rule.topology_key] for n in nodes if n.name in self._nodes}
        self._here = dict.fromkeys(domains, 0)
        self._levels = {0: len(domains)} if domains else {}
        self._lowest = 0

    @property
    def here(self) -> Mapping[str, int]:
        """Pods by domain, empty ones included."""
        return self._here

    def holds(self, node: Node) -> bool:
        """Whether a node counts."""
        return node.name in self._nodes

    def counts(self, pod: Pod) -> bool:
        """Whether the constraint counts the pod: its own namespace's, but those going away."""
        return pod.namespace == self._own and selects(self._rule.selector, dict(pod.labels))

    def shift(self, pod: Pod, node: Node, step: int, *, bound: bool) -> None:
        """Count a pod, if its node counts."""
        # The scheduler takes neither case for a nominated pod, and no pod at all for a selector
        # that selects all: a constraint without labels only asks for the topology key.
        everything = self._rule.selector is not None and not self._rule.selector.requirements
        if node.name not in self._nodes or (bound and (pod.terminating or everything)):
            return
        domain = node.labels[self._rule.topology_key]
        before = self._here[domain]
        self._here[domain] = before + step
        add(self._levels, before, -1)
        add(self._levels, before + step, 1)
        if before + step < self._lowest:
            self._lowest = before + step
        elif self._lowest not in self._levels:
            self._lowest = before + step  # levels change by one, so the next is the new lowest

    def skew(self, pod: Pod, domain: str) -> int:
        """Return how far above the least-filled domain this one would be with the pod in it."""
        floor = 0 if len(self._here) < self._rule.min_domains else self._lowest
        own = selects(self._rule.selector, dict(pod.labels))
        return self._here.get(domain, 0) + own - floor


class Tallies:
    """Where every pod stands, and all tallies asked for so far, each made once."""

    def __init__(self) -> None:
        self._by_key: dict[object, Tally] = {}
        self._all: list[Tally] = []
        self._counting: dict[Kind, tuple[int, list[Tally]]] = {}
        self._placed: dict[Kind, dict[str, tuple[Pod, Node, bool]]] = {}

    def get(self, key: object, make: Callable[[], T]) -> T:
        """Return the tally of that key; a new one counts all pods that are placed.

        A key always comes with the same kind of tally.
        """
        tally: Any = self._by_key.get(key)
        if tally is None:
            tally = self._by_key[key] = make()
            for alike in self._placed.values():
                some, *_ = next(iter(alike.values()))
                if tally.counts(some):
                    for pod, node, bound in alike.values():
                        tally.shift(pod, node, 1, bound=bound)
            self._all.append(tally)
        found: T = tally
        return found

    def shift(self, pod: Pod, node: Node, step: int, *, bound: bool) -> None:
        """Note that a pod came or went, and count it wherever it counts."""
        kind = (pod.namespace, pod.labels)
        alike = self._placed.setdefault(kind, {})
        if step > 0:
            alike[pod.uid] = (pod, node, bound)
        else:
            del alike[pod.uid]
            if not alike:
                del self._placed[kind]
        known, counting = self._counting.get(kind, (0, []))
        if known < len(self._all):
            counting += [t for t in self._all[known:] if t.counts(pod)]
            self._counting[kind] = (len(self._all), counting)
        for tally in counting:
            tally.shift(pod, node, step, bound=bound)
