"""Queues new Spark applications, and keeps users from leaving the queue by themselves.

Called by `app`. Rights used: sparkapplications, scheduledsparkapplications, pods (get), namespaces,
sparkqueues (watch), and to ask who may do what.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from controllers.webhook.access import may
from fairstow.api import SparkQueue
from fairstow.cluster.review import Json, Reply, Request
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.spark.executing import admit_executor, claimed, is_executor
from fairstow.spark.guarding import QUEUES, judge, question
from fairstow.spark.names import OPERATOR_GROUP, QUEUE
from fairstow.spark.queueing import queue_up
from fairstow.spark.submitted import Parent, parent, submitted, verified

_VERSION = f"{OPERATOR_GROUP}/v1beta2"


class Queues(Protocol):
    """Who knows queues and namespaces."""

    def queues(self) -> Mapping[str, SparkQueue] | None:
        """Return the queues by name, None while they aren't known."""

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """Return a namespace's labels, none where it isn't known."""


async def queue(api: Api, known: Queues, request: Request) -> Reply:
    """Put a new object in its queue.

    Raises:
        ApiError, InputError: the API server can't be asked; then the object isn't queued.
    """
    owner = None
    if request.operation == "CREATE":
        new = submitted(request, request.object)
        run_of = parent(new)
        found = await _found(api, request.namespace, run_of) if run_of else None
        owner = verified(new, run_of, found)
    default = known.labels_of(request.namespace).get(QUEUE, "")
    return queue_up(request, default, known.queues(), owner)


async def executor(api: Api, known: Queues, request: Request) -> Reply:
    """See whose a new executor is, and whether it waits.

    Raises:
        ApiError, InputError: the API server can't be asked; then it is counted as missed.
    """
    if request.operation != "CREATE" or not known.labels_of(request.namespace).get(QUEUE):
        return Reply()
    driver = await _driver(api, request)
    marks = (driver or {}).get("metadata", {}).get("annotations") or {}
    queue = (known.queues() or {}).get(marks.get(QUEUE, ""))
    return admit_executor(request, driver, queue)


async def guard(api: Api, request: Request) -> Reply:
    """Refuse what the user may not do.

    Raises:
        ApiError, InputError: the API server can't be asked; then the object is refused.
    """
    asked, allowed, said = question(request), True, ""
    if asked is not None:
        allowed, said = await may(api, asked.user, asked.verb, QUEUES, asked.queue)
    driver = await _driver(api, request) if request.operation == "CREATE" else None
    return judge(request, asked, allowed=allowed, said=said, driver=driver)


async def _driver(api: Api, request: Request) -> Json | None:
    """Return the driver that a new executor claims; None if it claims none that is there."""
    new = submitted(request, request.object)
    owner = claimed(new) if is_executor(new) else None
    return await _found(api, request.namespace, owner) if owner else None


async def _found(api: Api, namespace: str, meant: Parent) -> Json | None:
    version = "v1" if meant.kind == "Pod" else _VERSION
    path = path_of(version, meant.kind, namespace=namespace, name=meant.name)
    try:
        return await api.get(path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
