"""What a gateway knows of its cluster: its ServingPool, the engines' pods, and which of them drain.

Started by the gateway where it serves a pool of a cluster; locally, engines are named by hand. A
drain needs nobody but the gateways: each sees the InstanceDrain, or that the pod terminates, and
hands its own requests over.

Needs, in the pool's namespace: servingpools, instancedrains and pods (get, list, watch), and the
Secrets that the pool names (get).
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import ValidationError

from fairstow.api import InstanceDrain, ServingPool, ServingPoolSpec, problems
from fairstow.api.serving_pool import SecretKey
from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import POD, Kind, own_kind
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.aio.reflector import Reflector, Store
from fairstow.kube.aio.tasks import running
from fairstow.kube.problems import ApiError
from fairstow.serving.instances import Instance, instances, of_pool, query

logger = logging.getLogger(__name__)


POOL, DRAIN = own_kind(ServingPool, needed=True), own_kind(InstanceDrain, needed=True)
SECRET_SECONDS = 60.0
"""How often Secrets are read again: Kubernetes lets nobody watch one Secret by name alone."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A pool at one moment.

    Attributes:
        api_key: what the engines ask for, "" if nothing.
        tenants: the text that says who may use the gateway, None where the pool names none.
    """

    spec: ServingPoolSpec
    instances: tuple[Instance, ...]
    api_key: str
    tenants: str | None


class PoolWatch:
    """See the module.

    Args:
        changed: told of the pool whenever something about it changed; never twice at once.

    Attributes:
        problem: what keeps it from knowing the pool, "" if nothing does.
        known: the pool has been told of once, or there was none.
    """

    def __init__(
        self, api: Api, namespace: str, name: str, changed: Callable[[Known], Awaitable[None]]
    ) -> None:
        self._api = api
        self._namespace, self._name = namespace, name
        self._changed = changed
        self._store = Store()
        self._told: Known | None = None
        self.problem = "the ServingPool hasn't been read yet"
        self.known = False

    async def run(self) -> None:
        """Watch until cancelled."""
        pools = self._reflector(POOL, {"fieldSelector": f"metadata.name={self._name}"})
        drains = self._reflector(DRAIN, {})
        async with running([pools.run(), drains.run(), self._follow(pools, drains)]) as ended:
            await ended

    async def _follow(self, pools: Reflector, drains: Reflector) -> None:
        """Tell of every change; watch other pods once the pool selects others."""
        await pools.synced.wait()
        await drains.synced.wait()
        while True:
            self._store.changed.clear()
            pool = self._pool()
            if pool is None:
                logger.warning("%s", self.problem)
                self.known = True
                await self._woken()
                continue
            selected = query(pool.spec.engines.selector)
            pods = self._reflector(POD, {"labelSelector": selected})
            async with running([pods.run(), self._tell_while(selected, pods)]) as ended:
                await ended
            self._store.retain(POD, frozenset())

    async def _tell_while(self, selected: str, pods: Reflector) -> None:
        await pods.synced.wait()
        while True:
            self._store.changed.clear()
            pool = self._pool()
            if pool is None or query(pool.spec.engines.selector) != selected:
                return
            try:
                await self._tell(pool)
                self.problem, self.known = "", True
            except (ApiError, InputError) as error:
                self.problem = str(error)
                logger.warning("%s", error)
            await self._woken()

    async def _tell(self, pool: ServingPool) -> None:
        drains = of_pool(self._drains(), pool)
        known = Known(
            spec=pool.spec,
            instances=instances(self._store.of(POD).values(), drains),
            api_key=(await self._secret(pool.spec.engines.api_key)) or "",
            tenants=await self._secret(pool.spec.tenants),
        )
        if known != self._told:
            await self._changed(known)
            self._told = known

    async def _woken(self) -> None:
        try:
            await asyncio.wait_for(self._store.changed.wait(), SECRET_SECONDS)
        except TimeoutError:
            return

    def _reflector(self, kind: Kind, selected: dict[str, str]) -> Reflector:
        return Reflector(self._api, kind, self._store, query=selected, namespace=self._namespace)

    def _pool(self) -> ServingPool | None:
        found = self._store.of(POOL).get(f"{self._namespace}/{self._name}")
        if found is None:
            self.problem = f"there is no ServingPool {self._namespace}/{self._name}"
            return None
        try:
            return ServingPool.model_validate(found)
        except ValidationError as error:
            said = "; ".join(problems(error))
            self.problem = f"ServingPool {self._namespace}/{self._name} can't be read: {said}"
            return None

    def _drains(self) -> list[InstanceDrain]:
        found = []
        for name, each in self._store.of(DRAIN).items():
            try:
                found.append(InstanceDrain.model_validate(each))
            except ValidationError as error:  # an object of another version
                logger.warning("InstanceDrain %s is left out: %s", name, problems(error))
        return found

    async def _secret(self, which: SecretKey | None) -> str | None:
        """Return an entry of a Secret, None where none is asked for."""
        if which is None:
            return None
        path = path_of("v1", "Secret", namespace=self._namespace, name=which.name)
        named = f"Secret {self._namespace}/{which.name}"
        try:
            data = (await self._api.get(path)).get("data") or {}
        except ApiError as error:
            raise InputError(named, f"can't be read: {error}") from error
        if which.key not in data:
            raise InputError(named, f"has no entry {which.key}: the ServingPool names it")
        try:
            return b64decode(data[which.key], validate=True).decode()
        except (Base64Error, UnicodeDecodeError) as error:
            raise InputError(named, f"entry {which.key} is no UTF-8 text") from error
