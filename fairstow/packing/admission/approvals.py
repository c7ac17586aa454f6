"""Who may approve, reject or stop a plan, and under which name that is recorded.

Called by controllers/webhook: `stamp` while objects may still be changed, `question` and `judge`
on the object as it will be stored. Only a decision that wasn't there before is looked at; that it
never changes afterwards is a rule of the CRD.
"""

from dataclasses import dataclass

from fairstow.packing.admission.review import Json, Reply, Request, User, name_of

PLANS = "packingplans"
VERB = "approve"
DECISIONS = ("approval", "abort")
"""Fields of a plan's spec that name who set them."""

_WHAT_IT_IS = {"approval": "approve or reject", "abort": "stop"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a SubjectAccessReview asks: may `user` approve the plan of this name?"""

    user: User
    plan: str


def decided(request: Request) -> tuple[str, ...]:
    """Return which decisions the request makes that weren't made before."""
    new, old = _spec(request.object), _spec(request.old_object)
    return tuple(f for f in DECISIONS if new.get(f) is not None and old.get(f) is None)


def stamp(request: Request) -> Reply:
    """Record the user as the author of each new decision, whoever the request says it is."""
    spec, user = _spec(request.object), request.user_info.username
    return Reply(
        patch=tuple(
            {"op": "add", "path": f"/spec/{field}/by", "value": user}
            for field in decided(request)
            if isinstance(spec[field], dict) and spec[field].get("by") != user
        )
    )


def question(request: Request) -> Question | None:
    """Return what must be asked before `judge`, None if the request decides nothing."""
    if not decided(request):
        return None
    return Question(user=request.user_info, plan=name_of(request))


def judge(request: Request, *, allowed: bool, said: str = "") -> Reply:
    """Refuse a decision of somebody who may not make it, or made in another's name.

    `allowed` and `said` are the answer to `question`, with the authorizer's own words.
    """
    fields = decided(request)
    user, plan = request.user_info.username, name_of(request)
    if fields and not allowed:
        what = _WHAT_IT_IS[fields[0]]
        return Reply(denied=_missing(user, plan, what) + (f" ({said})" if said else ""))
    for field in fields:
        by = _spec(request.object)[field].get("by")
        if by != user:
            return Reply(
                denied=f"spec.{field}.by is {by!r}, but the request was made by {user!r}: leave "
                "the field out, it is filled in"
            )
    return Reply()


def _missing(user: str, plan: str, what: str) -> str:
    return (
        f"{user!r} may not {what} PackingPlan {plan}: that needs the verb {VERB!r} on "
        f"{PLANS}.fairstow.dev. A cluster administrator grants it with: "
        f"kubectl create clusterrolebinding NAME --clusterrole=fairstow-approver {_flag(user)}"
    )


def _flag(user: str) -> str:
    prefix, _, account = user.partition("system:serviceaccount:")
    return f"--serviceaccount={account}" if account and not prefix else f"--user={user}"


def _spec(obj: Json | None) -> Json:
    spec = (obj or {}).get("spec")
    return spec if isinstance(spec, dict) else {}
