"""Keeps what sidecars need, and the status of every SemanticCache, as pods and sidecars are.

Run by `controllers.runtime` under the operator's Lease. `fairstow.semantic_cache.cache_status`
decides; the sidecars answer requests whether or not anybody runs here.

Rights used: semanticcaches/status (patch), pods/eviction (create), Events, and those of `cluster`
and `issuer`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec
from pydantic import ValidationError

from controllers import metrics
from controllers.health import Turns
from controllers.pace import Pace
from controllers.semantic_cache import cluster
from controllers.semantic_cache.cluster import NotKeptError
from controllers.semantic_cache.issuer import UnknownIssuerError, issuer_of
from controllers.semantic_cache.sidecars import Sidecars
from controllers.statuses import write_status
from fairstow.api import Reason, SemanticCache, SemanticCacheStatus, problems
from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import own_kind
from fairstow.kube.aio.api import Api, Outcome
from fairstow.kube.aio.connection import Json
from fairstow.kube.aio.recorder import About, Recorder
from fairstow.kube.aio.reflector import Reflector, Store
from fairstow.kube.problems import ApiError
from fairstow.semantic_cache.cache_status import CachePod, Seen, decide

logger = logging.getLogger(__name__)

CACHE = own_kind(SemanticCache)
_LOOP = "semantic-cache"
_LEAST = 1.0
_EVERY = 5
"""Seconds between turns; a status is written when it changed."""


class CacheLoop:
    """See the module.

    Args:
        clock: seconds since 1970.
    """

    def __init__(
        self,
        api: Api,
        *,
        recorder: Recorder | None = None,
        clock: Callable[[], float],
        turns: Turns,
        sidecars: Sidecars | None = None,
    ) -> None:
        self.clock, self.turns = clock, turns
        self._api, self._recorder = api, recorder
        self._store = Store()
        self._reflector = Reflector(api, CACHE, self._store)
        self._sidecars = sidecars or Sidecars()
        self._pace = Pace(self, _LEAST)
        self._kubernetes: tuple[int, int] | None = None

    def watch(self) -> Reflector:
        """Return what has to run for caches to be known."""
        return self._reflector

    async def run(self) -> None:
        """Take turns until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._changes())
                group.create_task(self._pace.run(_LOOP, self.turn))
        finally:
            await self._sidecars.close()

    async def turn(self) -> int | None:
        """See to every cache once; return when the next turn is due."""
        caches = self._caches()
        metrics.forget_caches({_ref(cache) for cache in caches})
        if not caches:
            return None
        if self._kubernetes is None:
            self._kubernetes = await cluster.kubernetes(self._api)
        for cache in caches:
            await self._guarded(cache)
        return int(self.clock()) + _EVERY

    async def _guarded(self, cache: SemanticCache) -> None:
        """See to a cache; what fails for one keeps nobody else waiting."""
        try:
            await self._see_to(cache)
        except ApiError as error:
            logger.warning("%s: %s", _ref(cache), error)
        except InputError:
            raise
        except Exception:
            logger.exception("%s: a turn failed by a fault of Fairstow's own", _ref(cache))
        else:
            return
        metrics.TURN_FAILURES.labels(_LOOP).inc()

    async def _see_to(self, cache: SemanticCache) -> None:
        # 1. What the sidecars need, before any pod is given one.
        problem, unknown, issuer, access = "", "", None, None
        try:
            issuer = await issuer_of(self._api) if cache.spec.accounts else None
        except UnknownIssuerError as error:
            unknown = str(error)
        try:
            access = await cluster.keep(self._api, cache, issuer)
        except NotKeptError as error:
            problem = str(error)
        # 2. The pods, and what their sidecars tell.
        raw = await cluster.pods(self._api, cache)
        pods = tuple(map(cluster.read_pod, raw))
        there = [each for each, pod in zip(raw, pods, strict=True) if pod.injected]
        seen = Seen(
            cache=cache,
            enabled=await cluster.enabled(self._api, cache.metadata.namespace or ""),
            kubernetes=self._kubernetes or (0, 0),
            problem=problem,
            pods=pods,
            reports=await self._sidecars.stats(there, access) if access else {},
            past=await cluster.past(self._api, cache, raw),
            now=int(self.clock()),
            unknown=unknown,
        )
        # 3. The status, first, since it says when a pod was last evicted.
        decision = decide(seen)
        metrics.show_cache(_ref(cache), decision.status)
        if decision.status != cache.status:
            self._tell(cache, decision.status)
            if not await self._report(cache, decision.status):
                return
        # 4. A pod without a sidecar.
        if decision.recreate is not None:
            await self._recreate(cache, decision.recreate)

    async def _recreate(self, cache: SemanticCache, pod: CachePod) -> None:
        namespace = cache.metadata.namespace or ""
        done = await self._api.evict(namespace, pod.name, pod.uid)
        metrics.CACHE_RECREATED.labels(_ref(cache), done.outcome.value).inc()
        if done.outcome is Outcome.EVICTED:
            said = f"pod {pod.name} was evicted: it had no sidecar"
            self._record(cache, Reason.POD_RECREATED.value, said, warning=False)
        else:
            logger.info("%s: pod %s stays: %s", _ref(cache), pod.name, done.said)
            if done.outcome is not Outcome.GONE:
                said = f"pod {pod.name} has no sidecar and can't be evicted: {done.said}"
                self._record(cache, Reason.POD_STAYS.value, said, warning=True)

    def _tell(self, cache: SemanticCache, status: SemanticCacheStatus) -> None:
        """Say what has turned since the last status."""
        before = cache.status or SemanticCacheStatus()
        for new in status.conditions:
            old = next((each for each in before.conditions if each.type == new.type), None)
            if new.status == "False" and (old is None or old.reason != new.reason):
                self._record(cache, new.reason, new.message, warning=True)
        states = {each.name: each.semantic for each in before.categories}
        for category in status.categories:
            turned = {states.get(category.name), category.semantic} == {"On", "Off"}
            if turned:
                reason = Reason.TIER_ON if category.semantic == "On" else Reason.TIER_OFF
                said = f"{category.name}: {category.message}"
                self._record(cache, reason.value, said, warning=False)

    def _record(self, cache: SemanticCache, reason: str, said: str, *, warning: bool) -> None:
        if self._recorder is None:
            return
        meta = cache.metadata
        about = About(
            cache.api_version, cache.kind, meta.namespace or "", meta.name, meta.uid or ""
        )
        key = f"{meta.uid}/{reason}"
        self._recorder.record(about, reason, said, action="Cache", warning=warning, key=key)

    async def _report(self, cache: SemanticCache, status: SemanticCacheStatus) -> bool:
        """Write a status; False where the cache is gone, for which nobody is evicted."""
        found = await write_status(self._api, cache, status, cluster.MANAGER)
        if found is not None:
            self._store.upsert(CACHE, msgspec.Raw(msgspec.json.encode(found)))
        return found is not None

    async def _changes(self) -> None:
        """Have a turn soon when what is asked for has changed, not for what is written here."""
        known: dict[str, object] = {}
        while True:
            await self._store.changed.wait()
            self._store.changed.clear()
            now = {name: obj["metadata"].get("generation") for name, obj in self._objects()}
            if now != known:
                known = now
                self._pace.wake()

    def _caches(self) -> tuple[SemanticCache, ...]:
        found = []
        for name, obj in sorted(self._objects()):
            try:
                found.append(SemanticCache.model_validate(obj))
            except ValidationError as error:  # an object of another version
                logger.warning("%s is left out, it can't be read: %s", name, problems(error))
        return tuple(found)

    def _objects(self) -> Iterable[tuple[str, Json]]:
        return self._store.of(CACHE).items()


def _ref(cache: SemanticCache) -> str:
    return f"{cache.metadata.namespace}/{cache.metadata.name}"
