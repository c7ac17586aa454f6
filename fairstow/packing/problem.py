"""The placement problem in integers: groups of interchangeable pods over nodes.

Pods of equal shape, equal forbidden domains, under the same disruption budget and counted by the
same rules are interchangeable: exchanging two of them changes no rule, no count and no cost. So
the unknown is one integer per group g and node n,

    x[g,n]  how many pods of g stand on n at the end,       c[g,n]  how many do now,

instead of one Boolean per pod and node. With R = Σ c, P the group's pending pods, T = Σ x:

    departures  d[g,n] = max(0, c − x)      moves      M = Σ d − E
    evictions   E      = max(0, R − T)      placements   = max(0, T − R)

which is exact: in an optimum no group both loses and gains pods, for exchanging such a pair
saves disruption and changes nothing else. Who goes where is settled afterwards (`schedule`).

Pods of a group may differ in one thing, the work they would lose (`cost`). Which of those on a
node leave is free to choose, so the d[g,n] that lose least do: with their work sorted,
w1 ≤ w2 ≤ …, the departures of g from n cost w1 + … + w_d on top of what moves and evictions do. As
a function of d that is convex, so minimising over  d = Σ_k d_k,  0 ≤ d_k ≤ how many lose k, with
cost Σ k · d_k, takes the least first by itself: no group is split, and only a node with pods of
several such classes has more than one variable for its departures.

Room of node n in resource r, with everything that can't move counted as fixed:

    Σ_g request[g,r] · x[g,n] ≤ free[n,r]        where the node isn't over capacity in r now;
    x[g,n] ≤ c[g,n] for every g that requests r   where it is (arrivals are judged, not the past).

Amounts of a resource are divided by the greatest common divisor of all requests of it and free
room is rounded down, which changes no solution and keeps the solver's numbers small.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from fairstow.cluster.model import Pod
from fairstow.packing.between import Between
from fairstow.packing.claims import ClaimRule
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
        budgets: indices of what limits how many go down at once: a disruption budget, a serving
            pool.
        work: by node index the work that each of the pods there would lose, least first; nodes
            where nobody loses any are left out.
        alone: whether no pod of it may arrive where another is.
    """

    priority: int
    requests: Mapping[int, int]
    running: Mapping[int, int]
    pending: int
    targets: frozenset[int]
    budgets: tuple[int, ...]
    preempts: bool
    work: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    alone: bool = False

    @cached_property
    def placed(self) -> int:
        """Movable pods that run now."""
        return sum(self.running.values())

    @cached_property
    def most(self) -> int:
        """Pods there are: running and pending."""
        return self.placed + self.pending

    def work_lost(self, node: int, left: int) -> int:
        """Work that is lost where so many pods leave a node."""
        return sum(self.work[node][:left]) if node in self.work else 0

    def classes(self, node: int) -> Counter[int]:
        """How many of the pods on a node lose how much, least first."""
        now = self.running.get(node, 0)
        return Counter(self.work.get(node, (0,) * now))


@dataclass(frozen=True, slots=True)
class Gang:
    """Groups of waiting pods of which at least `need` are placed, or none (`gangs`)."""

    groups: tuple[int, ...]
    need: int


@dataclass(frozen=True)
class Problem:
    """A snapshot in integers.

    Attributes:
        nodes: node names; a node index points here.
        resources: resource names; a resource index points here.
        free: room by node and resource with all movable pods taken away.
        groups: see `Group`.
        over: resources in which a node is over capacity now.
        allowed: how many may go down at once, by index of what limits them.
        pinned: groups that stay as they are; `free` is what they leave.
        between: rules between pods that arrivals must keep.
        gangs: see `Gang`; a group is in one at most.
        claims: rules between arrivals with claims.
    """

    nodes: tuple[str, ...]
    resources: tuple[str, ...]
    free: tuple[tuple[int, ...], ...]
    groups: tuple[Group, ...]
    over: tuple[frozenset[int], ...]
    allowed: tuple[int, ...]
    rules: RuleSet = RuleSet.PRODUCT
    pinned: frozenset[int] = frozenset()
    between: tuple[Between, ...] = ()
    gangs: tuple[Gang, ...] = ()
    claims: tuple[ClaimRule, ...] = ()

    @property
    def priorities(self) -> tuple[int, ...]:
        """Tiers that the groups form, highest first."""
        return tuple(sorted({g.priority for g in self.groups}, reverse=True))

    @property
    def pairs(self) -> int:
        """Pairs of a group that isn't pinned and a node that may take it: the problem's size."""
        return sum(len(g.targets) for i, g in enumerate(self.groups) if i not in self.pinned)

    @cached_property
    def in_play(self) -> tuple[int, ...]:
        """Nodes on which something may change."""
        free = [g for i, g in enumerate(self.groups) if i not in self.pinned]
        return tuple(sorted({n for g in free for n in g.targets | g.running.keys()}))

    @property
    def pods_by_nodes(self) -> int:
        """Pairs of a pod that isn't pinned and a node that may take it."""
        free = (g for i, g in enumerate(self.groups) if i not in self.pinned)
        return sum(g.most * len(g.targets) for g in free)

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
        return max(min(room, 1 if g.alone else g.most), now)


@dataclass(frozen=True)
class Roster:
    """The pods behind the integers.

    Attributes:
        pending: the pending pods of each group, in the order they are to be served.
        running: the movable pods of each group by node index, in the order they would leave.
        fixed: pods with a node that stay, by priority.
        unplaceable: pending pods the planner doesn't try, each with a phrase on why.
        resting: those that could be moved but for their age or a cool-down, with that reason.
    """

    pending: tuple[tuple[Pod, ...], ...]
    running: tuple[Mapping[int, tuple[Pod, ...]], ...]
    fixed: Mapping[int, int]
    unplaceable: tuple[tuple[Pod, str], ...]
    resting: tuple[tuple[Pod, str], ...] = ()

    def sample(self, group: int) -> tuple[Pod, ...]:
        """Return some pods of a group: all are alike."""
        return self.pending[group] or next(iter(self.running[group].values()), ())


def pin_satisfied_tiers(problem: Problem) -> Problem:
    """Hold the top tiers that miss no pod where they are; exact under the order TierByTier.

    Proof: let every pod of tiers p1 … pk be placed. Then the current layout has the largest
    place(p1) … place(pk) there can be and disturbance 0 of pods of priority ≥ pk, so it is optimal
    on those levels; and a layout optimal on them has disturbance 0, hence moves none of these
    pods. All that remains is placed around them.
    """
    open_tiers = [g.priority for g in problem.groups if g.pending]
    highest = max(open_tiers, default=None)
    above = (
        i for i, g in enumerate(problem.groups) if highest is not None and g.priority > highest
    )
    return pin(problem, above)


def pin(problem: Problem, groups: Iterable[int]) -> Problem:
    """Hold some more groups where they are."""
    pinned = problem.pinned | frozenset(groups)
    free = [list(room) for room in problem.free]
    for index in pinned - problem.pinned:
        for node, count in problem.groups[index].running.items():
            for resource, request in problem.groups[index].requests.items():
                free[node][resource] -= request * count
    return replace(problem, free=tuple(tuple(room) for room in free), pinned=pinned)
