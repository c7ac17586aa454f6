"""Room that plans under way keep on nodes, and who may take it.

Called by the scheduler extender's filter (`Reservations.verdict`), the executor (`arrived`) and
`explain`; `spark_rooms` has what is kept for Spark applications take part.

**Holds.** A plan whose condition Executing is True *reserves*: each bind of its steps from the
current one on is a hold of the pod's requests on its node. A pod that moves comes back under
another name, so a hold is for a *beneficiary*: a workload `namespace/Kind/name`, of which any pod
that asks for as much will do ("k pods of ReplicaSet X on node N"), or, for a pod without owner, the
pod of that name (`namespace/Pod/name`). A hold of the current step is *filled* by a pod of its
beneficiary on its node that was not there when the step began (`status.step.known`). Holds of later
steps are open.

**Room for others.** Let f be what is free on node N (terminating pods hold their room until they
are gone), e_i what the pods still to be evicted from N in step i hold, b_i the open holds of step i
on N, both counted from the current step. After step k of the plan N has

    f + Σ_{i ≤ k} (e_i − b_i)

left, resource by resource. Every step stays feasible exactly if that is never below 0, so a pod
that the plan doesn't know may take at most

    a = f + min(0, min_k Σ_{i ≤ k} (e_i − b_i)),

and with several plans the minima add up. Invariants (property tests): a ≤ f; a pod that takes no
more than a leaves every prefix ≥ 0 that was ≥ 0 before; without plans a = f.

**Beneficiaries** of an open hold of the current step are steered to its node as soon as the
scheduler finds it feasible; until then they are others. Members of a gang wait until the room of
all the gang's open holds is free, so a gang is never half bound.

**Loosely** is kept what nobody knows exactly beforehand, the room of pods that aren't there yet:
any pod of the beneficiary fills a hold (`fairstow.cluster.kept`). What asks for no more than a
hold is steered to its node; what asks for more goes where it fits, and may take the room that is
kept for its own.

**Until.** A step that isn't over `LATE_SECONDS` after its time-out never will be: whoever carries
the plan out would have given it up, and can't say so (its right to write statuses was lost, or the
API server refuses the status). From then on the plan keeps nothing, whatever its status says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from fairstow.api.fields import duration_milliseconds
from fairstow.api.reasons import Reason
from fairstow.api.status import condition, conditions_of
from fairstow.api.status import holds as holds_true
from fairstow.cluster.kept import filled
from fairstow.cluster.quantity import parse
from fairstow.cluster.times import seconds

if TYPE_CHECKING:
    from fairstow.api import PackingPlan
    from fairstow.api.plan_parts import Move, Placement
    from fairstow.cluster.model import Pod, Resources
    from fairstow.cluster.snapshot import Snapshot

Amounts = dict[str, int]

LATE_SECONDS = 300
"""How long after a step's time-out room is kept: longer than clocks differ or outages last."""


class World(Protocol):
    """What is asked of the cluster as it is now: `LiveCluster`, or `SnapshotWorld` in tests."""

    def pod(self, uid: str) -> Pod | None:
        """Return a pod that hasn't ended, by uid."""

    def free(self, node: str) -> Mapping[str, int] | None:
        """Return what is left on a node, terminating pods still counted; None without the node."""

    def pods_of(self, beneficiary: str) -> Iterable[Pod]:
        """Return the pods of a workload, or the pod of a name (`beneficiary`)."""


class SnapshotWorld:
    """A snapshot as a `World`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._pods = {pod.uid: pod for pod in snapshot.pods}
        self._of: dict[str, list[Pod]] = {}
        for pod in snapshot.pods:
            self._of.setdefault(pod.workload, []).append(pod)

    def pod(self, uid: str) -> Pod | None:
        """Return a pod by uid."""
        return self._pods.get(uid)

    def free(self, node: str) -> Mapping[str, int] | None:
        """Return what is left on a node; pods nominated to it count as there."""
        found = self._snapshot.node_by_name.get(node)
        return None if found is None else self._snapshot.free(found)

    def pods_of(self, beneficiary: str) -> Iterable[Pod]:
        """Return the pods of a workload, or the pod of a name."""
        return self._of.get(beneficiary, ())


@dataclass(frozen=True, slots=True)
class Hold:
    """Room for one pod. Attributes: step: index of its step; pod: uid of the pod in the plan."""

    node: str
    beneficiary: str
    requests: Resources
    step: int
    pod: str


@dataclass(frozen=True)
class PlanHolds:
    """What one plan keeps, whatever the cluster looks like.

    Attributes:
        step: index of the step under way, or of the next one.
        known: uids of pods that don't count as arrived; None while the step has not begun, and
            nobody has arrived.
        holds: of this step and those after it, in the order of the plan.
        leaving: steps by uid of the pods that are to be evicted in them.
        began: since when it has been under way without a pause, as a timestamp; "" if it isn't.
        until: when it keeps nothing any more, in seconds since 1970; None: not under way.
        kind: what it is, for people.
        loose: its pods may ask for something else than was foreseen.
    """

    plan: str
    name: str
    step: int
    known: frozenset[str] | None
    holds: tuple[Hold, ...]
    leaving: Mapping[str, int]
    began: str = ""
    until: int | None = None
    kind: str = "plan"
    loose: bool = False

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.kind} {self.name}"

    @property
    def reservation(self) -> str:
        """What replicas of the extender acknowledge: a plan that begins again is another one."""
        return f"{self.plan}@{self.began}"

    @cached_property
    def nodes(self) -> frozenset[str]:
        """Nodes on which it keeps room."""
        return frozenset(hold.node for hold in self.holds)

    def over(self, now: float) -> bool:
        """Whether it keeps nothing, or nothing any more, at `now`, in seconds since 1970."""
        return self.until is None or now > self.until


def reserves(plan: PackingPlan) -> bool:
    """Whether a plan keeps room, until its step is long overdue (`PlanHolds.until`)."""
    return holds_true(conditions_of(plan), "Executing")


def holds_of(plan: PackingPlan) -> PlanHolds:
    """Return what a plan keeps if it reserves; steps done keep nothing."""
    status = plan.status
    done = (status.steps_done or 0) if status else 0
    step = status.step if status else None
    arriving: dict[str, Placement | Move] = {p.uid: p for p in plan.spec.placements}
    arriving |= {move.uid: move for move in plan.spec.moves}
    holds, leaving = [], {}
    for index in range(done, len(plan.spec.steps)):
        for pod in plan.spec.steps[index].evict:
            leaving[pod.uid] = index
        for bind in plan.spec.steps[index].bind:
            entry = arriving.get(bind.uid)
            if entry is None:
                continue  # the API server lets a step name a pod that no list names
            owner = entry.owner or f"Pod/{entry.name}"
            amounts = sorted((r, parse(r, text)) for r, text in entry.requests.items())
            holds.append(
                Hold(bind.node, f"{bind.namespace}/{owner}", tuple(amounts), index, bind.uid)
            )
    begun = step is not None and step.index == done
    return PlanHolds(
        plan=plan.metadata.uid or plan.metadata.name,
        name=plan.metadata.name,
        step=done,
        known=frozenset(step.known) if step is not None and begun else None,
        holds=tuple(holds),
        leaving=leaving,
        began=_began(plan),
        until=_until(plan),
    )


def _began(plan: PackingPlan) -> str:
    executing = condition(conditions_of(plan), "Executing")
    under_way = executing is not None and executing.status == "True"
    return executing.last_transition_time if executing and under_way else ""


def _until(plan: PackingPlan) -> int | None:
    if not (began := _began(plan)):
        return None
    step = plan.status.step if plan.status else None
    since = seconds(step.started_at if step else began) or 0
    return since + duration_milliseconds(plan.spec.step_timeout) // 1000 + LATE_SECONDS


def arrived(plan: PlanHolds, world: World) -> tuple[list[Hold], list[Hold]]:
    """Return the holds of the current step that are filled, and those that are open."""
    if plan.known is None:
        return [], [hold for hold in plan.holds if hold.step == plan.step]
    awaited = [hold for hold in plan.holds if hold.step == plan.step]
    if plan.loose:
        whose, known = {hold.beneficiary for hold in awaited}, plan.known
        there = (pod for who in whose for pod in world.pods_of(who) if pod.uid not in known)
        return filled(awaited, there)
    # Each workload's pods are looked at once, however many places it has.
    arrivals = Counter(
        (who, pod.node, pod.shape.requests)
        for who in {hold.beneficiary for hold in awaited}
        for pod in world.pods_of(who)
        if pod.node and pod.uid not in plan.known and not pod.terminating
    )
    come: list[Hold] = []
    open_: list[Hold] = []
    for hold in awaited:
        key = hold.beneficiary, hold.node, hold.requests
        if arrivals[key] > 0:
            arrivals[key] -= 1
            come.append(hold)
        else:
            open_.append(hold)
    return come, open_


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a filter answers.

    Attributes:
        nodes: that remain.
        failed: why each other one doesn't, a sentence for a person.
        steered: what sends the pod to the nodes that remain, by its title, or "".
        reason: the same for all that failed, as a word; None where none did.
    """

    nodes: list[str]
    failed: Mapping[str, str] = field(default_factory=dict)
    steered: str = ""
    reason: Reason | None = None


class Reservations:
    """The holds of all plans under way, asked pod by pod."""

    def __init__(self, plans: Iterable[PlanHolds] = ()) -> None:
        self.plans = tuple(sorted(plans, key=lambda plan: plan.plan))
        self._on: dict[str, list[PlanHolds]] = {}
        self._for: dict[str, list[PlanHolds]] = {}
        for plan in self.plans:
            for node in plan.nodes:
                self._on.setdefault(node, []).append(plan)
            if plan.known is None:
                continue  # whoever came now would not be counted
            for who in {hold.beneficiary for hold in plan.holds if hold.step == plan.step}:
                self._for.setdefault(who, []).append(plan)

    @property
    def nodes(self) -> Set[str]:
        """Nodes on which room is kept."""
        return self._on.keys()

    @property
    def beneficiaries(self) -> Set[str]:
        """Workloads whose pods are awaited."""
        return self._for.keys()

    def verdict(self, pod: Pod, nodes: list[str], world: World) -> Verdict:
        """Return which of the nodes that the scheduler found feasible a pod may take."""
        if not self.plans:
            return Verdict(nodes)
        targets, waiting = self._targets(pod, world)
        if waiting:
            return Verdict([], dict.fromkeys(nodes, waiting), "", Reason.GANG_WAITS)
        if steered := [node for node in nodes if node in targets]:
            plan = targets[steered[0]]
            said = f"{plan} has this pod run on {', '.join(sorted(steered))}"
            failed = {node: said for node in nodes if node not in targets}
            return Verdict(steered, failed, plan, Reason.STEERED if failed else None)
        if targets and pod.gang:
            said = f"gang {pod.gang} is to be on {', '.join(sorted(targets))}, not feasible yet"
            return Verdict([], dict.fromkeys(nodes, said), "", Reason.GANG_WAITS)
        asked, full = self._on.keys() & set(nodes), []
        kept = self.shortfalls(world, but=pod.workload) if asked else {}
        for node in asked:
            room = _reduced(world.free(node), kept.get(node, {}))
            if any(amount > room.get(resource, 0) for resource, amount in pod.shape.requests):
                full.append(node)
        return self.without(nodes, full)

    def without(self, nodes: list[str], full: Collection[str]) -> Verdict:
        """Return the verdict for others: `full` of the nodes have no room for them."""
        failed = {}
        for node in full:
            names = ", ".join(plan.title for plan in self._on[node])
            failed[node] = f"its free room is kept for {names}"
        remaining = [node for node in nodes if node not in failed]
        return Verdict(remaining, failed, "", Reason.ROOM_KEPT if failed else None)

    def serves(self, pod: Pod) -> bool:
        """Whether pods of its workload are awaited; others get what `available` leaves them."""
        return pod.workload in self._for

    def available(self, node: str, world: World) -> Amounts:
        """Return what pods that no plan knows may take on a node; resources not named are free."""
        return _reduced(world.free(node), self.shortfalls(world).get(node, {}))

    def shortfalls(self, world: World, but: str = "") -> dict[str, Amounts]:
        """Return by node how much less than what is free others may take: amounts below 0.

        Args:
            world: the cluster as it is now.
            but: the beneficiary who may take what is kept for it loosely.
        """
        total: dict[str, Amounts] = {}
        for plan in self.plans:
            if plan.loose and any(hold.beneficiary == but for hold in plan.holds):
                continue
            for node, low in shortfalls(plan, world).items():
                kept = total.setdefault(node, {})
                for resource, amount in low.items():
                    kept[resource] = kept.get(resource, 0) + amount
        return total

    def _targets(self, pod: Pod, world: World) -> tuple[dict[str, str], str]:
        """Return the plan by node that a pod is to go to, or why its gang has to wait."""
        who = pod.workload
        found: dict[str, str] = {}
        for plan in self._for.get(who, ()):
            _, waiting = arrived(plan, world)
            asked = pod.shape.requests
            own = [h for h in waiting if h.beneficiary == who and _serves(h, asked, plan.loose)]
            if pod.gang and own and not _all_free(_of_gang(pod.gang, waiting, world), world):
                return {}, f"{plan.title} makes room for all of gang {pod.gang} first"
            for hold in own:
                found.setdefault(hold.node, plan.title)
        return found, ""


def shortfalls(plan: PlanHolds, world: World) -> dict[str, Amounts]:
    """Return by node min(0, the least that the rest of a plan leaves of its free room)."""
    _, waiting = arrived(plan, world)
    changes: dict[str, dict[int, Counter[str]]] = {node: {} for node in plan.nodes}
    for hold in (*waiting, *(h for h in plan.holds if h.step > plan.step)):
        changes[hold.node].setdefault(hold.step, Counter()).subtract(dict(hold.requests))
    for uid, step in plan.leaving.items():
        pod = world.pod(uid)
        if pod is not None and pod.node in changes:
            changes[pod.node].setdefault(step, Counter()).update(dict(pod.shape.requests))
    return {node: _lowest(steps) for node, steps in changes.items()}


def _lowest(steps: Mapping[int, Mapping[str, int]]) -> Amounts:
    """Return min(0, the least sum of any prefix), resource by resource."""
    total: Counter[str] = Counter()
    low: Amounts = {}
    for step in sorted(steps):
        total.update(steps[step])
        for resource, amount in total.items():
            if amount < low.get(resource, 0):
                low[resource] = amount
    return low


def _serves(hold: Hold, asked: Resources, loose: bool) -> bool:
    """Whether a hold is enough for a pod of its beneficiary."""
    if not loose:
        return hold.requests == asked
    kept = dict(hold.requests)
    return all(amount <= kept.get(resource, 0) for resource, amount in asked)


def _reduced(free: Mapping[str, int] | None, kept: Mapping[str, int]) -> Amounts:
    room = dict(free or {})
    for resource, amount in kept.items():
        room[resource] = room.get(resource, 0) + amount
    return room


def _of_gang(gang: str, holds: list[Hold], world: World) -> Iterator[Hold]:
    for hold in holds:
        planned = world.pod(hold.pod)
        waiting = [planned] if planned else world.pods_of(hold.beneficiary)
        if any(pod.gang == gang for pod in waiting):
            yield hold


def _all_free(holds: Iterable[Hold], world: World) -> bool:
    needed: dict[str, Counter[str]] = {}
    for hold in holds:
        needed.setdefault(hold.node, Counter()).update(dict(hold.requests))
    for node, amounts in needed.items():
        free = world.free(node) or {}
        if any(amount > free.get(resource, 0) for resource, amount in amounts.items()):
            return False
    return True
