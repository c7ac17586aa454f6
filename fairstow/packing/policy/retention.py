"""Which finished plans may be deleted.

Called after each turn of the controller. Kept are the newest 20 finished plans of a policy: enough
to see what it does. And for 7 days all plans that were begun: as long as the longest
cool-down, which reads them, as do limits and the rule against undoing; they are bounded by those
limits. Plans that a person made are that person's to delete.
"""

from collections.abc import Iterable

from fairstow.api import PackingPlan
from fairstow.packing.history import elapsed, finished

KEPT = 20
DAYS = 7
_SECONDS = DAYS * 86_400


def deletable(plans: Iterable[PackingPlan], now: int) -> list[PackingPlan]:
    """Return the finished plans of policies that nobody needs any more."""
    by_policy: dict[str, list[PackingPlan]] = {}
    for plan in plans:
        if plan.spec.policy and finished(plan):
            by_policy.setdefault(plan.spec.policy, []).append(plan)
    found = []
    for of_policy in by_policy.values():
        newest_first = sorted(of_policy, key=_made, reverse=True)
        # Of what was never begun the elapsed time is infinite.
        found += [plan for plan in newest_first[KEPT:] if elapsed(plan, now) >= _SECONDS]
    return found


def _made(plan: PackingPlan) -> tuple[str, str]:
    return plan.metadata.creation_timestamp or "", plan.metadata.name
