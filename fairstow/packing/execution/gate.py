"""Whether a plan may be carried out now, and whether its room is kept: pure, from objects as read.

Called by `controllers.packing.plans` before each turn.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairstow.api import PackingPlan, PackingPolicy, Reason
from fairstow.cluster.times import seconds, written
from fairstow.packing.execution.turn import Enforcement, Gate
from fairstow.packing.policy.schedules import opening

ENFORCED_PLANS = "fairstow.dev/enforced-plans"
"""Annotation of an extender replica's Lease: JSON list of each `PlanHolds.reservation` it keeps."""

Json = Mapping[str, Any]


def gate(plan: PackingPlan, policies: Iterable[PackingPolicy], now: int) -> Gate:
    """Return what a plan's policy allows now: nothing if there is none of its name any more."""
    if plan.spec.policy is None:
        return Gate()
    policy = next((p for p in policies if p.metadata.name == plan.spec.policy), None)
    if policy is None:
        return Gate((Reason.POLICY_GONE, f"policy {plan.spec.policy} can't be found or read"))
    name = policy.metadata.name
    if policy.spec.suspend:
        return Gate((Reason.SUSPENDED, f"policy {name} is suspended"))
    if policy.spec.mode == "Observe":
        return Gate((Reason.SUSPENDED, f"policy {name} is in mode Observe"))
    found = opening(policy.spec.maintenance_windows, now)
    if found.open:
        return Gate()
    opens = found.changes_at
    said = f"the maintenance window of policy {name} " + (
        f"opens at {written(opens)}" if opens is not None else "never opens"
    )
    shut = Reason.OUTSIDE_MAINTENANCE_WINDOW, said
    return Gate(shut, None if opens is None else float(opens - now))


def enforcement(
    reservation: str, slices: Sequence[Json], leases: Sequence[Json], now: int
) -> Enforcement:
    """Return which replicas of the extender don't keep a plan's room.

    Args:
        reservation: the plan's `PlanHolds.reservation`.
        slices: EndpointSlices of the extender's Service.
        leases: of its replicas.
        now: seconds since 1970.
    """
    ready = {
        _who(endpoint)
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    }
    if not ready:
        return Enforcement(True, ("the scheduler extender: no replica of it is ready",))
    keeping = {
        (lease.get("spec") or {}).get("holderIdentity")
        for lease in leases
        if _alive(lease, now) and reservation in _kept(lease)
    }
    return Enforcement(True, tuple(sorted(ready - keeping)))


def _who(endpoint: Json) -> str:
    target = endpoint.get("targetRef") or {}
    addresses = endpoint.get("addresses") or ["?"]
    return str(target.get("name") or endpoint.get("hostname") or addresses[0])


def _alive(lease: Json, now: int) -> bool:
    spec = lease.get("spec") or {}
    renewed = seconds(str(spec.get("renewTime") or ""))
    return renewed is not None and now <= renewed + int(spec.get("leaseDurationSeconds") or 0)


def _kept(lease: Json) -> Sequence[str]:
    text = ((lease.get("metadata") or {}).get("annotations") or {}).get(ENFORCED_PLANS, "[]")
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    return found if isinstance(found, list) else ()
