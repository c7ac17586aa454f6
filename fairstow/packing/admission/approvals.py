"""Who may approve, reject or stop a plan, and under which name that is recorded.

Called by controllers/webhook: `stamp` while objects may still be changed, `question` and `judge`
on the object as it will be stored. Only a decision that wasn't there before is looked at; that it
never changes afterwards is a rule of the CRD. What leads to plans that are carried out unasked is a
decision as well: a policy that comes into mode Auto, and a plan made in a policy's name.
"""

from dataclasses import dataclass

from fairstow.cluster.review import Reply, Request, User, name_of
from fairstow.packing.admission.seen import Decision, PlanSpec, PolicySpec, spec

PLANS, POLICIES = "packingplans", "packingpolicies"
VERB = "approve"
DECISIONS = ("approval", "abort")
"""Fields of a plan's spec that name who set them."""

_WHAT_IT_IS = {"approval": "approve or reject", "abort": "stop"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a SubjectAccessReview asks: may `user` approve the plan of this name?

    Attributes:
        plan: "" for any plan.
        act: what the user is about to do.
    """

    user: User
    plan: str
    act: str


def decided(request: Request) -> dict[str, Decision]:
    """Return the decisions that the request makes on a plan and that weren't made before."""
    new, old = spec(request.object, PlanSpec), spec(request.old_object, PlanSpec)
    found = {name: getattr(new, name) for name in DECISIONS if getattr(old, name) is None}
    return {name: decision for name, decision in found.items() if decision is not None}


def stamp(request: Request) -> Reply:
    """Record the user as the author of each new decision, whoever the request says it is."""
    user = request.user_info.username
    return Reply(
        patch=tuple(
            {"op": "add", "path": f"/spec/{field}/by", "value": user}
            for field, decision in decided(request).items()
            if decision.by != user
        )
    )


def question(request: Request) -> Question | None:
    """Return what must be asked before `judge`, None if the request decides nothing."""
    if request.resource.resource == POLICIES:
        act, plan = _unasked(request), ""
    else:
        act, plan = _on_plan(request), name_of(request)
    return Question(user=request.user_info, plan=plan, act=act) if act else None


def judge(request: Request, asked: Question, *, allowed: bool, said: str = "") -> Reply:
    """Refuse a decision of somebody who may not make it, or made in another's name.

    `allowed` and `said` are the answer to what was `asked`, with the authorizer's own words.
    """
    user = request.user_info.username
    if not allowed:
        return Reply(denied=_missing(user, asked.act) + (f" ({said})" if said else ""))
    if request.resource.resource == POLICIES:
        return Reply()
    for field, decision in decided(request).items():
        if decision.by != user:
            return Reply(
                denied=f"spec.{field}.by is {decision.by!r}, but the request was made by {user!r}: "
                "leave the field out, it is filled in"
            )
    return Reply()


def _on_plan(request: Request) -> str:
    plan, fields = name_of(request), decided(request)
    if fields:
        return f"{_WHAT_IT_IS[next(iter(fields))]} PackingPlan {plan}"
    policy = spec(request.object, PlanSpec).policy
    if policy and request.old_object is None:
        return f"make PackingPlan {plan} in the name of PackingPolicy {policy}"
    return ""


def _unasked(request: Request) -> str:
    new, old = spec(request.object, PolicySpec), spec(request.old_object, PolicySpec)
    comes = new.mode == "Auto" and old.mode != "Auto"
    return f"have PackingPolicy {name_of(request)} act unasked (mode Auto)" if comes else ""


def _missing(user: str, act: str) -> str:
    return (
        f"{user!r} may not {act}: that needs the verb {VERB!r} on "
        f"{PLANS}.fairstow.dev. A cluster administrator grants it with: "
        f"kubectl create clusterrolebinding NAME --clusterrole=fairstow-approver {_flag(user)}"
    )


def _flag(user: str) -> str:
    prefix, _, account = user.partition("system:serviceaccount:")
    return f"--serviceaccount={account}" if account and not prefix else f"--user={user}"
