"""What the operator knows of the cluster, kept up to date for as long as it runs.

Kubernetes' own kinds come through reflectors into a `LiveCluster`. Fairstow's kinds, few objects
with few changes, come through kopf's watch into `Objects`; kopf doesn't say which objects were
deleted while it was not watching, so they are also listed now and then.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import kopf

from controllers.packing.objects import OWN, Objects
from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import NODE, POD, READ
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.reflector import Reflector, behind
from fairstow.kube.problems import ApiError

BUDGET = next(kind for kind in READ if kind.name == "PodDisruptionBudget")
OLD_SECONDS = 90.0
"""A watch that heard nothing for longer is not acted upon; bookmarks come every minute."""
_RELIST_SECONDS = 300.0

logger = logging.getLogger(__name__)


class Watching:
    """The reflectors and what they feed."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.cluster = LiveCluster()
        self.objects = Objects()
        self.reflectors = {kind: Reflector(api, kind, self.cluster) for kind in READ}
        self._listed: float | None = None
        self.registry = kopf.OperatorRegistry()
        for login in (kopf.login_with_service_account, kopf.login_with_kubeconfig):
            kopf.on.login(registry=self.registry)(login)
        for kind in OWN:
            self._follow(kind.name, kind.resource)

    def age(self) -> float:
        """Return since when nodes or pods were last heard of, in seconds, the older of the two."""
        return max(self.reflectors[kind].age() for kind in (NODE, POD))

    @property
    def ages(self) -> Mapping[str, Callable[[], float]]:
        """How long ago each kind was last heard of, by its plural name."""
        return {kind.plural: each.age for kind, each in self.reflectors.items()}

    def fresh(self) -> bool:
        """Whether nodes, pods and budgets are known as they are now."""
        watched = [self.reflectors[kind] for kind in (NODE, POD)]
        known = all(each.synced.is_set() and not each.problem for each in watched)
        budgets = self.reflectors[BUDGET].age()
        return known and max(self.age(), budgets) < OLD_SECONDS

    def behind(self, oldest: float) -> str:
        """Say what isn't known as it is now, "" if nothing: what readiness hangs on."""
        if self._listed is None:
            return "pools, policies and plans haven't been listed yet"
        if (quiet := time.monotonic() - self._listed) > _RELIST_SECONDS + oldest:
            return f"pools, policies and plans haven't been listed for {quiet:.0f} s"
        return behind(self.reflectors.values(), oldest)

    def tasks(self) -> Iterable[Any]:
        """Yield what has to run."""
        yield from (each.run() for each in self.reflectors.values())
        yield self._relist()

    async def synced(self) -> None:
        """Return once everything has been listed."""
        await self._list_own()
        for reflector in self.reflectors.values():
            await reflector.synced.wait()

    def _follow(self, name: str, plural: str) -> None:
        kind = next(each for each in OWN if each.name == name)

        async def changed(event: kopf.RawEvent, **_: Any) -> None:
            content = dict(event["object"])
            if event["type"] == "DELETED":
                self.objects.delete(kind, content)
            else:
                self.objects.upsert(kind, content)

        kopf.on.event(
            "fairstow.dev", "v1alpha1", plural, registry=self.registry, id=f"see-{plural}"
        )(changed)

    async def _list_own(self) -> None:
        for kind in OWN:
            items, version = await self._api.list(kind.path)
            typed = ({"apiVersion": kind.api_version, "kind": kind.name} | each for each in items)
            self.objects.replace(kind, typed, version)
        self._listed = time.monotonic()

    async def _relist(self) -> None:
        while True:
            await asyncio.sleep(_RELIST_SECONDS)
            try:
                await self._list_own()
            except (ApiError, InputError) as error:
                logger.warning("Fairstow's own objects can't be listed: %s", error)
