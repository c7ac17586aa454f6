"""The workloads of serving pools: their scales, who else scales them, and marks on their pods.

Called by `scaling`. Whatever is written was read a moment before and is refused where it changed
since; who else scales is remembered for a while, in which an autoscaler wouldn't have acted either.

Rights used, in the namespaces of pools that are scaled: the scale of deployments, statefulsets and
leaderworkersets (get, update), horizontalpodautoscalers and scaledobjects (list), pods (get,
patch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairstow.api import Reason, ServingPool
from fairstow.api.serving_pool import ScaleTarget
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.problems import ApiError
from fairstow.serving.scaling import Obstacle, Workload
from fairstow.serving.workloads import EnginePod

Json = dict[str, Any]
Change = Callable[[Mapping[str, str]], Mapping[str, str | None] | None]

API_VERSIONS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1",
}
RIVALS_SECONDS = 10.0
"""Less than the 15 s after which a new HorizontalPodAutoscaler first acts."""
_SCALERS = (
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("keda.sh/v1alpha1", "ScaledObject"),
)
_ROLE = "the chart grants that where the pool's entry of gateways[] has scaling: true"


class Workloads:
    """See the module. Args: clock: seconds since 1970."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self._api, self._clock = api, clock
        self._scalers: dict[str, tuple[float, dict[tuple[str, str], str]]] = {}

    async def read(self, pool: ServingPool) -> Workload | Obstacle | None:
        """Return what a pool's workload has for its scale; None where the pool isn't scaled."""
        scaling = pool.spec.scaling
        if scaling is None:
            return None
        namespace, target = pool.metadata.namespace or "", scaling.target_ref
        try:
            rival = await self._rival(namespace, target)
            if rival:
                said = f"{rival} scales {target.kind}/{target.name}: delete one of the two"
                return Obstacle(Reason.SCALED_ELSEWHERE, said)
            scale = await self._api.get(_scale(namespace, target))
        except ApiError as error:
            return _obstacle(target, error)
        version = str(scale["metadata"].get("resourceVersion", ""))
        return Workload((scale.get("spec") or {}).get("replicas", 0), version)

    async def _rival(self, namespace: str, target: ScaleTarget) -> str:
        """Return who else scales it, "" if nobody does."""
        now = self._clock()
        read, found = self._scalers.get(namespace, (float("-inf"), {}))
        if not 0 <= now - read < RIVALS_SECONDS:
            self._scalers[namespace] = now, (found := await self._listed(namespace))
        return found.get((target.kind, target.name), "")

    async def _listed(self, namespace: str) -> dict[tuple[str, str], str]:
        """Return who scales what in a namespace."""
        scaled: dict[tuple[str, str], str] = {}
        for version, kind in _SCALERS:
            try:
                found, _ = await self._api.list(path_of(version, kind, namespace=namespace))
            except ApiError as error:
                if error.status == 404:  # the cluster doesn't have the kind
                    continue
                raise
            for each in found:
                ref = each["spec"].get("scaleTargetRef") or {}
                # KEDA's default is a Deployment.
                what = ref.get("kind") or "Deployment", ref.get("name") or ""
                scaled.setdefault(what, f"{kind} {each['metadata']['name']}")
        return scaled

    async def scale(self, pool: ServingPool, was: Workload, replicas: int) -> bool:
        """Set the number of replicas; return False where it isn't what it was any more."""
        assert pool.spec.scaling is not None
        target = pool.spec.scaling.target_ref
        namespace = pool.metadata.namespace or ""
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": target.name,
                "namespace": namespace,
                "resourceVersion": was.version,
            },
            "spec": {"replicas": replicas},
        }
        try:
            await self._api.replace(_scale(namespace, target), body)
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        return True

    async def annotate(self, pool: ServingPool, pod: EnginePod, change: Change) -> None:
        """Change a pod's annotations; one that is gone needs nothing."""
        path = path_of("v1", "Pod", namespace=pool.metadata.namespace or "", name=pod.name)
        try:
            meta = (await self._api.get(path))["metadata"]
            changed = change(meta.get("annotations") or {}) if meta["uid"] == pod.uid else None
            if changed is not None:
                version = {"resourceVersion": meta["resourceVersion"], "annotations": changed}
                await self._api.patch(path, {"metadata": version})
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or changed: looked at again next turn
                raise


def _scale(namespace: str, target: ScaleTarget) -> str:
    version = API_VERSIONS[target.kind]
    return path_of(version, target.kind, namespace=namespace, name=target.name) + "/scale"


def _obstacle(target: ScaleTarget, error: ApiError) -> Obstacle:
    if error.status == 404:
        said = f"there is no {target.kind} {target.name} in the pool's namespace"
        return Obstacle(Reason.TARGET_NOT_FOUND, said)
    if error.status == 403:
        return Obstacle(Reason.TARGET_REFUSED, f"{error.said}; {_ROLE}")
    raise error
