"""From a snapshot to the rules between groups of pods: who speaks of whom, and where.

Called by `formulate`. A *watch* is one selector of one rule; it counts pods by their namespace and
labels alone. Pods are only interchangeable if the same watches count them, so each is asked of
every pod: watches are found by a label that they want, not one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeGuard

from fairstow.cluster.model import Labels, Node, Pod, PodTerm, Shape
from fairstow.cluster.model import Spread as SpreadRule
from fairstow.cluster.rules import covers
from fairstow.cluster.selectors import selects
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.tallies import AffinityTally, SpreadTally
from fairstow.packing.between import Apart, Between, Near, Spread

Affinity = tuple[tuple[PodTerm, ...], str]
"""Terms, and the namespace of the pods that have them."""


class Watches:
    """Whom the rules of some pods speak of."""

    def __init__(self, snapshot: Snapshot, pods: Iterable[Pod]) -> None:
        self._namespaces = snapshot.namespaces
        self._of: dict[object, int] = {}
        self._counts: list[Callable[[Pod], bool]] = []
        self._by_label: dict[tuple[str, str], list[int]] = {}
        self._by_any: list[int] = []
        self._seen: dict[tuple[str, Labels], tuple[int, ...]] = {}
        for shape, own in {(p.shape, p.namespace): None for p in pods if p.shape.unmodelled}:
            for term in shape.anti_affinity:
                self._watch(_of_term(term, own), partial(self._term, term, own), term)
            for rule in _spreading(shape):
                self._watch(("spread", rule.selector, own), partial(_spread, rule, own), rule)
            if near := shape.affinity:
                tally = AffinityTally(near, own, self._namespaces)
                for unknown in (False, True):
                    counts = partial(tally.matches, unknown=unknown)
                    self._watch(("near", near, own, unknown), counts, near[0])

    def _watch(
        self, key: object, counts: Callable[[Pod], bool], rule: PodTerm | SpreadRule
    ) -> None:
        if key in self._of or rule.selector is None:
            return
        index = self._of[key] = len(self._counts)
        self._counts.append(counts)
        for wanted in rule.selector.requirements:
            if wanted.operator == "In" and len(wanted.values) == 1:
                self._by_label.setdefault((wanted.key, wanted.values[0]), []).append(index)
                return
        self._by_any.append(index)

    def _term(self, term: PodTerm, own: str, pod: Pod) -> bool:
        return selects(term.selector, dict(pod.labels)) and covers(
            term, own, pod.namespace, self._namespaces
        )

    def seen(self, pod: Pod) -> tuple[int, ...]:
        """Return the watches that count a pod."""
        kind = (pod.namespace, pod.labels)
        if kind not in self._seen:
            asked = [i for label in pod.labels for i in self._by_label.get(label, ())]
            found = sorted(i for i in (*asked, *self._by_any) if self._counts[i](pod))
            self._seen[kind] = tuple(found)
        return self._seen[kind]

    def of_term(self, term: PodTerm, own: str) -> int | None:
        """Return the watch of an anti-affinity term of a pod in `own`; None counts nobody."""
        return self._of.get(_of_term(term, own))

    def of_spread(self, rule: SpreadRule, own: str) -> int | None:
        """Return the watch of a spread constraint of a pod in `own`; None counts nobody."""
        return self._of.get(("spread", rule.selector, own))

    def of_affinity(self, affinity: Affinity, *, unknown: bool) -> int | None:
        """Return the watch of those who match all terms; `unknown` as for `covers`."""
        return self._of.get(("near", *affinity, unknown))


def _of_term(term: PodTerm, own: str) -> object:
    everyone = term.namespaces or term.namespace_selector is not None
    where = ("", term.namespaces, term.namespace_selector) if everyone else (own, (), None)
    return ("term", term.selector, *where)


def _spreading(shape: Shape) -> Iterator[SpreadRule]:
    """Yield the constraints that count somebody; others ask for the topology key alone."""
    return (rule for rule in shape.spread if rule.selector and rule.selector.requirements)


def _spread(rule: SpreadRule, own: str, pod: Pod) -> bool:
    return pod.namespace == own and selects(rule.selector, dict(pod.labels))


@dataclass
class Cast:
    """The pods of a problem as rules see them.

    Attributes:
        samples: a pod of each group.
        running: movable pods by group and node index.
        fixed: pods with a home that stay.
    """

    snapshot: Snapshot
    watches: Watches
    samples: Sequence[Pod]
    running: Sequence[Mapping[int, int]]
    fixed: Sequence[Pod]
    _groups: dict[int, frozenset[int]] = field(default_factory=dict)
    _staying: dict[int, list[Pod]] = field(default_factory=dict)
    _domains: dict[str, dict[int, str]] = field(default_factory=dict)
    _counting: dict[object, tuple[dict[int, str], frozenset[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._index = {n.name: i for i, n in enumerate(self.snapshot.nodes)}
        groups: dict[int, list[int]] = {}
        for group, pod in enumerate(self.samples):
            for watch in self.watches.seen(pod):
                groups.setdefault(watch, []).append(group)
        self._groups = {watch: frozenset(found) for watch, found in groups.items()}
        self.fixed = [p for p in self.fixed if p.home in self._index]
        for pod in self.fixed:
            for watch in self.watches.seen(pod):
                self._staying.setdefault(watch, []).append(pod)

    @property
    def nodes(self) -> Sequence[Node]:
        """The snapshot's nodes."""
        return self.snapshot.nodes

    def groups(self, watch: int | None) -> frozenset[int]:
        """Groups that a watch counts."""
        return frozenset() if watch is None else self._groups.get(watch, frozenset())

    def staying(self, watch: int | None) -> Sequence[Pod]:
        """Pods that stay and that a watch counts."""
        return () if watch is None else self._staying.get(watch, ())

    def domains(self, key: str) -> dict[int, str]:
        """Domain by node index for a topology key."""
        if key not in self._domains:
            self._domains[key] = {
                i: n.labels[key] for i, n in enumerate(self.nodes) if key in n.labels
            }
        return self._domains[key]

    def counting(self, shape: Shape, rule: SpreadRule) -> tuple[Mapping[int, str], frozenset[str]]:
        """Domain by node index for a spread constraint, of the nodes that count; all domains."""
        key = (
            rule.topology_key,
            tuple(r.topology_key for r in shape.spread),
            (shape.node_selector, shape.node_affinity) if rule.honor_affinity else (),
            shape.tolerations if rule.honor_taints else None,
        )
        if key not in self._counting:
            tally = SpreadTally(shape, rule, "", self.nodes)
            domain = {
                i: n.labels[rule.topology_key] for i, n in enumerate(self.nodes) if tally.holds(n)
            }
            self._counting[key] = domain, frozenset(domain.values())
        return self._counting[key]

    def count(self, pods: Iterable[Pod], domain: Mapping[int, str]) -> dict[str, int]:
        """Return how many pods stand in each domain."""
        found: dict[str, int] = {}
        for pod in pods:
            value = domain.get(self._index[pod.home])
            if value is not None:
                found[value] = found.get(value, 0) + 1
        return found

    def moving(self, groups: Iterable[int], domain: Mapping[int, str]) -> dict[str, int]:
        """Return how many pods of groups run in each domain now."""
        found: dict[str, int] = {}
        for group in groups:
            for node, count in self.running[group].items():
                if node in domain:
                    found[domain[node]] = found.get(domain[node], 0) + count
        return found

    def closed(self, pod: Pod) -> frozenset[int]:
        """Nodes that pods which stay, or missing labels, close to a pod by its own rules."""
        shape, own = pod.shape, pod.namespace
        keys = [r.topology_key for r in shape.spread] + [t.topology_key for t in shape.affinity]
        shut: set[int] = set()
        for domain in (self.domains(key) for key in keys):
            if len(domain) < len(self.nodes):
                shut |= set(range(len(self.nodes))) - domain.keys()
        for term in shape.anti_affinity:
            domain = self.domains(term.topology_key)
            taken = self.count(self.staying(self.watches.of_term(term, own)), domain)
            if taken:
                shut |= {i for i, value in domain.items() if value in taken}
        if shape.affinity:
            watch = self.watches.of_affinity((shape.affinity, own), unknown=False)
            if not self.groups(watch):
                there = [p for p in self.staying(watch) if p.node]
                for term in shape.affinity:
                    domain = self.domains(term.topology_key)
                    met = self.count(there, domain)
                    shut |= {i for i, value in domain.items() if value not in met}
        return frozenset(shut)


def rules_between(cast: Cast) -> tuple[Between, ...]:
    """Return the rules between the groups of a cast, and what they owe to pods that stay."""
    found: list[Between] = []
    for carrier, pod in enumerate(cast.samples):
        found += _apart(cast, carrier, pod)
        found += _spreads(cast, carrier, pod)
    return (*found, *_nears(cast))


def apart_by_node(rule: Between, nodes: int) -> TypeGuard[Apart]:
    """Whether a rule says no more than that each of so many nodes takes one pod of a group.

    A node without the rule's label is in no domain, so the rule lets it take any number.
    """
    return (
        isinstance(rule, Apart)
        and rule.matched == {rule.carrier}
        and len(set(rule.domain.values())) == len(rule.domain) == nodes
    )


def _apart(cast: Cast, carrier: int, pod: Pod) -> Iterable[Apart]:
    for term in pod.shape.anti_affinity:
        matched = cast.groups(cast.watches.of_term(term, pod.namespace))
        if matched:
            yield Apart(carrier, matched, cast.domains(term.topology_key))


def _spreads(cast: Cast, carrier: int, pod: Pod) -> Iterable[Spread]:
    for rule in _spreading(pod.shape):
        watch = cast.watches.of_spread(rule, pod.namespace)
        matched, (domain, names) = cast.groups(watch), cast.counting(pod.shape, rule)
        staying = [p for p in cast.staying(watch) if not (p.node and p.terminating)]
        yield Spread(
            carrier,
            matched,
            domain,
            names,
            cast.count(staying, domain),
            rule.max_skew,
            from_zero=len(names) < rule.min_domains,
            exact=matched <= {carrier}
            and not any(cast.running[g] for g in matched)
            and all(p.node for p in staying),
        )


def _nears(cast: Cast) -> Iterable[Near]:
    carriers: dict[Affinity, list[int]] = {}
    staying: dict[Affinity, list[Pod]] = {}
    for group, pod in enumerate(cast.samples):
        if pod.shape.affinity:
            carriers.setdefault((pod.shape.affinity, pod.namespace), []).append(group)
    for pod in cast.fixed:
        if pod.shape.affinity and pod.node:
            staying.setdefault((pod.shape.affinity, pod.namespace), []).append(pod)
    for affinity in dict.fromkeys((*carriers, *staying)):
        watch = cast.watches.of_affinity(affinity, unknown=False)
        if cast.groups(watch):
            yield from _near(cast, affinity, carriers.get(affinity, ()), staying.get(affinity, ()))


def _near(
    cast: Cast, affinity: Affinity, groups: Iterable[int], staying: Iterable[Pod]
) -> Iterable[Near]:
    sure = cast.watches.of_affinity(affinity, unknown=False)
    maybe = cast.watches.of_affinity(affinity, unknown=True)
    matched, carriers = cast.groups(sure), frozenset(groups)
    keys = {term.topology_key for term in affinity[0]}
    anywhere: dict[int, str] = {i: "" for key in keys for i in cast.domains(key)}
    rooted = bool(cast.count((p for p in cast.staying(maybe) if p.node), anywhere))
    promised = any(not p.node for p in cast.staying(maybe))
    moving = cast.moving(cast.groups(maybe), anywhere).get("", 0)
    lone = moving == 1 and any(cast.running[g] for g in matched & carriers)
    for key in sorted(keys):
        domain = cast.domains(key)
        fixed = cast.count((p for p in cast.staying(sure) if p.node), domain)
        moves = cast.moving(matched, domain)
        now = {d: fixed.get(d, 0) + moves.get(d, 0) for d in fixed.keys() | moves.keys()}
        yield Near(
            carriers=carriers,
            matched=matched,
            domain=domain,
            fixed=fixed,
            now=now,
            least=_least(cast, staying, domain, fixed, now, sure),
            founders=int(not rooted and not promised and (not moving or lone)),
            home=next(iter(moves), "") if lone else "",
            exact=rooted or not (moving or promised),
        )


def _least(
    cast: Cast,
    staying: Iterable[Pod],
    domain: Mapping[int, str],
    fixed: Mapping[str, int],
    now: Mapping[str, int],
    sure: int | None,
) -> dict[str, int]:
    """Return what pods that stay need, where they have it now and could lose it."""
    least: dict[str, int] = {}
    for pod in staying:
        needed = 1 + (sure in cast.watches.seen(pod))
        for d in cast.count((pod,), domain):
            if fixed.get(d, 0) < needed <= now.get(d, 0):
                least[d] = max(least.get(d, 0), needed)
    return least
