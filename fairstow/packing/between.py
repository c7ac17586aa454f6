"""Rules between pods: apart, together, evenly spread. Stated on arrivals, as the scheduler judges.

Pending pods may have such rules; running pods that have one, or that a pending pod's rule speaks
of, stay where they are. So what a rule counts besides arrivals is fixed, and with arrivals
a[g,D] = Σ x[g,n] over the nodes n of domain D (such groups have no running pods that move):

    Apart     carrier g, matched groups M      a[g,D] > 0  →  Σ_{m∈M} a[m,D] ≤ [g ∈ M]
              (fixed matched pods close the domain to g beforehand; source: InterPodAffinity)
    Spread    carrier g, matched groups M      a[g,D] > 0  →  f[D] + Σ_{m∈M} a[m,D] − low ≤ maxSkew
              low ≤ f[D'] + Σ_{m∈M} a[m,D'] for every domain D', or 0 where there are fewer domains
              than minDomains; f counts fixed pods          (source: PodTopologySpread)
    Together  carrier g that must be near a pod like itself, and there is none yet: the first may
              go anywhere, all others to its domain         (source: InterPodAffinity)

This is a statement about the final layout. Each step is judged again, by the scheduler's own
rules, when the schedule is made; an arrival that no order allows is left out there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fairstow.cluster.model import Node, Pod, PodTerm
from fairstow.cluster.model import Spread as SpreadRule
from fairstow.cluster.rules import Rule, covers
from fairstow.cluster.selectors import selects
from fairstow.cluster.shapes import ANY_ADDRESS
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.cluster.tallies import SpreadTally

MODELLED = frozenset(
    {
        "required pod affinity",
        "required pod anti-affinity",
        "topology spread (DoNotSchedule)",
        "host ports",
        "features that its node must declare",
        "persistentVolumeClaim volume",
        "ephemeral volume",
        "csi volume",
    }
)
"""Of `Shape.unmodelled`, what a pending pod may use and be placed all the same."""

PORT = "host port "
"""Prefix of the pseudo-resources that make a host port a room of one per node."""

_CHANGES = frozenset({Rule.ROOM, Rule.SPREAD})


@dataclass(frozen=True)
class Apart:
    """Attributes: domain: by node index. See the module."""

    carrier: int
    matched: frozenset[int]
    domain: Mapping[int, str]


@dataclass(frozen=True)
class Spread:
    """Attributes: domain: by index of the nodes that count; fixed: pods by domain, all domains."""

    carrier: int
    matched: frozenset[int]
    domain: Mapping[int, str]
    fixed: Mapping[str, int]
    max_skew: int
    from_zero: bool


@dataclass(frozen=True)
class Together:
    """Attributes: domain: by node index. See the module."""

    carrier: int
    domain: Mapping[int, str]


Between = Apart | Spread | Together
Watch = Callable[[Pod], bool]


def exact(between: Iterable[Between]) -> bool:
    """Whether the rules as stated forbid no layout that some order of arrivals allows.

    Apart and Together: whoever comes second is refused, in whatever order. Spread: let only the
    carrier arrive in what is counted. Counts only grow, so at the last arrival in D, when
    count[D] − low(then) ≤ maxSkew, count[D] was final and low was no higher than it ends up: the
    final layout keeps the rule. With other matched groups an arrival may push a domain past the
    skew after the carrier's; the statement is then too strict to prove anything by.
    """
    return all(not isinstance(r, Spread) or r.matched <= {r.carrier} for r in between)


def considered(pod: Pod, waiting: Iterable[Pod], snapshot: Snapshot) -> bool:
    """Whether a pending pod may be placed: its rules are modelled, and exactly.

    Left out: pods with several affinity terms, pods that want to be near another pod that waits
    too (which of them goes first would matter), ports on single addresses.
    """
    shape = pod.shape
    if not shape.unmodelled:
        return True
    if not set(shape.unmodelled) <= MODELLED or len(shape.affinity) > 1:
        return False
    if any(port.address != ANY_ADDRESS for port in shape.host_ports):
        return False
    like = (pod.namespace, pod.labels, shape)
    return not any(
        _speaks_of(term, pod.namespace, other, snapshot)
        for term in shape.affinity
        for other in waiting
        if (other.namespace, other.labels, other.shape) != like
    )


def _speaks_of(term: PodTerm, own: str, other: Pod, snapshot: Snapshot) -> bool:
    return selects(term.selector, dict(other.labels)) and covers(
        term, own, other.namespace, snapshot.namespaces
    )


def watches(snapshot: Snapshot, pods: Iterable[Pod]) -> tuple[Watch, ...]:
    """Return what the rules of pending pods speak of: each says of a pod whether it counts."""
    found: dict[object, Watch] = {}
    for pod in pods:
        for term in (*pod.shape.affinity, *pod.shape.anti_affinity):
            key = (term.selector, term.namespaces, term.namespace_selector, pod.namespace)
            found[key] = partial(_counted_by_term, term, pod.namespace, snapshot)
        for rule in pod.shape.spread:
            found[rule.selector, pod.namespace] = partial(_counted_by_spread, rule, pod.namespace)
    return tuple(found.values())


def _counted_by_term(term: PodTerm, own: str, snapshot: Snapshot, pod: Pod) -> bool:
    return _speaks_of(term, own, pod, snapshot)


def _counted_by_spread(rule: SpreadRule, own: str, pod: Pod) -> bool:
    return pod.namespace == own and selects(rule.selector, dict(pod.labels))


def targets(state: State, pod: Pod, nodes: Sequence[Node]) -> frozenset[int]:
    """Return the nodes that refuse a pending pod by nothing but room or skew, which may change."""
    keys = [rule.topology_key for rule in pod.shape.spread]
    return frozenset(
        i
        for i, node in enumerate(nodes)
        if all(key in node.labels for key in keys)
        and {r.rule for r in state.refusals(pod, node)} <= _CHANGES
    )


def rules_between(snapshot: Snapshot, samples: Sequence[Pod]) -> tuple[Between, ...]:
    """Return the rules between pods of a problem whose groups have these samples.

    Groups are homogeneous in what `watches` says of them.
    """
    found: list[Between] = []
    for carrier, pod in enumerate(samples):
        if pod.pending:
            found += _apart(snapshot, samples, carrier, pod)
            found += _spread(snapshot, samples, carrier, pod)
            found += _together(snapshot, carrier, pod)
    return tuple(found)


def _apart(snapshot: Snapshot, samples: Sequence[Pod], carrier: int, pod: Pod) -> Iterable[Apart]:
    for term in pod.shape.anti_affinity:
        matched = frozenset(
            i for i, other in enumerate(samples) if _speaks_of(term, pod.namespace, other, snapshot)
        )
        if matched:
            yield Apart(carrier, matched, _domains(snapshot.nodes, term.topology_key))


def _spread(snapshot: Snapshot, samples: Sequence[Pod], carrier: int, pod: Pod) -> Iterable[Spread]:
    for rule in pod.shape.spread:
        tally = SpreadTally(pod.shape, rule, pod.namespace, snapshot.nodes)
        counted = [p for p in snapshot.pods if p.home in snapshot.node_by_name and tally.counts(p)]
        for other in counted:
            node = snapshot.node_by_name[other.home]
            tally.shift(other, node, 1, bound=bool(other.node))
        yield Spread(
            carrier,
            frozenset(i for i, other in enumerate(samples) if tally.counts(other)),
            {
                i: node.labels[rule.topology_key]
                for i, node in enumerate(snapshot.nodes)
                if tally.holds(node)
            },
            dict(tally.here),
            rule.max_skew,
            len(tally.here) < rule.min_domains,
        )


def _together(snapshot: Snapshot, carrier: int, pod: Pod) -> Iterable[Together]:
    for term in pod.shape.affinity:
        if not any(p.home and _speaks_of(term, pod.namespace, p, snapshot) for p in snapshot.pods):
            yield Together(carrier, _domains(snapshot.nodes, term.topology_key))


def _domains(nodes: Sequence[Node], key: str) -> dict[int, str]:
    return {i: node.labels[key] for i, node in enumerate(nodes) if key in node.labels}


class Arrivals:
    """Arrivals by domain under a layout, for whoever places pods one at a time."""

    def __init__(self, between: Sequence[Between], at: Sequence[Mapping[int, int]]) -> None:
        self._at = at
        self._of: dict[int, list[Between]] = {}
        for rule in between:
            for group in {rule.carrier, *getattr(rule, "matched", ())}:
                self._of.setdefault(group, []).append(rule)

    def allow(self, group: int, node: int) -> bool:
        """Whether one more pod of a group on a node leaves the rules that touch it intact."""
        if group not in self._of:
            return True
        there = dict(self._at[group])
        there[node] = there.get(node, 0) + 1
        after = [there if g == group else at for g, at in enumerate(self._at)]
        return all(_holds(rule, after) for rule in self._of[group])

    def hold(self, group: int) -> bool:
        """Whether the rules that touch a group hold under the layout."""
        return all(_holds(rule, self._at) for rule in self._of.get(group, ()))


def count(
    at: Sequence[Mapping[int, int]], groups: Iterable[int], domain: Mapping[int, str], value: str
) -> int:
    """Return how many arrivals of some groups stand in a domain."""
    return sum(c for g in groups for n, c in at[g].items() if domain.get(n) == value)


def _holds(rule: Between, at: Sequence[Mapping[int, int]]) -> bool:
    domains = {rule.domain[n] for n in at[rule.carrier] if n in rule.domain}
    if isinstance(rule, Together):
        return len(domains) <= 1
    if isinstance(rule, Apart):
        most = int(rule.carrier in rule.matched)
        return all(count(at, rule.matched, rule.domain, d) <= most for d in domains)
    counts = {d: f + count(at, rule.matched, rule.domain, d) for d, f in rule.fixed.items()}
    low = 0 if rule.from_zero else min(counts.values(), default=0)
    return all(counts[d] - low <= rule.max_skew for d in domains)
