"""The placement problem in integers: groups of interchangeable pods over nodes.

Pods of equal shape, equal forbidden domains and under the same disruption budget are
interchangeable: exchanging two of them changes no rule, no count and no cost. So the unknown is
one integer per group g and node n,

    x[g,n]  how many pods of g stand on n at the end,       c[g,n]  how many do now,

instead of one Boolean per pod and node. With R = Σ c, P the group's pending pods, T = Σ x:

    departures  d[g,n] = max(0, c − x)      moves      M = Σ d − E
    evictions   E      = max(0, R − T)      placements   = max(0, T − R)

which is exact: in an optimum no group both loses and gains pods, for exchanging such a pair
saves disruption and changes nothing else. Who goes where is settled afterwards (`assignment`).

Room of node n in resource r, with everything that can't move counted as fixed:

    Σ_g request[g,r] · x[g,n] ≤ free[n,r]        where the node isn't over capacity in r now;
    x[g,n] ≤ c[g,n] for every g that requests r   where it is (arrivals are judged, not the past).

Amounts of a resource are divided by the greatest common divisor of all requests of it and free
room is rounded down, which changes no solution and keeps the solver's numbers small.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd

from fairstow.cluster.model import Pod
from fairstow.cluster.movable import Movability
from fairstow.cluster.rules import Rules
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.model import RuleSet

Layout = list[dict[int, int]]
"""Pods by group and node: `layout[g][n]` > 0; nodes without a pod of the group are left out."""

Site = tuple[int, int]
"""A group on a node: (group index, node index)."""


@dataclass(frozen=True)
class Group:
    """Interchangeable pods.

    Attributes:
        requests: amount by resource index, scaled, only what is requested.
        running: movable pods by node index.
        pending: how many wait.
        targets: node indices that may receive one, as far as static rules go.
        budget: index of the disruption budget they are under, or None.
    """

    priority: int
    requests: Mapping[int, int]
    running: Mapping[int, int]
    pending: int
    targets: frozenset[int]
    budget: int | None
    preempts: bool

    @cached_property
    def placed(self) -> int:
        """Movable pods that run now."""
        return sum(self.running.values())

    @cached_property
    def most(self) -> int:
        """Pods there are: running and pending."""
        return self.placed + self.pending


@dataclass(frozen=True)
class Problem:
    """A snapshot in integers.

    Attributes:
        nodes: node names; a node index points here.
        resources: resource names; a resource index points here.
        free: room by node and resource with all movable pods taken away.
        groups: see `Group`.
        over: resources in which a node is over capacity now.
        allowed: disruptions allowed by budget index.
        pinned: groups that stay as they are; `free` is what they leave.
    """

    nodes: tuple[str, ...]
    resources: tuple[str, ...]
    free: tuple[tuple[int, ...], ...]
    groups: tuple[Group, ...]
    over: tuple[frozenset[int], ...]
    allowed: tuple[int, ...]
    rules: RuleSet = RuleSet.PRODUCT
    pinned: frozenset[int] = frozenset()

    @property
    def priorities(self) -> tuple[int, ...]:
        """Tiers that the groups form, highest first."""
        return tuple(sorted({g.priority for g in self.groups}, reverse=True))

    def current(self) -> Layout:
        """The layout as it is."""
        return [dict(g.running) for g in self.groups]

    def ceiling(self, group: int, node: int) -> int:
        """The most pods of a group that node may hold at the end, other pods set aside.

        Pinned groups aren't asked about.
        """
        g = self.groups[group]
        now = g.running.get(node, 0)
        if node not in g.targets or any(r in self.over[node] for r in g.requests):
            return now
        room = min((self.free[node][r] // q for r, q in g.requests.items()), default=g.most)
        return max(min(room, g.most), now)


@dataclass(frozen=True)
class Roster:
    """The pods behind the integers.

    Attributes:
        pending: the pending pods of each group, in the order they are to be served.
        running: the movable pods of each group by node index.
        fixed: pods with a node that stay, by priority.
        unplaceable: pending pods the planner doesn't try, with the rules it doesn't model.
    """

    pending: tuple[tuple[Pod, ...], ...]
    running: tuple[Mapping[int, tuple[Pod, ...]], ...]
    fixed: Mapping[int, int]
    unplaceable: tuple[tuple[Pod, str], ...]


def pin_satisfied_tiers(problem: Problem) -> Problem:
    """Hold the top tiers that miss no pod where they are; exact under the order TierByTier.

    Proof: let every pod of tiers p1 … pk be placed. Then the current layout has the largest
    place(p1) … place(pk) there can be and disturbance 0 of pods of priority ≥ pk, so it is optimal
    on those levels; and a layout optimal on them has disturbance 0, hence moves none of these
    pods. All that remains is placed around them.
    """
    open_tiers = [g.priority for g in problem.groups if g.pending]
    highest = max(open_tiers, default=None)
    pinned = frozenset(
        i for i, g in enumerate(problem.groups) if highest is not None and g.priority > highest
    )
    free = [list(room) for room in problem.free]
    for index in pinned - problem.pinned:
        for node, count in problem.groups[index].running.items():
            for resource, request in problem.groups[index].requests.items():
                free[node][resource] -= request * count
    return replace(problem, free=tuple(tuple(room) for room in free), pinned=pinned)


def formulate(snapshot: Snapshot, rules_set: RuleSet = RuleSet.PRODUCT) -> tuple[Problem, Roster]:
    """Return the placement problem of a snapshot and the pods it speaks of."""
    rules, movability = Rules(snapshot), Movability(snapshot)
    budget_index = {b.ref: i for i, b in enumerate(snapshot.budgets)}
    node_index = {n.name: i for i, n in enumerate(snapshot.nodes)}
    pending: dict[tuple[object, ...], list[Pod]] = {}
    running: dict[tuple[object, ...], dict[int, list[Pod]]] = {}
    fixed: list[Pod] = []
    fixed_before: dict[int, int] = {}
    unplaceable: list[tuple[Pod, str]] = []
    for pod in snapshot.pods:
        priority = pod.shape.priority
        if pod.pending:
            if pod.shape.unmodelled:
                unplaceable.append((pod, ", ".join(pod.shape.unmodelled)))
            else:
                pending.setdefault(_key(pod, rules, movability), []).append(pod)
        elif pod.node and not pod.nominated and not movability.refusal(pod):
            at = running.setdefault(_key(pod, rules, movability), {})
            at.setdefault(node_index[pod.node], []).append(pod)
        else:
            fixed.append(pod)
            if pod.home and not pod.terminating:
                fixed_before[priority] = fixed_before.get(priority, 0) + 1
    keys = sorted(pending.keys() | running.keys(), key=repr)
    samples = [pending[k][0] if k in pending else next(iter(running[k].values()))[0] for k in keys]
    resources, units = _units(samples)
    groups = tuple(
        Group(
            priority=sample.shape.priority,
            requests={
                i: amount // units[i]
                for i, name in enumerate(resources)
                if (amount := dict(sample.shape.requests).get(name, 0))
            },
            running={n: len(pods) for n, pods in sorted(running.get(key, {}).items())},
            pending=len(pending.get(key, ())),
            targets=_targets(sample, snapshot, rules),
            budget=next((budget_index[b.ref] for b in movability.budgets(sample)), None),
            preempts=sample.shape.preempts,
        )
        for key, sample in zip(keys, samples, strict=True)
    )
    problem = Problem(
        nodes=tuple(n.name for n in snapshot.nodes),
        resources=resources,
        free=_free(snapshot, fixed, resources, units),
        groups=groups,
        over=tuple(
            frozenset(i for i, r in enumerate(resources) if room.get(r, 0) < 0)
            for room in (snapshot.free(n) for n in snapshot.nodes)
        ),
        allowed=tuple(b.allowed for b in snapshot.budgets),
        rules=rules_set,
    )
    roster = Roster(
        pending=tuple(tuple(pending.get(k, ())) for k in keys),
        running=tuple({n: tuple(pods) for n, pods in running.get(k, {}).items()} for k in keys),
        fixed=fixed_before,
        unplaceable=tuple(unplaceable),
    )
    return problem, roster


def _key(pod: Pod, rules: Rules, movability: Movability) -> tuple[object, ...]:
    """What makes pods interchangeable; more than one budget means it is pending (or immovable)."""
    budgets = tuple(b.ref for b in movability.budgets(pod))
    return (pod.shape, tuple(sorted(rules.forbidden_domains(pod))), budgets)


def _units(samples: list[Pod]) -> tuple[tuple[str, ...], list[int]]:
    """Return the requested resources and the greatest common divisor of their requests."""
    units: dict[str, int] = {}
    for pod in samples:
        for name, amount in pod.shape.requests:
            units[name] = gcd(units.get(name, 0), amount)
    names = tuple(sorted(units))
    return names, [units[n] for n in names]


def _targets(pod: Pod, snapshot: Snapshot, rules: Rules) -> frozenset[int]:
    return frozenset(
        i for i, node in enumerate(snapshot.nodes) if rules.static_refusal(pod, node) is None
    )


def _free(
    snapshot: Snapshot, fixed: list[Pod], resources: tuple[str, ...], units: list[int]
) -> tuple[tuple[int, ...], ...]:
    held: dict[str, dict[str, int]] = {}
    for pod in fixed:
        total = held.setdefault(pod.home, {})
        for name, amount in pod.shape.requests:
            total[name] = total.get(name, 0) + amount
    return tuple(
        tuple(
            (node.allocatable.get(name, 0) - held.get(node.name, {}).get(name, 0)) // unit
            for name, unit in zip(resources, units, strict=True)
        )
        for node in snapshot.nodes
    )
