"""Whether a policy may act at all, as its conditions say it.

Called by the policy controller each turn, before it asks what is due.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fairstow.api import PackingPolicy, Reason
from fairstow.api.status import Condition, conditions_of, with_condition
from fairstow.cluster.times import written
from fairstow.packing.policy.schedules import problem

_KINDS = ("Ready", "PolicyOverlap", "Held", "ReservationNotEnforced")


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands against a policy's acting; "" where nothing does.

    Attributes:
        found: whether its pool exists.
        older: the policy that acts in its place.
        unenforced: why room can't be kept for its plans; they then need approval.
        held: why it looks for no plan now, with a sentence.
    """

    found: bool
    older: str = ""
    unenforced: str = ""
    held: tuple[Reason, str] | None = None

    def may_act(self, policy: PackingPolicy) -> bool:
        """Whether the policy may look for plans."""
        return self.found and not self.older and not schedule_problem(policy)


def schedule_problem(policy: PackingPolicy) -> str:
    """Say which schedule of a policy never fires, or ""."""
    triggers = policy.spec.triggers
    if triggers.schedule and (said := problem(triggers.schedule)):
        return f"triggers.schedule: {said}"
    for index, window in enumerate(policy.spec.maintenance_windows):
        if said := problem(window.start, window.time_zone):
            return f"maintenanceWindows[{index}]: {said}"
    return ""


def conditions(policy: PackingPolicy, standing: Standing, now: int) -> tuple[Condition, ...]:
    """Return a policy's conditions; they keep their times where they still hold."""
    found = tuple(c for c in conditions_of(policy) if c.type in _KINDS)
    for kind, holds, reason, message in _findings(policy, standing):
        found = with_condition(
            found,
            Condition(
                type=kind,
                status="True" if holds else "False",
                observed_generation=policy.metadata.generation,
                last_transition_time=written(now),
                reason=reason.value,
                message=(message or reason.sentence)[:4096],
            ),
        )
    return found


def _findings(policy: PackingPolicy, standing: Standing) -> Iterator[tuple[str, bool, Reason, str]]:
    invalid = schedule_problem(policy)
    overlap = f"policy {standing.older} is older and packs nodes of this pool"
    if not standing.found:
        missing = f"there is no GpuPool {policy.spec.pool_ref.name}"
        yield "Ready", False, Reason.POOL_NOT_FOUND, missing
    elif standing.older:
        yield "Ready", False, Reason.POLICY_OVERLAP, overlap
    elif invalid:
        yield "Ready", False, Reason.SCHEDULE_INVALID, invalid
    else:
        yield "Ready", True, Reason.POLICY_READY, ""
    if standing.older:
        yield "PolicyOverlap", True, Reason.POLICY_OVERLAP, overlap
    else:
        yield "PolicyOverlap", False, Reason.POLICY_READY, ""
    if standing.held is not None:
        yield "Held", True, *standing.held
    else:
        yield "Held", False, Reason.NOT_HELD, ""
    if standing.unenforced:
        said = f"{standing.unenforced}: plans need approval, also in mode Auto"
        yield "ReservationNotEnforced", True, Reason.RESERVATION_NOT_ENFORCED, said
    else:
        yield "ReservationNotEnforced", False, Reason.RESERVATION_ENFORCED, ""
