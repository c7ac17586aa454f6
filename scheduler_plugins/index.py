"""Everything the verbs answer from, in memory: nodes, pods, plans, Spark's rooms, policies, Leases.

`service.py` has a `fairstow.kube.aio.Reflector` feed each part; each is a `Sink`. One thread and no
waiting: between two events, all parts fit together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from typing import Any

import msgspec
import structlog

from fairstow.api import PackingPlan, PackingPolicy, SparkAdmission
from fairstow.cluster.kinds import NODE, POD, Kind, own_kind
from fairstow.cluster.live import LiveCluster, Object, name_of
from fairstow.packing.reservations import PlanHolds, Reservations
from scheduler_plugins.plugins.fragmentation import Rooms
from scheduler_plugins.plugins.reserve import Enforced, Kept, OperatorLease, enforced, lease_seen
from scheduler_plugins.plugins.spark import Applications
from scheduler_plugins.plugins.steer import Assumed

PLAN, POLICY = own_kind(PackingPlan, needed=True), own_kind(PackingPolicy, needed=True)
ADMISSION = own_kind(SparkAdmission)
LEASE = Kind("Lease", "coordination.k8s.io/v1", "leases", needed=True)

_NO_RESERVATIONS = Reservations()


def _nobody() -> None:
    """Call nobody."""


log = structlog.get_logger(__name__)


class Plans:
    """The plans under way. Attributes: changed: called when other plans are under way than before.

    A plan that can't be read keeps no room, and isn't acknowledged: nothing is evicted for it.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self.changed: Callable[[], None] = _nobody
        self.reservations = _NO_RESERVATIONS
        self._plans: dict[str, Enforced] = {}

    @property
    def all(self) -> tuple[Enforced, ...]:
        """The plans under way, by name."""
        return tuple(self._plans[name] for name in sorted(self._plans))

    @property
    def names(self) -> tuple[str, ...]:
        """What their reservations are acknowledged by, sorted."""
        return tuple(sorted(plan.holds.reservation for plan in self._plans.values()))

    def upsert(self, _kind: Kind, obj: Object) -> str:
        """Take in a plan that is new or changed."""
        name = name_of(obj)
        try:
            plan = enforced(_dict(obj))
            self._put(name, None if plan is None or plan.holds.over(self._wall()) else plan)
        except ValueError as error:
            log.error("plan not enforced: it can't be read", plan=name, error=str(error))
            self._put(name, None)
        return name

    def delete(self, _kind: Kind, obj: Object) -> None:
        """Forget a plan."""
        self._put(name_of(obj), None)

    def retain(self, _kind: Kind, names: Set[str]) -> None:
        """Forget all plans but those."""
        for name in self._plans.keys() - names:
            self._put(name, None)

    def end_overdue(self) -> int:
        """Forget plans whose step is long overdue; return for how many pods they kept room."""
        now = self._wall()
        overdue = {name: plan for name, plan in self._plans.items() if plan.holds.over(now)}
        for name in overdue:
            log.error("room no longer kept: the plan's step is long overdue", plan=name)
            self._put(name, None)
        return sum(len(plan.holds.holds) for plan in overdue.values())

    def unknown(self, kind: Kind) -> None:
        """Without the right to list plans, or without the kind, there are none to enforce."""
        self.retain(kind, frozenset())

    def _put(self, name: str, plan: Enforced | None) -> None:
        if self._plans.get(name) == plan:
            return
        if plan is None:
            del self._plans[name]
        else:
            self._plans[name] = plan
        self.reservations = Reservations(plan.holds for plan in self._plans.values())
        self.changed()


class Policies:
    """The policies. Attributes: auto: names of those in mode Auto that aren't suspended."""

    def __init__(self) -> None:
        self.auto: set[str] = set()

    def upsert(self, _kind: Kind, obj: Object) -> str:
        """Take in a policy that is new or changed."""
        name, spec = name_of(obj), _dict(obj).get("spec") or {}
        if spec.get("mode") == "Auto" and not spec.get("suspend"):
            self.auto.add(name)
        else:
            self.auto.discard(name)
        return name

    def delete(self, _kind: Kind, obj: Object) -> None:
        """Forget a policy."""
        self.auto.discard(name_of(obj))

    def retain(self, _kind: Kind, names: Set[str]) -> None:
        """Forget all policies but those."""
        self.auto &= names

    def unknown(self, _kind: Kind) -> None:
        """Without the right to list policies, or without the kind, none is in mode Auto."""
        self.auto.clear()


class Operator:
    """Whether the operator lives, by its Lease; other Leases are passed over.

    Attributes:
        changed: called when it comes to life.
    """

    def __init__(self, name: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.changed: Callable[[], None] = _nobody
        self._name = name
        self._clock, self._wall = clock, wall
        self._lease: OperatorLease | None = None

    @property
    def alive(self) -> bool:
        """Whether it renewed its Lease not long ago."""
        return self._lease is not None and self._lease.alive(self._clock())

    def upsert(self, _kind: Kind, obj: Object) -> str:
        """Take in a Lease."""
        name = name_of(obj)
        if name == self._name:
            was_alive = self.alive
            now, wall = self._clock(), self._wall()
            self._lease = lease_seen(self._lease, _dict(obj), now=now, wall=wall)
            if not was_alive:
                self.changed()
        return name

    def delete(self, _kind: Kind, obj: Object) -> None:
        """Without a Lease nobody acts."""
        if name_of(obj) == self._name:
            self._lease = None

    def retain(self, _kind: Kind, names: Set[str]) -> None:
        """Forget the Lease if it has gone."""
        if self._name not in names:
            self._lease = None

    def unknown(self, _kind: Kind) -> None:
        """Without the right to read it, the operator is taken for dead."""
        self._lease = None


class Index:
    """All of it.

    Args:
        operator_lease: "namespace/name" of the operator's Lease.

    Attributes:
        live: nodes and pods.
        rooms: what the score plugin needs of them.
        spark: the Spark applications for which room is kept.
        assumed: `live` with the pods on their way.
        kept: what is over where room is kept.
    """

    def __init__(
        self,
        operator_lease: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.live = LiveCluster()
        self.rooms = Rooms(self.live)
        self.assumed = Assumed(self.live, clock)
        self.kept = Kept(self.assumed)
        self.plans = Plans(wall)
        self.spark = Applications(wall)
        self.policies = Policies()
        self.operator = Operator(operator_lease, clock, wall)
        self._held = 0
        self._all: tuple[Reservations, tuple[PlanHolds, ...], Reservations] | None = None
        self.live.listeners.append(self._changed)

    def on_change(self, call: Callable[[], None]) -> None:
        """Have `call` called when other plans are enforced than before."""
        self.plans.changed = self.operator.changed = call

    @property
    def enforced(self) -> tuple[str, ...]:
        """The reservations kept now, as they are acknowledged."""
        return self.plans.names if self.operator.alive else ()

    @property
    def reservations(self) -> Reservations:
        """The room that is kept now; none while the operator is dead."""
        plans, spark = self.plans.reservations, self.spark.holds
        if not (plans.plans or spark) or not self.operator.alive:
            return _NO_RESERVATIONS
        if not spark:
            return plans
        if self._all is None or self._all[0] is not plans or self._all[1] is not spark:
            self._all = plans, spark, Reservations((*plans.plans, *spark))
        return self._all[2]

    def expired(self) -> int:
        """Return for how many pods room is no longer kept since the last call though plans want it.

        Either the operator died: their plans are still under way, so one that comes back keeps it
        anew. Or their step is long overdue.
        """
        self.spark.end_overdue()
        overdue = self.plans.end_overdue()
        held = sum(len(plan.holds) for plan in self.plans.reservations.plans)
        alive = self.operator.alive
        expired = min(self._held, held) if not alive else 0
        self._held = held if alive else 0
        return expired + overdue

    def _changed(self, kind: Kind, name: str) -> None:
        if kind == POD:
            homes = self.rooms.pod_changed(name)
            self.kept.pod_changed(self.live.pod_named(name), homes)
            self.assumed.pod_changed(name)
        elif kind == NODE:
            self.rooms.node_changed(name)
            self.kept.nodes_changed((name,))


def _dict(obj: Object) -> dict[str, Any]:
    if isinstance(obj, dict):
        return obj
    return msgspec.json.decode(obj, type=dict[str, Any])
