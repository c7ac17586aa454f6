"""From a snapshot to the placement problem in integers, and the pods behind the integers.

Called by the planner. Each pod is one of: waiting in a group, running in a group (movable), fixed
(it stays, and what it holds is taken off its node's room), or left out because it uses a rule that
isn't modelled.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import gcd

import msgspec

from fairstow.cluster.attachments import Attachments
from fairstow.cluster.engines import AT_ONCE
from fairstow.cluster.model import Budget, EnginePool, Node, Pod
from fairstow.cluster.movable import Movability
from fairstow.cluster.rules import Rules
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.between import PORT, unplanned
from fairstow.packing.claims import Lingering, Register, untried
from fairstow.packing.cost import work_lost
from fairstow.packing.gangs import Gangs, gangs_of, waiting_gangs, without_hopeless
from fairstow.packing.model import RuleSet, Scope
from fairstow.packing.pairing import Cast, Watches, apart_by_node, rules_between
from fairstow.packing.problem import Group, Problem, Roster

Key = tuple[object, ...]
Limit = Budget | EnginePool


def formulate(
    snapshot: Snapshot,
    rule_set: RuleSet = RuleSet.PRODUCT,
    *,
    min_age: int = 0,
    cooling: frozenset[str] = frozenset(),
    scope: Scope | None = None,
    apart: Callable[[Pod], object] = lambda _: None,
) -> tuple[Problem, Roster]:
    """Return the placement problem of a snapshot and the pods it speaks of.

    `min_age`, `cooling` and `scope` are those of a `Request`. Pods of different `apart` are not
    interchangeable, whatever else they share.
    """
    movability = Movability(snapshot, min_age, cooling, scope.spared if scope else ())
    sorting = _Sorting(snapshot, rule_set, movability, scope, apart)
    groups = sorting.in_order()
    samples = [sample for _, sample in groups]
    running = [
        {n: len(pods) for n, pods in sorted(sorting.running.get(key, {}).items())}
        for key, _ in groups
    ]
    cast = Cast(snapshot, sorting.watches, samples, running, sorting.fixed)
    resources, units = _units(samples)
    make = _GroupMaker(cast, sorting, resources, units)
    between = rules_between(cast)
    wide = [rule for rule in between if not apart_by_node(rule, len(snapshot.nodes))]
    alone = {rule.carrier for rule in between if apart_by_node(rule, len(snapshot.nodes))}
    made = [make(index, key) for index, (key, _) in enumerate(groups)]
    free = _free(snapshot, sorting.fixed, resources, units)
    problem = Problem(
        nodes=tuple(n.name for n in snapshot.nodes),
        resources=resources,
        free=free,
        groups=tuple(replace(g, alone=True) if i in alone else g for i, g in enumerate(made)),
        over=_over(free, made),
        allowed=(*(b.allowed for b in snapshot.budgets), *(AT_ONCE for _ in snapshot.engine_pools)),
        rules=rule_set,
        between=tuple(wide),
        gangs=gangs_of(sorting.gangs, samples),
        claims=sorting.claims.rules(samples, running, [g.most for g in made]),
    )
    roster = Roster(
        pending=tuple(tuple(sorting.pending.get(key, ())) for key, _ in groups),
        running=tuple(
            {n: tuple(pods) for n, pods in sorting.running.get(key, {}).items()}
            for key, _ in groups
        ),
        fixed=sorting.fixed_by_tier(),
        unplaceable=tuple(sorting.unplaceable),
        resting=tuple(sorting.resting),
    )
    return without_hopeless(problem), roster


def left_out(
    snapshot: Snapshot, untried_besides: Mapping[str, str] | None = None
) -> tuple[Gangs, Mapping[str, str]]:
    """Return the gangs that wait, and by UID why pending pods aren't tried, a phrase about them."""
    waiting = [p for p in snapshot.pods if p.pending]
    attachments = Attachments(snapshot)
    lingering = Lingering(snapshot)
    besides = untried_besides or {}
    reasons: dict[str, str] = {}
    for pod in waiting:
        if pod.uid in besides:
            reasons[pod.uid] = besides[pod.uid]
        elif rules := unplanned(pod):
            reasons[pod.uid] = f"with {rules}: placing them isn't modelled yet"
        elif reason := untried(snapshot, attachments, pod) or lingering.untried(pod):
            reasons[pod.uid] = reason
    found = waiting_gangs(snapshot, [p for p in waiting if p.uid not in reasons])
    short = {p.uid: found.short[p.gang] for p in waiting if p.gang in found.short}
    return found, short | reasons


@dataclass
class _Sorting:
    """The pods of a snapshot, each in its place."""

    snapshot: Snapshot
    rule_set: RuleSet
    movability: Movability
    scope: Scope | None
    apart: Callable[[Pod], object]
    pending: dict[Key, list[Pod]] = field(default_factory=dict)
    running: dict[Key, dict[int, list[Pod]]] = field(default_factory=dict)
    fixed: list[Pod] = field(default_factory=list)
    resting: list[tuple[Pod, str]] = field(default_factory=list)
    unplaceable: list[tuple[Pod, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        scope = self.scope
        self.gangs, reasons = left_out(self.snapshot, scope.untried if scope else None)
        self.claims = Register(self.snapshot)
        waiting, moving = [], []
        for pod in self.snapshot.pods:
            if pod.uid in reasons:
                self.unplaceable.append((pod, reasons[pod.uid]))
            elif pod.pending:
                waiting.append(pod)
            elif not pod.node or pod.nominated or unplanned(pod) or not self.in_scope(pod.node):
                self.fixed.append(pod)
            elif refusal := self.movability.refusal(pod):
                self.fixed.append(pod)
                if refusal == self.movability.rest(pod):
                    self.resting.append((pod, refusal))
            else:
                moving.append(pod)
        self.rules = Rules(self.snapshot, self.fixed)
        near = (p for p in self.fixed if p.home and p.shape.affinity)
        self.watches = Watches(self.snapshot, (*waiting, *moving, *near))
        for pod in waiting:
            self.pending.setdefault(self._key(pod), []).append(pod)
        self._run(moving)

    def _run(self, moving: Iterable[Pod]) -> None:
        index = {n.name: i for i, n in enumerate(self.snapshot.nodes)}
        for pod in moving:
            at = self.running.setdefault(self._key(pod), {})
            at.setdefault(index[pod.node], []).append(pod)
        for at in self.running.values():
            for pods in at.values():
                # Those not Ready go before others of their class: losing them costs least.
                pods.sort(key=lambda p: (self.work(p), p.ready, p.name))

    def in_scope(self, node: str) -> bool:
        """Whether pods may leave a node or arrive there."""
        return self.scope is None or node in self.scope.nodes

    def work(self, pod: Pod) -> int:
        """Return the units of work that a running pod would lose."""
        if self.rule_set is RuleSet.PAPER:
            return 0
        return work_lost(pod, self.snapshot)

    def limits(self, pod: Pod) -> tuple[Limit, ...]:
        """Return what limits how many pods like this one go down at once."""
        return (*self.movability.budgets(pod), *self.snapshot.engines.pools(pod))

    def _key(self, pod: Pod) -> Key:
        """What makes pods interchangeable: shape, budgets, and all that rules say of them."""
        budgets = tuple(b.ref for b in self.movability.budgets(pod))
        engine_of = tuple(pool.ref for pool in self.snapshot.engines.pools(pod))
        kept_out = tuple(sorted(self.rules.forbidden_domains(pod)))
        own = pod.namespace if pod.shape.unmodelled else ""
        shape, claims = pod.shape, self.claims.kind(pod)
        if claims:
            shape = msgspec.structs.replace(shape, claims=())
        seen, gang, kind = self.watches.seen(pod), self.gangs.of(pod), self.apart(pod)
        return (shape, kept_out, budgets, own, seen, gang, claims, kind, engine_of)

    def in_order(self) -> list[tuple[Key, Pod]]:
        """Return the groups' keys with a sample pod each, a pending one if there is one."""
        keys = sorted(self.pending.keys() | self.running.keys(), key=repr)
        return [(k, (self.pending.get(k) or next(iter(self.running[k].values())))[0]) for k in keys]

    def fixed_by_tier(self) -> Mapping[int, int]:
        """Return how many pods that stay have a node, by priority; those going away don't count."""
        tiers: dict[int, int] = {}
        for pod in self.fixed:
            if pod.home and not pod.terminating:
                tiers[pod.shape.priority] = tiers.get(pod.shape.priority, 0) + 1
        return tiers


class _GroupMaker:
    """Makes groups; holds what all of them need."""

    def __init__(
        self, cast: Cast, sorting: _Sorting, resources: Sequence[str], units: Sequence[int]
    ) -> None:
        self._cast, self._sorting = cast, sorting
        self._resources, self._units = resources, units
        limits: tuple[Limit, ...] = (*sorting.snapshot.budgets, *sorting.snapshot.engine_pools)
        self._limit_index = {limit: i for i, limit in enumerate(limits)}

    def __call__(self, index: int, key: Key) -> Group:
        sorting, sample = self._sorting, self._cast.samples[index]
        wanted = amounts(sample)
        return Group(
            priority=sample.shape.priority,
            requests={
                i: wanted[name] // self._units[i]
                for i, name in enumerate(self._resources)
                if wanted.get(name)
            },
            running=self._cast.running[index],
            pending=len(sorting.pending.get(key, ())),
            targets=self._targets(sample),
            budgets=tuple(self._limit_index[each] for each in sorting.limits(sample)),
            preempts=sample.shape.preempts,
            work=self._work(key),
        )

    def _work(self, key: Key) -> dict[int, tuple[int, ...]]:
        running = self._sorting.running.get(key, {})
        work = {n: tuple(map(self._sorting.work, pods)) for n, pods in sorted(running.items())}
        return {n: units for n, units in work.items() if any(units)}

    def _targets(self, pod: Pod) -> frozenset[int]:
        """Nodes that refuse a pod by nothing that changes while pods come and go."""
        refusal, features = self._sorting.rules.static_refusal, set(pod.shape.features)
        found = frozenset(
            i
            for i, node in enumerate(self._cast.nodes)
            if self._sorting.in_scope(node.name)
            and refusal(pod, node) is None
            and not (features and features - set(node.features))
        )
        if pod.shape.claims:
            found = self._sorting.claims.nodes(pod, found)
        return found - self._cast.closed(pod) if pod.shape.unmodelled else found


def amounts(pod: Pod) -> dict[str, int]:
    """Return what a pod takes of a node: its requests, and its host ports as one of each."""
    ports = {f"{PORT}{p.port}/{p.protocol}": 1 for p in pod.shape.host_ports}
    return dict(pod.shape.requests) | ports


def _units(samples: Iterable[Pod]) -> tuple[tuple[str, ...], list[int]]:
    """Return the requested resources and the greatest common divisor of their requests."""
    units: dict[str, int] = {}
    for pod in samples:
        for name, amount in amounts(pod).items():
            units[name] = gcd(units.get(name, 0), amount)
    names = tuple(sorted(units))
    return names, [units[n] for n in names]


def _free(
    snapshot: Snapshot, fixed: Iterable[Pod], resources: Sequence[str], units: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    held: dict[str, dict[str, int]] = {}
    for pod in fixed:
        total = held.setdefault(pod.home, {})
        for name, amount in amounts(pod).items():
            total[name] = total.get(name, 0) + amount
    for node_name, rooms in snapshot.kept_on.items():
        total = held.setdefault(node_name, {})
        for name, amount in (each for room in rooms for each in room.requests):
            total[name] = total.get(name, 0) + amount
    return tuple(
        tuple(
            _room(node, name, held.get(node.name, {}).get(name, 0)) // unit
            for name, unit in zip(resources, units, strict=True)
        )
        for node in snapshot.nodes
    )


def _room(node: Node, name: str, held: int) -> int:
    if name.startswith(PORT):
        return int(not held)  # pods on different addresses may hold it together
    return node.allocatable.get(name, 0) - held


def _over(free: Sequence[Sequence[int]], groups: Iterable[Group]) -> tuple[frozenset[int], ...]:
    """Return the resources in which each node is over capacity now."""
    room = [list(left) for left in free]
    for group in groups:
        for node, count in group.running.items():
            for resource, request in group.requests.items():
                room[node][resource] -= request * count
    return tuple(frozenset(r for r, left in enumerate(now) if left < 0) for now in room)
