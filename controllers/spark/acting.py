"""What the Spark controller does to users' objects: lets them go, and reads a driver's settings.

Letting go is one write that is refused unless the object is as it was seen, and that says when it
was: whatever a crash interrupts, an application waits or was let go, and its object tells which.

Rights used, in the namespaces of spark.namespaces: pods, sparkapplications (patch), configmaps
(get); everywhere: sparkqueues/release.
"""

from __future__ import annotations

from typing import Any

from fairstow.cluster.times import written
from fairstow.kube.aio.api import JSON_PATCH, Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.spark.applications import Application
from fairstow.spark.names import ADMITTED, APPLICATION, GATE, OPERATOR_GROUP
from fairstow.spark.pods import SparkPod
from fairstow.spark.sizes import properties

_APPS = f"{OPERATOR_GROUP}/v1beta2"
_CHANGED = (404, 409, 422)
"""Gone, or not as it was seen: the next turn looks anew."""
_MARK = "/metadata/annotations/" + ADMITTED.replace("/", "~1")


class Hands:
    """See the module."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def release(self, app: Application, now: float) -> bool:
        """Let an application go; return False where it isn't as it was seen.

        Raises:
            ApiError: it was refused.
        """
        path = _path(app)
        mark = {"op": "add", "path": _MARK, "value": written(int(now))}
        same = {"op": "test", "path": "/metadata/uid", "value": app.id}
        try:
            if app.kind == APPLICATION:
                change = [
                    {"op": "test", "path": "/spec/suspend", "value": True},
                    {"op": "replace", "path": "/spec/suspend", "value": False},
                ]
            else:
                change = await self._ungated(path)
            await self._api.patch(path, [same, mark, *change], JSON_PATCH)
        except ApiError as error:
            if error.status not in _CHANGED:
                raise
            return False
        return True

    async def ungate(self, pod: SparkPod) -> bool:
        """Let an executor go; return False where it isn't as it was seen.

        Raises:
            ApiError: it was refused.
        """
        path = path_of("v1", "Pod", namespace=pod.namespace, name=pod.name)
        same = {"op": "test", "path": "/metadata/uid", "value": pod.uid}
        try:
            await self._api.patch(path, [same, *await self._ungated(path)], JSON_PATCH)
        except ApiError as error:
            if error.status not in _CHANGED:
                raise
            return False
        return True

    async def _ungated(self, path: str) -> list[dict[str, Any]]:
        """Return the patch that takes our gate off a pod, whichever others it has."""
        pod = await self._api.get(path)
        gates = [each["name"] for each in pod["spec"].get("schedulingGates") or ()]
        at = f"/spec/schedulingGates/{gates.index(GATE) if GATE in gates else len(gates)}"
        test = {"op": "test", "path": f"{at}/name", "value": GATE}
        return [test, {"op": "remove", "path": at}]

    async def settings(self, namespace: str, name: str) -> dict[str, str] | None:
        """Return a driver's Spark properties, None where they aren't there yet.

        Raises:
            ApiError: they may not be read.
        """
        try:
            found = await self._api.get(path_of("v1", "ConfigMap", namespace=namespace, name=name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return properties((found.get("data") or {}).get("spark.properties", ""))


def _path(app: Application) -> str:
    version, kind = (_APPS, APPLICATION) if app.kind == APPLICATION else ("v1", "Pod")
    return path_of(version, kind, namespace=app.namespace, name=app.name)
