"""What every node says to one pod: which rules refuse it, what is short, what would change that.

One pass over the nodes asks all rules as they are. A node that refuses by one rule alone is asked
once more with that rule lifted: if it takes the pod then, the rule was the only thing in the way.
So each relaxation has been tried by the time it is offered.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from fairstow.cluster.model import Node, Pod
from fairstow.cluster.movable import Movability
from fairstow.cluster.quantity import parse, render
from fairstow.cluster.requests import PODS
from fairstow.cluster.rules import Deficit, Refusal, Rule, deficits
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.cluster.tallies import AffinityTally, SpreadTally
from fairstow.packing.between import unplanned
from fairstow.packing.explain.amounts import exact, in_bytes
from fairstow.packing.explain.changes import (
    Key,
    changed,
    changes,
    relaxation,
    sensible,
    uncordoned,
)
from fairstow.packing.explain.model import Change, Near, Relaxation
from fairstow.packing.model import Request

_NEAREST = 3
_MIB = 1 << 20
_CORDON = {Rule.CORDONED, Rule.TAINT}
_BETWEEN = (Rule.SPREAD, Rule.POD_AFFINITY, Rule.OWN_ANTI_AFFINITY, Rule.PORTS, Rule.ANTI_AFFINITY)

STORAGE = ("PersistentVolumeClaim", "PersistentVolume", "StorageClass")
"""Kinds without which nothing can be said about claims."""


class Cluster:
    """A snapshot and what all surveys of it share.

    Args:
        snapshot: the cluster.
        request: what a plan was asked for, if one was: it says who is left alone for now.
    """

    def __init__(self, snapshot: Snapshot, request: Request | None = None) -> None:
        self.snapshot, self._request = snapshot, request
        self.state = State(snapshot)
        self.free = {n.name: snapshot.free(n) for n in snapshot.nodes}
        self.blind = tuple(kind for kind in STORAGE if kind not in snapshot.known)

    @cached_property
    def passing(self) -> tuple[Pod, ...]:
        """Pods that a plan may bring to another node than they have."""
        asked = self._request or Request(self.snapshot)
        movability = Movability(self.snapshot, asked.min_age, asked.cooling)
        return tuple(
            p
            for p in self.snapshot.pods
            if p.pending or (p.node and not unplanned(p) and not movability.refusal(p))
        )

    @cached_property
    def emptied(self) -> State:
        """The cluster without those: what no plan changes."""
        passing = {p.uid for p in self.passing}
        staying = tuple(p for p in self.snapshot.pods if p.uid not in passing)
        return State(replace(self.snapshot, pods=staying))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says to the pod.

    Attributes:
        refusals: by rules other than room, in the order in which they are asked.
        short: what it hasn't enough of.
        doubts: why it can't be told whether it takes the pod.
    """

    node: Node
    refusals: tuple[Refusal, ...]
    short: tuple[Deficit, ...]
    doubts: tuple[Refusal, ...]

    @property
    def free(self) -> bool:
        """Whether nothing that is known is in the way."""
        return not (self.refusals or self.short)


@dataclass(frozen=True, slots=True)
class Lifted:
    """A node with room, which one rule alone refuses. Attributes: change: None if none would do."""

    node: Node
    refusal: Refusal
    change: Key | None


class Survey:
    """All nodes' answers to one pod.

    Attributes:
        open: answers of nodes that no rule but room closes to the pod.
    """

    def __init__(self, cluster: Cluster, pod: Pod) -> None:
        self.cluster, self.pod = cluster, pod
        self._changed: dict[Key, Pod] = {}
        self.answers = [self._ask(pod, node) for node in cluster.snapshot.nodes]
        self.open = [a for a in self.answers if not a.refusals]

    @property
    def fitting(self) -> tuple[str, ...]:
        """Nodes that take the pod now, by name."""
        return tuple(a.node.name for a in self.open if not (a.short or a.doubts))

    @property
    def unsure(self) -> tuple[Answer, ...]:
        """Answers of nodes that have room, but of which not all is known."""
        return tuple(a for a in self.open if not a.short and a.doubts)

    @property
    def large_enough(self) -> bool:
        """Whether an open node would have room if nothing else stood on it."""
        return any(not deficits(self.pod.shape, a.node.allocatable) for a in self.open)

    @cached_property
    def in_reach(self) -> tuple[Node, ...]:
        """Nodes that refuse by nothing but what a plan may change."""
        shape = self.pod.shape
        keys = [r.topology_key for r in shape.spread] + [t.topology_key for t in shape.affinity]
        changes = {Rule.ROOM, Rule.SPREAD, Rule.NOT_CONSIDERED}
        if self.cluster.blind:
            changes.add(Rule.CLAIM)
        near = AffinityTally(shape.affinity, self.pod.namespace, self.cluster.snapshot.namespaces)
        if any(near.counts(other) for other in self.cluster.passing if other.uid != self.pod.uid):
            changes.add(Rule.POD_AFFINITY)
        return tuple(
            node
            for node in self.cluster.snapshot.nodes
            if all(key in node.labels for key in keys)
            and {r.rule for r in self.cluster.emptied.refusals(self.pod, node)} <= changes
        )

    @cached_property
    def plan_may_help(self) -> bool:
        """Whether a node within a plan's reach would have room if nothing else stood on it."""
        return any(not deficits(self.pod.shape, n.allocatable) for n in self.in_reach)

    def but_for_kept(self, answer: Answer) -> bool:
        """Whether an open node would take the pod, were no room kept there for others' pods."""
        snapshot, node = self.cluster.snapshot, answer.node
        used = snapshot.used[node.name]
        room = {r: n - used.get(r, 0) for r, n in node.allocatable.items()}
        return bool(answer.short) and not deficits(self.pod.shape, room)

    def _ask(self, pod: Pod, node: Node) -> Answer:
        said = self.cluster.state.refusals(pod, node)
        refusals, doubts = [], []
        short: tuple[Deficit, ...] = ()
        for refusal in said:
            match refusal.rule:
                case Rule.NOT_CONSIDERED:
                    doubts.append(refusal)
                case Rule.CLAIM if self.cluster.blind:
                    unseen = f"the input holds no {self.cluster.blind[0]}s"
                    doubts.append(Refusal(Rule.NOT_CONSIDERED, f"can't be judged: {unseen}"))
                case Rule.ROOM:
                    short = deficits(pod.shape, self.cluster.free[node.name])
                case _:
                    refusals.append(refusal)
        return Answer(node, tuple(refusals), short, tuple(doubts))

    # One rule lifted

    @cached_property
    def lifted(self) -> tuple[Lifted, ...]:
        """Nodes with room that one rule alone refuses."""
        return tuple(x for a in self.answers if not a.short and (x := self._lift(a)))

    def _lift(self, answer: Answer) -> Lifted | None:
        rules = {r.rule for r in answer.refusals}
        if not rules or (len(answer.refusals) > 1 and rules != _CORDON):
            return None
        node, refusal = answer.node, answer.refusals[0]
        tried = tuple(changes(self.pod, node, refusal, self._skew))
        for key in tried:
            after = self._ask(self._with(key), _changed_node(node, key))
            if after.free:
                offered = not after.doubts and sensible(self.pod, key)
                return Lifted(node, refusal, key if offered else None)
        return None if tried else Lifted(node, refusal, None)

    def _with(self, key: Key) -> Pod:
        if key not in self._changed:
            self._changed[key] = changed(self.pod, *key)
        return self._changed[key]

    def _skew(self, index: int, node: Node) -> int:
        domain = node.labels[self.pod.shape.spread[index].topology_key]
        return self._spread[index].skew(self.pod, domain)

    @cached_property
    def _spread(self) -> tuple[SpreadTally, ...]:
        """What each of the pod's spread constraints counts now."""
        snapshot, pod = self.cluster.snapshot, self.pod
        tallies = tuple(
            SpreadTally(pod.shape, rule, pod.namespace, snapshot.nodes) for rule in pod.shape.spread
        )
        for other in snapshot.pods:
            if other.namespace == pod.namespace and other.node in snapshot.node_by_name:
                for tally in tallies:
                    if tally.counts(other):
                        tally.shift(other, snapshot.node_by_name[other.node], 1, bound=True)
        return tallies

    # What is short

    def apart(self) -> str:
        """Say what keeps apart what the pod needs, where each resource is free somewhere."""
        lacking = Counter(d.resource for a in self.open for d in a.short)
        scarce = lacking.most_common(1)[0][0]
        having = [a.short for a in self.open if all(d.resource != scarce for d in a.short)]
        missing = Counter(d.resource for s in having for d in s).most_common()
        rest = ", ".join(f"{resource} on {n}" for resource, n in missing)
        have = f"{len(having)} have" if len(having) > 1 else "1 has"
        return f"{have} enough {scarce}, but too little else: {rest}"

    def largest_holes(self) -> list[tuple[str, str, str]]:
        """Return (resource, largest free, asked) for what no open node has enough of."""
        holes = []
        for resource, _ in self.pod.shape.requests:
            short = [d for a in self.open for d in a.short if d.resource == resource]
            if short and len(short) == len(self.open):
                best = max(max(d.free, 0) for d in short)
                holes.append((resource, *pair(resource, best, short[0].wanted)))
        return holes

    def nearest(self) -> tuple[Near, ...]:
        """Return the open nodes that lack least; one place is for those a rule alone refuses."""
        if self.fitting or self.unsure:
            return ()
        ranked = sorted(
            ((a.node.name, a.short) for a in self.open if a.short),
            key=lambda entry: (_distance(entry[1]), entry[0]),
        )
        refused = sorted(self.lifted, key=lambda x: x.refusal.rule not in _BETWEEN)
        lacking = [Near(name, short, None) for name, short in ranked[:_NEAREST]]
        ready = [Near(x.node.name, (), x.refusal) for x in refused[:_NEAREST]]
        return tuple([*lacking[: _NEAREST - bool(ready)], *ready][:_NEAREST])

    # Changes

    def relaxations(self) -> tuple[Relaxation, ...]:
        """Return single changes that would let the pod run now, the smallest first."""
        if self.fitting or self.unsure:
            return ()
        nodes: dict[Key, list[str]] = {}
        for x in self.lifted:
            if x.change is not None:
                nodes.setdefault(x.change, []).append(x.node.name)
        best: dict[Change, Relaxation] = {}
        for key, found in sorted(nodes.items(), key=_preference):
            if key[0] not in best:
                best[key[0]] = relaxation(self.pod.shape, key, tuple(found))
        return (*self._smaller_requests(), *(best[c] for c in Change if c in best))

    def _smaller_requests(self) -> Iterable[Relaxation]:
        """Yield, for each resource, the largest amount that would fit, the least cut first."""
        offers: dict[str, list[tuple[int, Node, int]]] = {}
        single = [(a.node, a.short[0]) for a in self.open if len(a.short) == 1]
        for node, lack in single:
            amount = _rounded_down(lack.resource, lack.free)
            if amount and lack.resource != PODS:
                offers.setdefault(lack.resource, []).append((amount, node, lack.wanted))
        found = []
        for resource, options in offers.items():
            amount, wanted = max((amount, wanted) for amount, _, wanted in options)
            key = (Change.REQUEST, resource, str(amount))
            less = self._with(key)
            taking = [
                node.name
                for each, node, _ in options
                if each == amount and self.cluster.state.refusal(less, node) is None
            ]
            if taking:
                found.append((1 - amount / wanted, key, tuple(taking)))
        return (relaxation(self.pod.shape, key, taking) for _, key, taking in sorted(found))


def _changed_node(node: Node, key: Key) -> Node:
    return uncordoned(node) if key[0] is Change.UNCORDON else node


def _preference(entry: tuple[Key, list[str]]) -> tuple[int, int, str, str]:
    """Sort changes of a kind: the least skew, then what opens most nodes."""
    (change, key, value), nodes = entry
    return int(value) if change is Change.SKEW else 0, -len(nodes), key, value


def pair(resource: str, less: int, more: int) -> tuple[str, str]:
    """Write two amounts so that rounding doesn't make them look equal."""
    written = (render(resource, less), render(resource, more))
    if written[0] == written[1]:
        return exact(resource, less), exact(resource, more)
    return written


def _distance(short: tuple[Deficit, ...]) -> tuple[float, float]:
    """How far a node is from taking the pod: the worst shortage as a share, then all of them."""
    shares = [d.missing / d.wanted for d in short]
    return max(shares), sum(shares)


def _rounded_down(resource: str, free: int) -> int:
    """Return an amount a person would write, at most `free`; 0 if there is none."""
    if free <= 0 or not in_bytes(resource):
        return max(free, 0)
    step = _MIB
    if resource.startswith("hugepages-"):
        step = parse(resource, resource.removeprefix("hugepages-"))
    return free - free % step
