"""Holds an eviction back until the engine's requests have gone elsewhere.

Called by `app` for each eviction. Rights used: pods (get), instancedrains (create).
"""

from __future__ import annotations

import time
from typing import Protocol

from fairstow.api import InstanceDrain, ServingPool
from fairstow.cluster.review import Reply, Request, name_of
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.serving.evictions import Victim, judge

TOO_MANY_REQUESTS = 429
"""What `kubectl drain` and the eviction API's other users take for "ask again"."""


class Serving(Protocol):
    """Who knows the serving pools."""

    def serving(self) -> tuple[list[ServingPool], list[InstanceDrain]]:
        """Return pools and drains; none where they aren't known."""


async def hold_back(api: Api, known: Serving, request: Request) -> Reply:
    """Answer an eviction; one that has to wait begins a drain, but for a dry run.

    Raises:
        ApiError, InputError: the API server can't be asked; then the eviction goes on.
    """
    pools, drains = known.serving()
    if not any(pool.metadata.namespace == request.namespace for pool in pools):
        return Reply()
    victim = await _victim(api, request.namespace, name_of(request))
    if victim is None:
        return Reply()
    answer = judge(victim, pools, drains, int(time.time()))
    if answer.begin is not None and not request.dry_run:
        await _begin(api, answer.begin)
    if not answer.wait:
        return Reply()
    return Reply(denied=answer.wait, status=TOO_MANY_REQUESTS)


async def _victim(api: Api, namespace: str, name: str) -> Victim | None:
    try:
        pod = await api.get(path_of("v1", "Pod", namespace=namespace, name=name))
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    meta = pod["metadata"]
    return Victim(namespace=namespace, name=name, uid=meta["uid"], labels=meta.get("labels") or {})


async def _begin(api: Api, drain: InstanceDrain) -> None:
    """Make a drain; one of its name is this very one, which our watch hasn't shown yet."""
    meta = drain.metadata
    path = path_of(drain.api_version, drain.kind, namespace=meta.namespace or "")
    try:
        await api.create(path, drain.to_object())
    except ApiError as error:
        if error.status != 409:
            raise
