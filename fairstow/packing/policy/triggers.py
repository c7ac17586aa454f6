"""What makes the controller look for a better placement, and when it should look next.

Called each time anything changes, and when the moment it gave has come; so the caller sleeps
exactly that long. Moments are seconds since 1970.

**Pods.** A pod that a plan may help counts once it has been unschedulable for
spec.triggers.unschedulableFor. With s its start of waiting, d that delay and r the last run, it is
due at

    s + d                      if that is after r, or the last run didn't know that it waited,
    max(s + d, r + RETRY)      else, or
    max(s + d, r + REPLAN)     else, if a plan of the policy has ended since r.

So each pod starts one run at once; after that the cluster is looked at again every RETRY, however
many pods wait, and soon once a plan that was to help has ended. **Schedule.** Due at its first fire
after the last run (or after the policy was made), so what is missed while nobody runs is made up
for once. **Request.** Due while the policy's annotation `fairstow.dev/run-requested-at` differs
from status.lastHandledRequest: any text does, no clocks are compared.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from fairstow.api import RUN_REQUESTED_AT, PackingPolicy, duration_milliseconds
from fairstow.cluster.model import Pod
from fairstow.cluster.times import seconds
from fairstow.packing.policy.schedules import next_fire

REQUEST_LENGTH = 64
"""Characters of the annotation that asks for a run which are compared."""

RETRY = 300
"""Seconds between runs for the same pods: a run may cost a core the policy's whole window, and what
lets a plan succeed later (pods that end, budgets, cool-downs) changes in minutes."""

REPLAN = 60
"""The same once a plan has ended: what is stale is replaced, but not with every change."""


class Cause(StrEnum):
    """What a run is for."""

    UNSCHEDULABLE = "Unschedulable"
    SCHEDULE = "Schedule"
    REQUESTED = "Requested"


@dataclass(frozen=True, slots=True)
class Due:
    """Attributes: causes: of a run now; next_at: when there will be one if nothing changes."""

    causes: frozenset[Cause]
    next_at: int | None


def due(
    policy: PackingPolicy,
    pods: Iterable[Pod],
    now: int,
    plan_ended: int | None = None,
    tried: Collection[str] | None = None,
) -> Due:
    """Return whether a policy's pool is to be looked at now, and when next.

    Args:
        policy: with its status, which says when it was looked at last.
        pods: pending pods of the pool that a plan may help.
        now: the moment.
        plan_ended: when a plan of the policy succeeded or was given up last.
        tried: pods that waited when the last run began, by uid; None if nobody remembers.
    """
    moments = {
        Cause.UNSCHEDULABLE: _pods_at(policy, pods, plan_ended, tried),
        Cause.SCHEDULE: _fires_at(policy),
        Cause.REQUESTED: now if request(policy) != _handled(policy) else None,
    }
    causes = frozenset(c for c, at in moments.items() if at is not None and at <= now)
    later = [at for at in moments.values() if at is not None and at > now]
    return Due(causes, min(later, default=None))


def request(policy: PackingPolicy) -> str:
    """Return the run that was asked for last, "" if none was."""
    return (policy.metadata.annotations or {}).get(RUN_REQUESTED_AT, "")[:REQUEST_LENGTH]


def last_run(policy: PackingPolicy) -> int | None:
    """Return when the policy's pool was looked at last, in seconds since 1970."""
    run = policy.status.last_run if policy.status else None
    return seconds(run.time) if run else None


def _handled(policy: PackingPolicy) -> str:
    return (policy.status.last_handled_request or "") if policy.status else ""


def _pods_at(
    policy: PackingPolicy,
    pods: Iterable[Pod],
    plan_ended: int | None,
    tried: Collection[str] | None,
) -> int | None:
    """Return when the next pod makes a run due."""
    delay = duration_milliseconds(policy.spec.triggers.unschedulable_for) // 1000
    run = last_run(policy)
    ended = run is not None and plan_ended is not None and plan_ended >= run
    pause = REPLAN if ended else RETRY
    moments = []
    for pod in pods:
        if pod.waiting_since is not None:
            at = pod.waiting_since + delay
            new = run is None or at > run or (tried is not None and pod.uid not in tried)
            moments.append(at if run is None or new else max(at, run + pause))
    return min(moments, default=None)


def _fires_at(policy: PackingPolicy) -> int | None:
    """Return the schedule's first fire since the last run."""
    schedule = policy.spec.triggers.schedule
    if schedule is None:
        return None
    made = seconds(policy.metadata.creation_timestamp or "") or 0
    return next_fire(schedule, max(last_run(policy) or 0, made))
