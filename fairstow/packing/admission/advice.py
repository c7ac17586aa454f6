"""What is wrong with a policy or plan beside the cluster's other objects.

Called by controllers/webhook; what a CRD's rules can say is said there. All of it is a warning,
since other objects come and go, but for one thing: a plan of another cluster is never approved.
"""

from collections.abc import Iterator

from pydantic import ValidationError

from fairstow.api import PackingPolicy
from fairstow.cluster.review import Json, Reply, Request
from fairstow.packing.admission.approvals import decided
from fairstow.packing.admission.seen import PlanSpec, PlanStatus, PolicySpec, spec, status
from fairstow.packing.admission.world import World, joined
from fairstow.packing.policy.overlap import overlaps
from fairstow.packing.policy.schedules import problem

_OVER = ("Stale", "Succeeded")


def advise_policy(request: Request, world: World) -> Reply:
    """Return the reply to the creation or change of a PackingPolicy, with warnings alone."""
    if request.object is None:
        return Reply()
    found = spec(request.object, PolicySpec)
    return Reply(warnings=(*_pool(request.object, world), *_times(found), *_idle(found)))


def _pool(raw: Json, world: World) -> Iterator[str]:
    if world.pools is None or world.nodes is None:
        return
    try:
        policy = PackingPolicy.model_validate(raw)
    except ValidationError:  # of a version to come: the operator says what it makes of it
        return
    name, pool = policy.metadata.name, policy.spec.pool_ref.name
    if pool not in world.pools:
        yield (
            f"spec.poolRef.name: there is no GpuPool {pool}; the policy does nothing until there is"
        )
        return
    policies = {**(world.policies or {}), name: policy}
    nodes = {each.metadata.name: world.members(each) for each in world.pools.values()}
    for barred, older in overlaps(policies.values(), nodes).items():
        if name in (barred, older):
            other = policies[older if barred == name else barred]
            theirs = other.spec.pool_ref.name
            yield (
                f"PackingPolicy {other.metadata.name} packs "
                f"{len(nodes[pool] & nodes.get(theirs, frozenset()))} of the same nodes (GpuPool "
                f"{theirs}): only {older}, the older one, acts"
            )


def _times(policy: PolicySpec) -> Iterator[str]:
    """Warn of schedules that never fire: the policy's condition Ready then is False."""
    schedule = policy.triggers.schedule if policy.triggers else None
    if schedule and (said := problem(schedule)):
        yield f"spec.triggers.schedule: {said}; the policy does nothing until that is corrected"
    for index, window in enumerate(policy.maintenance_windows or ()):
        if said := problem(window.start, window.time_zone or "UTC"):
            yield (
                f"spec.maintenanceWindows[{index}]: {said}; the policy does nothing until that is "
                "corrected"
            )


def _idle(policy: PolicySpec) -> Iterator[str]:
    limits = policy.limits
    if policy.mode != "Auto" or limits is None:
        return
    if limits.max_moves_per_hour == 0:
        yield "spec.limits.maxMovesPerHour is 0: no plan is made"
    if limits.max_moves_per_plan == 0 and not limits.max_evictions_per_plan:
        yield "spec.limits.maxMovesPerPlan is 0: no plan is made"


def advise_plan(request: Request, world: World) -> Reply:
    """Return the reply to the creation or change of a PackingPlan, by other objects alone."""
    if request.object is None:
        return Reply()
    warnings: list[str] = []
    plan = spec(request.object, PlanSpec)
    approval = decided(request).get("approval")
    approving = approval is not None and approval.decision == "Approved"
    absent, named = _absent(plan, world)
    if absent and len(absent) == len(named):
        said = f"none of its nodes is in this cluster ({joined(absent)})"
        if approving:
            return Reply(denied=f"the plan is of another cluster: {said}. Make one here.")
        warnings.append(f"the plan seems to be of another cluster: {said}")
    elif absent:
        warnings.append(f"nodes of the plan are gone ({joined(absent)}): it will stop as Stale")
    warnings += _policy(plan, world)
    if approving and (over := _over(status(request.object))):
        warnings.append(f"the plan is over ({over}): approving it does nothing; make a new one")
    return Reply(warnings=tuple(warnings))


def _absent(plan: PlanSpec, world: World) -> tuple[list[str], set[str]]:
    """Return which of the plan's nodes don't exist, and all of them."""
    named = {name for entry in plan.entries for name in entry.nodes}
    if world.nodes is None:
        return [], named
    return sorted(named - world.nodes.keys()), named


def _policy(plan: PlanSpec, world: World) -> Iterator[str]:
    name = plan.policy
    if not name or world.policies is None:
        return
    policy = world.policies.get(name)
    if policy is None:
        yield f"spec.policy: there is no PackingPolicy {name}, so the plan isn't carried out"
    elif policy.spec.suspend:
        yield f"PackingPolicy {name} is suspended: nothing is carried out until it isn't"


def _over(seen: PlanStatus) -> str:
    for condition in seen.conditions or ():
        if condition.type in _OVER and condition.status == "True":
            return f"{condition.type}: {condition.reason}"
    return ""
