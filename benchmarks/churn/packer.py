"""A policy in mode Auto, by the product's own decisions: when, what is asked, what is allowed.

Plays controllers/packing/policies.py without its shell. A plan is carried out in the moment it is
made, so nothing can come between; what a move costs is the pod's restart, which the day counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchmarks.churn.cluster import BEGAN
from fairstow.api import GpuPool, PackingPlan, PackingPolicy, PackingPolicyStatus
from fairstow.api.packing_policy import LastRun
from fairstow.cluster.times import written
from fairstow.packing.history import ended_at
from fairstow.packing.model import Decision
from fairstow.packing.planner import decide, inline
from fairstow.packing.policy.pool_status import survey
from fairstow.packing.policy.report import plan_object
from fairstow.packing.policy.retention import deletable
from fairstow.packing.policy.run import Case, Found, Question, Skip, answer, ask
from fairstow.packing.policy.triggers import due

if TYPE_CHECKING:
    from fairstow.cluster.live import LiveCluster
    from fairstow.cluster.model import Pod

_UNLIMITED = "5m"


def policy(moves_per_hour: int) -> PackingPolicy:
    """Return the policy: as it is by default, but in mode Auto and with a limit per hour."""
    return PackingPolicy.model_validate(
        {
            "metadata": {"name": "day", "uid": "day", "creationTimestamp": written(BEGAN)},
            "spec": {
                "poolRef": {"name": "all"},
                "mode": "Auto",
                "window": _UNLIMITED,  # effort bounds the search, so that equal runs are equal
                "limits": {"maxMovesPerHour": moves_per_hour},
            },
        }
    )


@dataclass
class Packer:
    """Attributes: outcomes: how often a run came to what."""

    live: LiveCluster
    policy: PackingPolicy
    effort: int
    outcomes: Counter[str] = field(default_factory=Counter)
    _plans: tuple[PackingPlan, ...] = ()
    _pool: GpuPool = field(
        default_factory=lambda: GpuPool.model_validate({"metadata": {"name": "all"}, "spec": {}})
    )

    def turn(self, at: float, waiting: Iterable[Pod]) -> Decision | None:
        """Return what is to be carried out now, if a run is due and finds something."""
        now = BEGAN + int(at)
        ended = max((e for p in self._plans if (e := ended_at(p)) is not None), default=None)
        # Those that wait are at least those that a plan may help: mostly there is nothing to do.
        if not due(self.policy, waiting, now, ended).causes:
            return None
        snapshot = self.live.snapshot()
        view = survey(self._pool, snapshot)
        if not due(self.policy, view.waiting.hopeful, now, ended).causes:
            return None
        case = Case(self.policy, view, snapshot, self._plans, now)
        verdict: Question | Skip | Found = ask(case)
        if isinstance(verdict, Skip):
            return None
        while isinstance(verdict, Question):
            request = replace(verdict.request, effort=self.effort)
            verdict = answer(case, verdict, decide(request, inline(_stopped), _stopped))
        if isinstance(verdict, Skip):
            self._ran(now, verdict.reason.value)
            return None
        self._ran(now, "PlanCreated")
        self._keep(verdict, now)
        return verdict.decision

    def _ran(self, now: int, reason: str) -> None:
        self.outcomes[reason] += 1
        run = LastRun(time=written(now), reason=reason, message=reason)
        self.policy = self.policy.model_copy(update={"status": PackingPolicyStatus(last_run=run)})

    def _keep(self, found: Found, now: int) -> None:
        """Remember a plan as carried out."""
        body = dict(plan_object(found.plan, self.policy, "day"))
        body["metadata"] |= {"creationTimestamp": written(now), "uid": found.plan.metadata.name}
        done = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "done"}
        body["status"] = {
            "conditions": [done | {"lastTransitionTime": written(now)}],
            "startedAt": written(now),
            "finishedAt": written(now),
            "stepsDone": len(found.plan.spec.steps),
        }
        plans = (*self._plans, PackingPlan.model_validate(body))
        old = {id(plan) for plan in deletable(plans, now)}
        self._plans = tuple(plan for plan in plans if id(plan) not in old)


def _stopped() -> float:
    """Tell no time: only effort counts."""
    return 0.0
