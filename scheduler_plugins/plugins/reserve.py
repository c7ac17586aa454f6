"""Which plans' room is kept, and for how long: the plugin *reserve*.

The rule who may take what is `fairstow.packing.reservations`; here is which plans it is asked
about. A plan counts while it is under way and the operator that carries it out is alive, so that
with the operator dead the room it kept is free again by itself.

Called by `index.py` on every change of a plan or of the operator's Lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairstow.api import PackingPlan
from fairstow.cluster.times import seconds
from fairstow.packing.reservations import PlanHolds, holds_of, reserves

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
    """Return the Lease as it was just seen, None if nobody holds it.

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
        return None
    if before is not None:
        seen = before.seen if before.renewed == renewed else now
    else:
        seen = now - max(0.0, wall - moment)
    return OperatorLease(renewed, duration, seen)
