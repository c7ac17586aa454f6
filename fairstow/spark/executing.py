"""New executors: whose they are, and whether they wait until their queue has cores for them.

Called by the webhook for pods with Spark's label of executors in queued namespaces. An executor is
charged to the user of the driver that its owner reference names; so that nobody charges another,
it has to be made by that driver: by its ServiceAccount, as the API server authenticated it, or by
whom the driver runs for. What is made by others is refused. What was seen here carries the driver's
UID in an annotation that nobody changes; executors without it are counted as missed.

While their queue has no cores left (`status.holdsExecutors`), executors get a scheduling gate; the
Spark controller takes it off as cores become free (`elastic`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairstow.api import SparkQueue
from fairstow.cluster.review import Json, Reply, Request, read_part
from fairstow.spark.names import DRIVER_UID, EXECUTOR, GATE, LASTING, QUEUE, ROLE, SUBMITTER, USER
from fairstow.spark.submitted import Metadata, Parent, Submitted, submitted


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    service_account_name: str = "default"


def claimed(new: Submitted) -> Parent | None:
    """Return the driver whose executor a pod claims to be, None if it claims to be nobody's."""
    owners = new.metadata.owner_references
    return next((Parent("Pod", o.name, o.uid) for o in owners if o.kind == "Pod"), None)


def is_executor(new: Submitted) -> bool:
    """Whether it is an executor's pod, or passes for one that was seen here."""
    labelled = new.metadata.labels.get(ROLE) == EXECUTOR
    return new.kind == "Pod" and (labelled or DRIVER_UID in new.metadata.annotations)


def admit_executor(request: Request, driver: Json | None, queue: SparkQueue | None) -> Reply:
    """Return the reply to a new executor.

    Args:
        request: the review.
        driver: the pod of the name that it claims for its driver, None if there is none.
        queue: the driver's, None if it isn't known.

    Raises:
        MalformedError: the review isn't what an API server sends.
    """
    new = submitted(request, request.object)
    whose = _queued(new, driver)
    if denied := refusal(request, driver):
        return Reply(denied=denied)
    if whose is None:
        return Reply()
    recorded = {DRIVER_UID: whose.uid, QUEUE: whose.annotations.get(QUEUE, "")}
    patch: list[Json] = [
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": {**new.metadata.annotations, **recorded},
        }
    ]
    held = queue is not None and queue.status is not None and queue.status.holds_executors
    if held and whose.annotations.get(LASTING) != "true" and not new.waits:
        gates: Any = list((request.object or {})["spec"].get("schedulingGates") or ())
        path = "/spec/schedulingGates"
        patch.append({"op": "add", "path": path, "value": [*gates, {"name": GATE}]})
    return Reply(patch=tuple(patch))


def refusal(request: Request, driver: Json | None) -> str:
    """Return why a new executor isn't whose it claims to be, "" if it is."""
    new = submitted(request, request.object)
    whose, user = _queued(new, driver), request.user_info.username
    seen = new.metadata.annotations.get(DRIVER_UID)
    if whose is None:
        none = (
            f"{DRIVER_UID} is recorded, not chosen, and this isn't the executor of a queued driver"
        )
        return f"{none}: leave it out" if seen is not None else ""
    if seen not in (None, whose.uid) or new.metadata.labels.get(ROLE) != EXECUTOR:
        return f"{DRIVER_UID} is recorded, not chosen: leave it out"
    account = read_part(driver, "spec", _Spec).service_account_name or "default"
    own = f"system:serviceaccount:{request.namespace}:{account}"
    if user in (own, whose.annotations[USER], whose.annotations.get(SUBMITTER)):
        return ""
    return (
        f"the owner reference names {whose.name}, whose executors are made by {own}, but the "
        f"request was made by {user!r}: executors are charged to their driver's user"
    )


def _queued(new: Submitted, driver: Json | None) -> Metadata | None:
    """Return the metadata of the driver that is meant, None if it isn't a queued one."""
    wanted = claimed(new)
    if wanted is None or driver is None:
        return None
    meta = read_part(driver, "metadata", Metadata)
    return meta if meta.uid == wanted.uid and USER in meta.annotations else None
