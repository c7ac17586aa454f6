"""What a policy shows and makes: its status after a turn, and the plan object of a run.

Called by the policy controller. Both are what server-side apply and create send.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairstow.api import PackingPlan, PackingPolicy, PackingPolicyStatus, Reason
from fairstow.api.packing_policy import LastRun
from fairstow.cluster.times import seconds, written
from fairstow.packing.policy.run import Skip
from fairstow.packing.policy.standing import Standing, conditions
from fairstow.packing.policy.triggers import Cause, Due, last_run, request

POLICY_LABEL = "fairstow.dev/policy"
POOL_LABEL = "fairstow.dev/pool"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. Attributes: plan: name of the plan that it made, or ""."""

    reason: Reason
    message: str
    plan: str = ""


def early(due: Due, skip: Skip) -> Outcome | None:
    """Return what to show for a run that ended before the planner was asked.

    One that is due for its pods goes on being due: it isn't shown, and follows once nothing is in
    its way. A fire of the schedule and a person's request are answered at once.
    """
    answered = due.causes & {Cause.SCHEDULE, Cause.REQUESTED}
    return Outcome(skip.reason, skip.message) if answered else None


def adopted(policy: PackingPolicy, own: Iterable[PackingPlan]) -> Outcome | None:
    """Return the outcome of a run that made a plan and was killed before it could say so."""
    newest = max(own, key=lambda p: (p.metadata.creation_timestamp or "", p.metadata.name),
                 default=None)  # fmt: skip
    if newest is None or (policy.status and policy.status.last_plan == newest.metadata.name):
        return None
    run, made = last_run(policy), seconds(newest.metadata.creation_timestamp or "")
    if run is not None and (made is None or made < run):
        return None
    return Outcome(Reason.PLAN_CREATED, Reason.PLAN_CREATED.sentence, newest.metadata.name)


def policy_status(
    policy: PackingPolicy, standing: Standing, now: int, outcome: Outcome | None = None
) -> PackingPolicyStatus:
    """Return a policy's status after a turn; without an outcome the last run stays as it was."""
    old = policy.status or PackingPolicyStatus()
    new = old.model_copy(
        update={
            "conditions": conditions(policy, standing, now),
            "observed_generation": policy.metadata.generation,
        }
    )
    if outcome is None:
        return new
    run = LastRun(time=written(now), reason=outcome.reason.value, message=outcome.message[:1024])
    update = {"last_run": run, "last_plan": outcome.plan or old.last_plan}
    return new.model_copy(update=update | {"last_handled_request": request(policy) or None})


def same(body: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Whether an object of the API server is the plan that `plan_object` made.

    A plan is named by a digest of its content, so another one of the same name is unlikely, not
    impossible; and a person may have made the same plan under no policy.
    """
    undecided = {"approval": None, "abort": None}
    plans = (PackingPlan.model_validate(each).spec for each in (body, there))
    new, old = (spec.model_copy(update=undecided) for spec in plans)
    return new == old


def plan_object(
    plan: PackingPlan, policy: PackingPolicy, approved_by: str = ""
) -> Mapping[str, Any]:
    """Return the object of a policy's plan, approved if `approved_by` names who does it."""
    body = plan.to_object()
    name, pool = policy.metadata.name, policy.spec.pool_ref.name
    body["metadata"] = {
        "name": plan.metadata.name,
        "labels": {
            POLICY_LABEL: name,
            POOL_LABEL: pool,
            "app.kubernetes.io/managed-by": "fairstow",
        },
        "ownerReferences": [
            {
                "apiVersion": policy.api_version,
                "kind": policy.kind,
                "name": name,
                "uid": policy.metadata.uid,
                "controller": True,
            }
        ],
    }
    body["spec"] |= {"policy": name, "stepTimeout": policy.spec.limits.step_timeout}
    if approved_by:
        body["spec"]["approval"] = {"decision": "Approved", "by": approved_by}
    return body
