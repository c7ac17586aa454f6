"""When the scheduler may not evict for a pod because a plan is about to serve it: *preempt*.

Stock preemption stays on. It is vetoed only where it would undo what is under way by itself: for a
pod that an executing plan serves, under a policy in mode Auto, while the operator lives. Called by
`verbs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from scheduler_plugins.plugins.reserve import Enforced


def veto(uid: str, beneficiary: str, plans: Iterable[Enforced], auto: Set[str]) -> str:
    """Return the name of the plan for whose sake nobody is evicted for a pod, or "".

    Args:
        uid: the pod's.
        beneficiary: `namespace/Kind/name` of its workload, or `namespace/Pod/name` of a bare pod.
        plans: those under way; none with the operator dead.
        auto: names of the policies in mode Auto that aren't suspended.
    """
    for plan in plans:
        if plan.policy not in auto:
            continue
        holds = plan.holds
        for hold in holds.holds:
            comes_back = hold.step == holds.step and hold.beneficiary == beneficiary
            if hold.pod == uid or (comes_back and uid not in (holds.known or ())):
                return holds.name
    return ""
