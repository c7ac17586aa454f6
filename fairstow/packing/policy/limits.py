"""How much a policy may still disturb, from what its plans did in the last hour.

A *disruption* is a move or an eviction. Plans tell which steps were carried out, not when each was,
so all disruptions of a finished plan count at its newest transition, which is no earlier than any
of them; those of an unfinished plan all count now, also those still to come (`history.disturbed`).
Let u(t) be how many count in the hour before t, and let a policy make a plan of size s at t only
if u(t) + s ≤ L and all its plans before are finished or counted whole. Then

    no 60 minutes see more than L disruptions:

take such an hour, and the newest plan P in it that disturbed anybody there, made at t. What P
disturbs comes after t, so everything else in the hour is from plans made before P and counts at a
moment later than t − 3600: it is in u(t). The sum is at most u(t) + s ≤ L. ∎

The same holds per namespace that suffers (*victim*) and per namespace that gains (*beneficiary*).
Whom a disruption is for, the lists of a plan tell only in part. A pod that leaves node S makes room
for pods that arrive there: where that is a placement, it is for the pod's namespace; where it is a
pod moved from T, it is for whatever leaving T is for. So with an edge S → T for each move from T to
S, leaving S is for the namespaces of all placements on nodes that S reaches. That may name one too
many (a node gets two pods), never one too few.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairstow.api import Limits, PackingPlan
from fairstow.packing.history import disturbed, elapsed, finished

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Disruption:
    """One move or eviction. Attributes: age: seconds since it counts; for_: who gains."""

    age: float
    victim: str
    for_: frozenset[str]


@dataclass(frozen=True)
class Left:
    """What is left of an hour's limits; None is no limit.

    Attributes:
        total: disruptions of any kind.
        victims: by namespace, for those that were disturbed; others have `each`.
        beneficiaries: the same for those that gained.
        retry_at: when some of what was used comes back, None if nothing counts.
    """

    total: int | None
    each: int | None
    victims: Mapping[str, int]
    beneficiaries: Mapping[str, int]
    retry_at: int | None

    @property
    def spared(self) -> frozenset[str]:
        """Namespaces that mustn't be disturbed any more."""
        return frozenset(name for name, left in self.victims.items() if left <= 0)

    @property
    def unserved(self) -> frozenset[str]:
        """Namespaces for which nobody may be disturbed any more."""
        return frozenset(name for name, left in self.beneficiaries.items() if left <= 0)


@dataclass(frozen=True)
class Excess:
    """Namespaces of which a plan would exceed the limit, and the least that is left to one."""

    victims: frozenset[str]
    beneficiaries: frozenset[str]
    least: int

    def __bool__(self) -> bool:
        return bool(self.victims or self.beneficiaries)


def left(limits: Limits, plans: Iterable[PackingPlan], now: int) -> Left:
    """Return what a policy may still disturb now, given its own plans."""
    spent = [each for plan in plans for each in disruptions(plan, now) if each.age < HOUR]
    each, total = limits.max_moves_per_namespace_per_hour, limits.max_moves_per_hour
    victims = Counter(d.victim for d in spent)
    gained = Counter(name for d in spent for name in d.for_)
    oldest = max((d.age for d in spent), default=None)
    return Left(
        total=None if total is None else total - len(spent),
        each=each,
        victims={} if each is None else {name: each - n for name, n in victims.items()},
        beneficiaries={} if each is None else {name: each - n for name, n in gained.items()},
        retry_at=None if oldest is None else now + HOUR - int(oldest),
    )


def caps(limits: Limits, remaining: Left) -> tuple[int, int]:
    """Return the most moves and the most evictions of a plan; together they keep to the hour's.

    Moves go first: an eviction is the last resort (`cost`).
    """
    moves, evictions = limits.max_moves_per_plan, limits.max_evictions_per_plan
    if remaining.total is None:
        return moves, evictions
    total = max(remaining.total, 0)
    moves = min(moves, total)
    return moves, min(evictions, total - moves)


def excess(remaining: Left, plan: PackingPlan) -> Excess:
    """Return the namespaces whose limit a plan would exceed."""
    if remaining.each is None:
        return Excess(frozenset(), frozenset(), 0)
    found = list(_all(plan))
    victims, gained = Counter(v for _, v, _ in found), Counter(n for *_, f in found for n in f)
    over_victims = _over(victims, remaining.victims, remaining.each)
    over_gained = _over(gained, remaining.beneficiaries, remaining.each)
    least = min((*over_victims.values(), *over_gained.values()), default=0)
    return Excess(frozenset(over_victims), frozenset(over_gained), max(least, 0))


def disruptions(plan: PackingPlan, now: int) -> Iterator[Disruption]:
    """Yield what a plan has done, or may still do."""
    uids = disturbed(plan)
    age = max(elapsed(plan, now), 0) if finished(plan) else 0
    for uid, victim, gaining in _all(plan):
        if uid in uids:
            yield Disruption(age, victim, gaining)


def _all(plan: PackingPlan) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield (pod, its namespace, who gains) of all that a plan disturbs."""
    gaining = _gaining(plan)
    for move in plan.spec.moves:
        yield move.uid, move.namespace, gaining.get(move.from_, frozenset())
    for eviction in plan.spec.evictions:
        yield eviction.uid, eviction.namespace, gaining.get(eviction.from_, frozenset())


def _gaining(plan: PackingPlan) -> dict[str, frozenset[str]]:
    """Return whom leaving a node is for, by node."""
    placed: dict[str, set[str]] = {}
    for placement in plan.spec.placements:
        placed.setdefault(placement.node, set()).add(placement.namespace)
    next_: dict[str, set[str]] = {}
    for move in plan.spec.moves:
        next_.setdefault(move.to, set()).add(move.from_)
    nodes = {move.from_ for move in plan.spec.moves} | {e.from_ for e in plan.spec.evictions}
    found = {}
    for node in nodes:
        reached, ahead = {node}, [node]
        while ahead:
            for other in next_.get(ahead.pop(), set()) - reached:
                reached.add(other)
                ahead.append(other)
        found[node] = frozenset(name for each in reached for name in placed.get(each, ()))
    return found


def _over(wanted: Mapping[str, int], remaining: Mapping[str, int], each: int) -> dict[str, int]:
    """Return what is left of those that want more than that."""
    return {name: left for name, n in wanted.items() if n > (left := remaining.get(name, each))}
