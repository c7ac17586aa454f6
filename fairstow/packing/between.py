"""Rules between pods: apart, near, evenly spread. Stated on layouts, as the scheduler judges.

Who calls it: `pairing` makes the rules of a snapshot, `ledger` keeps what they sum up to date,
`statement` hands them to CP-SAT, and the schedule judges every step by the scheduler's own rules.

Arrivals are judged, not the past: a pod that stays is legal where it is. With x[g,n] pods of group
g on node n at the end, c[g,n] now, and by topology domain D

    x[g,D] = Σ_{n∈D} x[g,n]        a[g,D] = Σ_{n∈D} max(0, x[g,n] − c[g,n])     arrivals

the rules are (f counts matching pods that stay, whatever the plan; C is the carrier, M whom the
rule's selector means; InterPodAffinity and PodTopologySpread of kube-scheduler):

    Apart   a[C,D] > 0          →  Σ_{m∈M} x[m,D] ≤ [C ∈ M]
            a[m,D] > 0, m ≠ C   →  x[C,D] = 0        (f > 0 closes D to C, a carrier that stays
                                                      closes it to M: both before the search)
    Spread  a[C,D] > 0          →  f[D] + Σ_{m∈M} x[m,D] − low ≤ maxSkew
            low ≤ f[D'] + Σ_{m∈M} x[m,D'] for every D', or 0 with fewer than minDomains domains
    Near    x[C,D] > 0          →  f[D] + Σ_{m∈M} x[m,D] ≥ 1 + [C ∈ M]       where C arrives in D
                                   or its pods there have what they need now
            a[C,D] > 0          →  some m ∈ M − C arrives in D      where D holds none of M now
            but one domain may be *founded* by a C ∈ M that arrives where there is no M anywhere

Necessary. A plan moves each pod at most once, so who has arrived in D is there in the end, and
where x[g,n] > c[g,n] a pod of g did arrive at n, whichever pods of g a plan exchanges. *Apart*: let
p of C have arrived in D and q ≠ p of M be there at the end. Of the two that came last into D, or
moved inside it, met the other, which was there already; either arrival is refused, by p's rule or
by its symmetry. *Near*: at the first arrival of anyone of M in a domain without M, a carrier is
refused unless nobody of M is placed anywhere, which holds for one arrival at most. *Spread*: if
only C is counted and has no running pods that may leave, counts never fall. At the last arrival in
D count[D] was final and low at most what it is in the end, so the final layout keeps the rule.

Stricter than any order asks, so that no bound may rest on it (`exact`): Spread where counted pods
may leave or others arrive, since low may sink after an arrival; Near where all of M could be taken
down at once and founded anew elsewhere. And one rule of our own: Kubernetes doesn't mind if a pod
that a running pod must be near goes away (IgnoredDuringExecution), but the running pod would not
start again where it is, so a plan leaves nobody's affinity unmet that is met now or was asked for
on arrival. This belongs to what a plan may do, as budgets do, and proofs speak of such plans.

Not sufficient: which order is legal hangs on room too. The schedule finds one or leaves out what
it finds none for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fairstow.cluster.model import Pod
from fairstow.cluster.shapes import ANY_ADDRESS
from fairstow.cluster.state import JUDGED

PORT = "host port "
"""Prefix of the pseudo-resources that make a host port a room of one per node."""

Counts = Mapping[str, int]
"""Pods by topology domain; domains with none may be left out."""


@dataclass(frozen=True)
class Sum:
    """What a rule adds up in each domain: pods of some groups, or only those that arrive."""

    groups: frozenset[int]
    arrivals: bool = False


@dataclass(frozen=True)
class Apart:
    """Attributes: domain: by node index. See the module."""

    carrier: int
    matched: frozenset[int]
    domain: Mapping[int, str]
    exact: bool = True

    @cached_property
    def sums(self) -> tuple[Sum, ...]:
        """Carriers that arrive, matched pods, matched others that arrive, carriers."""
        carrier = frozenset({self.carrier})
        return (
            Sum(carrier, arrivals=True),
            Sum(self.matched),
            Sum(self.matched - carrier, arrivals=True),
            Sum(carrier),
        )

    @property
    def most(self) -> int:
        """Matched pods there may be where a carrier arrives."""
        return int(self.carrier in self.matched)

    def holds(self, sums: Sequence[Counts], low: int) -> bool:
        """Whether the rule holds where its sums are these."""
        del low
        arrive, there, others, carriers = sums
        return all(there.get(d, 0) <= self.most for d in arrive) and not any(
            carriers.get(d) for d in others
        )


@dataclass(frozen=True)
class Spread:
    """Attributes: domain: by index of the nodes that count; names: all domains. See the module."""

    carrier: int
    matched: frozenset[int]
    domain: Mapping[int, str]
    names: frozenset[str]
    fixed: Mapping[str, int]
    max_skew: int
    from_zero: bool
    exact: bool

    @cached_property
    def sums(self) -> tuple[Sum, ...]:
        """Carriers that arrive, matched pods."""
        return (Sum(frozenset({self.carrier}), arrivals=True), Sum(self.matched))

    def holds(self, sums: Sequence[Counts], low: int) -> bool:
        """Whether the rule holds where its sums are these and the emptiest domain has `low`."""
        arrive, there = sums
        low = 0 if self.from_zero else low
        return all(self.total(d, there) - low <= self.max_skew for d in arrive)

    def total(self, domain: str, there: Counts) -> int:
        """Counted pods in a domain, with those that stay."""
        return self.fixed.get(domain, 0) + there.get(domain, 0)


@dataclass(frozen=True)
class Near:
    """One topology key of one affinity, for all groups that have it.

    Attributes:
        carriers: groups with the affinity; of pods that stay see `least`.
        domain: by node index.
        fixed: matched pods that stay, by domain.
        now: matched pods there are now, by domain.
        least: matched pods that pods which stay need in their domain.
        founders: domains that may be founded, 0 or 1.
        home: where the only matched pod there is stands now; it must leave for another to found.
    """

    carriers: frozenset[int]
    matched: frozenset[int]
    domain: Mapping[int, str]
    fixed: Mapping[str, int]
    now: Mapping[str, int]
    least: Mapping[str, int]
    founders: int
    home: str
    exact: bool

    @cached_property
    def sums(self) -> tuple[Sum, ...]:
        """Carriers that match themselves: arriving, all; others: arriving, all; matched, others."""
        own, others = self.carriers & self.matched, self.carriers - self.matched
        return (
            Sum(own, arrivals=True),
            Sum(own),
            Sum(others, arrivals=True),
            Sum(others),
            Sum(self.matched),
            Sum(self.matched - self.carriers),
        )

    def holds(self, sums: Sequence[Counts], low: int) -> bool:
        """Whether the rule holds where its sums are these."""
        del low
        founded = self.founded(sums)
        if founded is None or len(founded) > self.founders:
            return False
        there = sums[4]
        return not (founded - {self.home} and self.home and there.get(self.home))

    def founded(self, sums: Sequence[Counts]) -> set[str] | None:
        """Return the domains that only a founder could open; None where that doesn't help."""
        own_new, own, new, others, there, _ = sums
        if any(self.total(d, there) < least for d, least in self.least.items()):
            return None
        found = set()
        for d in own.keys() | others.keys():
            now = self.now.get(d, 0)
            total = self.total(d, there)
            if total < 1 and (others if now else new).get(d):
                return None
            if self.opens(d, sums) or (total < 2 and (own if now > 1 else own_new).get(d)):
                found.add(d)
        return found if found <= own_new.keys() else None

    def opens(self, domain: str, sums: Sequence[Counts]) -> bool:
        """Whether carriers come to a domain where nobody was, and nobody else opens it."""
        arrive = sums[0].get(domain) or sums[2].get(domain)
        return bool(arrive and not self.now.get(domain) and not sums[5].get(domain))

    def total(self, domain: str, there: Counts) -> int:
        """Matched pods in a domain, with those that stay."""
        return self.fixed.get(domain, 0) + there.get(domain, 0)


Between = Apart | Spread | Near


def exact(between: Iterable[Between]) -> bool:
    """Whether the rules as stated forbid no layout that some order of steps allows."""
    return all(rule.exact for rule in between)


def unplanned(pod: Pod) -> str:
    """Return which of a pod's rules the planner doesn't model, "" if it may be placed or moved."""
    unknown = [name for name in pod.shape.unmodelled if name not in JUDGED]
    if any(port.address != ANY_ADDRESS for port in pod.shape.host_ports):
        unknown.append("host ports on one address alone")
    return ", ".join(unknown)
