"""Asks the API server what a user may do: approve plans, use queues.

Called by `app` for each new decision on a plan, and by `queueing`.
"""

from fairstow.api.model import GROUP
from fairstow.cluster.review import User
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.packing.admission.approvals import PLANS, VERB, Question

_VERSION, _KIND = "authorization.k8s.io/v1", "SubjectAccessReview"


async def may_decide(api: Api, question: Question) -> tuple[bool, str]:
    """Return the authorizer's answer and its own words.

    Raises:
        ApiError: it may not be asked.
        InputError: it can't be reached.
    """
    return await may(api, question.user, VERB, PLANS, question.plan)


async def may(api: Api, user: User, verb: str, resource: str, name: str) -> tuple[bool, str]:
    """Return whether a user may do that with an object of Fairstow's. Raises as `may_decide`."""
    review = {
        "apiVersion": _VERSION,
        "kind": _KIND,
        "spec": {
            "user": user.username,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
            "resourceAttributes": {
                "group": GROUP,
                "resource": resource,
                "verb": verb,
                "name": name,
            },
        },
    }
    answer = await api.create(path_of(_VERSION, _KIND), review)
    status = answer.get("status") or {}
    said = status.get("reason") or status.get("evaluationError") or ""
    return bool(status.get("allowed")), str(said)
