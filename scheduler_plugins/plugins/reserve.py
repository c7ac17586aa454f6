"""Which plans' room is kept, and for how long: the plugin *reserve*.

The rule who may take what is `fairstow.packing.reservations`; here is which plans it is asked
about. A plan counts while it is under way and the operator that carries it out is alive, so that
with the operator dead the room it kept is free again by itself, and until its step is long overdue,
so that one which can't be ended is, too.

`Kept` answers for pods that no plan awaits, nearly all there are: from numbers that are computed
anew only when something changed on a node where room is kept.

Called by `index.py` on every change of a plan or of the operator's Lease, and by `verbs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

from fairstow.api import PackingPlan
from fairstow.cluster.model import Pod
from fairstow.cluster.times import seconds
from fairstow.packing.reservations import PlanHolds, Reservations, Verdict, holds_of, reserves
from scheduler_plugins.plugins.steer import Assumed

GRACE_SECONDS = 60.0
"""How long beyond its Lease's duration the operator is taken to be alive."""


@dataclass(frozen=True)
class Enforced:
    """A plan under way. Attributes: policy: the one it was made under, "" if a person made it."""

    holds: PlanHolds
    policy: str


def enforced(plan: dict[str, Any]) -> Enforced | None:
    """Return what a plan keeps, None if it isn't under way.

    Raises:
        ValueError: it is no PackingPlan that this version understands.
    """
    if not _executing(plan):  # spares reading all the plans that wait or are over
        return None
    parsed = PackingPlan.model_validate(plan)
    return Enforced(holds_of(parsed), parsed.spec.policy or "") if reserves(parsed) else None


def _executing(plan: dict[str, Any]) -> bool:
    conditions = (plan.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Executing" and c.get("status") == "True" for c in conditions)


@dataclass(frozen=True)
class OperatorLease:
    """The Lease by which the operator's replicas agree on who acts.

    Attributes:
        renewed: its renewTime, as text.
        duration: seconds that the holder claims.
        seen: when we saw it renewed, on our own monotonic clock.
    """

    renewed: str
    duration: float
    seen: float

    def alive(self, now: float) -> bool:
        """Whether the operator is taken to be alive at `now`, on our monotonic clock."""
        return now - self.seen <= self.duration + GRACE_SECONDS


def lease_seen(
    before: OperatorLease | None, lease: dict[str, Any], *, now: float, wall: float
) -> OperatorLease | None:
    """Return the Lease as it was just seen, None if nobody has held it since our start.

    One that was given back counts as no longer renewed: another replica takes it in a moment, and
    the room of plans must not be open in between.

    That it was renewed is timed by our own clock, since clocks of two machines differ. Only the
    first sight after our start goes by the time it names, so that an operator which died long ago
    isn't taken to be alive.

    Args:
        before: what was seen last.
        lease: the object.
        now: our monotonic clock, in seconds.
        wall: seconds since 1970.
    """
    spec = lease.get("spec") or {}
    renewed = str(spec.get("renewTime") or "")
    duration = spec.get("leaseDurationSeconds")
    moment = seconds(renewed) if renewed else None
    if not spec.get("holderIdentity") or moment is None or not isinstance(duration, int):
        return before
    if before is not None:
        seen = before.seen if before.renewed == renewed else now
    else:
        seen = now - max(0.0, wall - moment)
    return OperatorLease(renewed, duration, seen)


class Kept:
    """What others may take on the nodes where room is kept: `Reservations.verdict`, remembered."""

    def __init__(self, assumed: Assumed) -> None:
        self._assumed = assumed
        self._of: tuple[Reservations, int] | None = None
        self._rooms: dict[str, dict[str, int]] = {}
        self._watched: Set[str] = frozenset()

    def nodes_changed(self, names: Iterable[str]) -> None:
        """Hear that something happened on these nodes."""
        if any(name in self._watched for name in names):
            self._of = None

    def pod_changed(self, pod: Pod | None, homes: Iterable[str]) -> None:
        """Hear of a pod, None once it is gone. Args: homes: the nodes it was and is on."""
        if pod is not None and self._of is not None and self._of[0].serves(pod):
            self._of = None  # what is kept loosely, it may fill on any node
        self.nodes_changed(homes)

    def verdict(self, reservations: Reservations, pod: Pod, nodes: list[str]) -> Verdict:
        """Return what `reservations` says to a pod that they don't serve."""
        version = self._assumed.version
        if self._of is None or self._of[0] is not reservations or self._of[1] != version:
            self._rooms = self._read(reservations)
            served = reservations.beneficiaries
            theirs = (pod.node for who in served for pod in self._assumed.pods_of(who))
            self._watched = self._rooms.keys() | set(theirs)
            self._of = reservations, version
        full = [node for node in self._rooms.keys() & set(nodes) if not self._fits(pod, node)]
        return reservations.without(nodes, full)

    def _read(self, reservations: Reservations) -> dict[str, dict[str, int]]:
        kept = reservations.shortfalls(self._assumed)
        rooms = {}
        for node in reservations.nodes:
            room = self._assumed.settled(node)
            for resource, amount in kept.get(node, {}).items():
                room[resource] = room.get(resource, 0) + amount
            rooms[node] = room
        return rooms

    def _fits(self, pod: Pod, node: str) -> bool:
        room, taken = self._rooms[node], self._assumed.tentative(node)
        return all(
            amount <= room.get(resource, 0) - taken.get(resource, 0)
            for resource, amount in pod.shape.requests
        )
