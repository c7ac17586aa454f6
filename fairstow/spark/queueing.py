"""Puts a new Spark application in its queue: whose it is, and what keeps it from running yet.

Called by the webhook for new drivers' pods (`spark-submit`), SparkApplications and
ScheduledSparkApplications of namespaces with the label `fairstow.dev/spark-queue`. Identity is what
the API server authenticated, whatever annotations claim; whether the user may use the queue, or
submit for somebody else, is asked by `guarding` on the object as it will be stored.

- A driver's pod gets a scheduling gate, which can only be added now, and `--conf` arguments behind
  `driver`: spark-submit lets them win over the properties file, which comes later and can't be
  changed either.
- A SparkApplication gets `suspend: true`. One that its user suspended is marked: it is queued when
  they resume it.
- A run of something queued already (a SparkApplication's driver, a schedule's SparkApplication)
  takes over whose it is, and waits no second time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fairstow.api import SparkQueue
from fairstow.cluster.review import Json, Reply, Request
from fairstow.spark.limits import application_caps, driver_caps
from fairstow.spark.names import (
    ADMITTED,
    APPLICATION,
    DRIVER,
    EXECUTORS,
    GATE,
    GROUPS,
    OWN_SUSPEND,
    PARENT,
    QUEUE,
    RECORDED,
    SCHEDULED,
    SUBMIT_AS,
    SUBMITTER,
    USER,
)
from fairstow.spark.submitted import Submitted, submitted

_MOST_GROUPS = 100
_EVERYBODY = "system:"


def queue_up(
    request: Request, default: str, queues: Mapping[str, SparkQueue] | None, owner: Submitted | None
) -> Reply:
    """Return the reply to a new or changed object.

    Args:
        request: the review.
        default: the namespace's queue, "" if it has none.
        queues: by name; None while they aren't known.
        owner: the verified object whose run this is.

    Raises:
        MalformedError: the review isn't what an API server sends.
    """
    new = submitted(request, request.object)
    if request.operation == "UPDATE":
        return _changed(request, new, queues or {})
    if not default or (new.kind == "Pod" and not new.is_driver):
        return Reply()
    if new.others:
        return _left_alone(new)
    recorded = _inherited(request, owner) if owner else _identity(request, new, default)
    queue = recorded[QUEUE]
    if queues is not None and queue not in queues:
        known = ", ".join(sorted(queues)) or "none yet"
        said = f"there is no SparkQueue {queue}: set the annotation {QUEUE} to one of: {known}"
        return Reply(denied=said)
    if new.kind == APPLICATION:
        recorded[OWN_SUSPEND] = "true" if new.spec.suspend else "false"
    if new.kind == "Pod":
        recorded[EXECUTORS] = "recorded"
    claimed = {key: new.metadata.annotations.get(key) for key in RECORDED}
    forged = [key for key, value in claimed.items() if value not in (None, recorded.get(key))]
    ours = (*RECORDED, OWN_SUSPEND, ADMITTED)
    kept = {key: value for key, value in new.metadata.annotations.items() if key not in ours}
    patch: list[Json] = [
        {"op": "add", "path": "/metadata/annotations", "value": kept | recorded},
        *_waiting(request.object or {}, new, owner, (queues or {}).get(queue)),
    ]
    warnings = tuple(f"fairstow: {key} is recorded, not chosen: it was replaced" for key in forged)
    return Reply(patch=tuple(patch), warnings=warnings)


def _left_alone(new: Submitted) -> Reply:
    """Return the reply to what Kueue or Volcano queue: it must not pass for one that was here."""
    claimed = [key for key in RECORDED if key in new.metadata.annotations]
    if not claimed:
        return Reply()
    said = f"{', '.join(claimed)}: Kueue or Volcano queue it, so it can't be queued here as well"
    return Reply(denied=f"{said}; leave out either")


def _identity(request: Request, new: Submitted, default: str) -> dict[str, str]:
    user, chosen = request.user_info, new.metadata.annotations
    queue = chosen.get(QUEUE) or default
    if on_behalf := chosen.get(SUBMIT_AS):
        if on_behalf == user.username:
            return _recorded(user.username, user.groups, queue)
        return _recorded(on_behalf, (), queue) | {SUBMITTER: user.username}
    return _recorded(user.username, user.groups, queue)


def _recorded(user: str, groups: tuple[str, ...], queue: str) -> dict[str, str]:
    own = [group for group in groups if not group.startswith(_EVERYBODY)][:_MOST_GROUPS]
    return {USER: user, GROUPS: json.dumps(own), QUEUE: queue}


def _inherited(request: Request, owner: Submitted) -> dict[str, str]:
    """Return whose a run is: its owner's, of whoever made it."""
    theirs = owner.metadata.annotations
    found = {key: theirs[key] for key in (USER, GROUPS, QUEUE) if key in theirs}
    if request.user_info.username != found[USER]:
        found[SUBMITTER] = request.user_info.username
    return found | {PARENT: f"{owner.kind}/{owner.metadata.name}"}


def _waiting(
    obj: Json, new: Submitted, owner: Submitted | None, queue: SparkQueue | None
) -> list[Json]:
    """Return what keeps it from running until it is let go, and its caps."""
    if new.kind == SCHEDULED:
        return []
    if new.kind == APPLICATION:
        suspend: list[Json] = [{"op": "add", "path": "/spec/suspend", "value": True}]
        return [*suspend, *(application_caps(obj, queue) if queue else ())]
    caps = _arguments(obj, driver_caps(obj, queue)) if queue else []
    if owner is not None and owner.kind == APPLICATION:
        return []  # its caps are in the SparkApplication
    gates: Any = list(obj["spec"].get("schedulingGates") or ())
    held = [*gates, {"name": GATE}] if not new.waits else gates
    return [{"op": "add", "path": "/spec/schedulingGates", "value": held}, *caps]


def _arguments(obj: Json, confs: Mapping[str, str]) -> list[Json]:
    """Return the patch that gives Spark's driver these settings."""
    for number, container in enumerate(obj["spec"].get("containers") or ()):
        arguments = container.get("args") or []
        if arguments[:1] == [DRIVER]:
            more = [part for key, value in confs.items() for part in ("--conf", f"{key}={value}")]
            value = [DRIVER, *more, *arguments[1:]]
            if more:
                path = f"/spec/containers/{number}/args"
                return [{"op": "replace", "path": path, "value": value}]
    return []


def _changed(request: Request, new: Submitted, queues: Mapping[str, SparkQueue]) -> Reply:
    """Mark an application that its user suspends; queue it when they resume it; keep its caps."""
    old = submitted(request, request.old_object)
    if new.kind != APPLICATION or USER not in old.metadata.annotations:
        return Reply()
    path = "/metadata/annotations/" + OWN_SUSPEND.replace("/", "~1")
    queue = queues.get(old.metadata.annotations.get(QUEUE, ""))
    caps = application_caps(request.object or {}, queue) if queue else ()
    if new.waits and not old.waits:
        return Reply(patch=(*caps, {"op": "add", "path": path, "value": "true"}))
    if new.waits or old.metadata.annotations.get(OWN_SUSPEND) != "true":
        return Reply(patch=caps)
    return Reply(
        patch=(
            *caps,
            {"op": "add", "path": "/spec/suspend", "value": True},
            {"op": "add", "path": path, "value": "false"},
        ),
        warnings=("fairstow: the application is queued now; it starts when it is its turn",),
    )
