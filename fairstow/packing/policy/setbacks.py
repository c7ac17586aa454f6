"""What plans that came to nothing mean for the next one.

Called by `run`. A plan that was begun, or was to be, and ended Stale may do so again at once: each
such plan in a row doubles the pause before the next, from a minute to a quarter of an hour. Plans
that nobody had approved yet say nothing: the cluster moved on, as clusters do. And a person who
rejects or stops a plan doesn't want to be asked the same a minute later: for a day no plan is made
that places none but the pods of that one.
"""

from collections.abc import Iterable

from fairstow.api import PackingPlan
from fairstow.api.status import condition, conditions_of
from fairstow.cluster.times import seconds

_FIRST, _LONGEST = 60, 900
_REFUSAL_HOLDS = 86_400


def backing_off(plans: Iterable[PackingPlan], now: int) -> int | None:
    """Return until when no new plan is to be made, given a policy's plans; None if one may be."""
    ended: list[tuple[int, bool]] = []
    for plan in plans:
        for kind in ("Stale", "Succeeded"):
            found = condition(conditions_of(plan), kind)
            if found is not None and found.status == "True" and _attempted(plan):
                at = seconds(found.last_transition_time) or 0
                ended.append((at, kind == "Stale" and not _refused(plan)))
    ended.sort()
    failures = 0
    for _, failed in reversed(ended):
        if not failed:
            break
        failures += 1
    if not failures:
        return None
    until = ended[-1][0] + min(_FIRST << min(failures - 1, 10), _LONGEST)
    return until if until > now else None


def repeated(plan: PackingPlan, earlier: Iterable[PackingPlan], now: int) -> str:
    """Say which refused plan a plan repeats, or ""."""
    wanted = {placement.uid for placement in plan.spec.placements}
    for other in earlier:
        recent = _refused(other) and now - _made(other) < _REFUSAL_HOLDS
        if recent and wanted <= {placement.uid for placement in other.spec.placements}:
            return f"a person refused {other.metadata.name}, which places the same pods"
    return ""


def _attempted(plan: PackingPlan) -> bool:
    return plan.spec.approved or (plan.status is not None and plan.status.started_at is not None)


def _refused(plan: PackingPlan) -> bool:
    approval = plan.spec.approval
    rejected = approval is not None and approval.decision == "Rejected"
    return rejected or plan.spec.abort is not None


def _made(plan: PackingPlan) -> int:
    """Return when a plan was given up, or else made."""
    stale = condition(conditions_of(plan), "Stale")
    if stale is not None and stale.status == "True":
        return seconds(stale.last_transition_time) or 0
    return seconds(plan.metadata.creation_timestamp or "") or 0
