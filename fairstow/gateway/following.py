"""Keeps a gateway as its ServingPool has it: engines, drains, tenants, policy; and who may ask it.

Used by `service` where the gateway serves a pool of a cluster. What can't be used (a Secret that is
missing, tenants that can't be read) is logged and leaves things as they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from fairstow.api import ServingPoolSpec
from fairstow.cluster.errors import InputError
from fairstow.gateway import tenants
from fairstow.gateway.accounts import TokenAccounts
from fairstow.gateway.app import Gateway
from fairstow.gateway.cluster import Known, PoolWatch
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.kinds import KINDS
from fairstow.gateway.engines.protocol import Engine
from fairstow.gateway.engines.vocabulary import Vocabulary
from fairstow.gateway.moving import Mover
from fairstow.gateway.peers import Peers
from fairstow.kube import problems
from fairstow.kube.aio.api import Api
from fairstow.kube.review import Access, Reviewer
from fairstow.serving.engine_pods import ADAPTERS
from fairstow.serving.instances import Instance
from fairstow.serving.policies import policy
from fairstow.serving.rescheduling import settings
from fairstow.serving.wire import audience
from fairstow.web.errors import ApiError

LOADS = "/loads"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Followed:
    """Which pool, and how its cluster is reached; None as kubectl would, or the pod's account.

    Attributes:
        name: this gateway's.
        token: the file with what the pool's other gateways are shown; None: they aren't asked.
    """

    namespace: str
    pool: str
    name: str
    kubeconfig: str | None = None
    context: str | None = None
    token: Path | None = None


@dataclass(frozen=True)
class _Reached:
    """How an engine is spoken to: one that changes is another engine."""

    kind: str
    url: str
    key: str
    weights: str
    priorities: bool
    speed: float
    carrier: str


class Following:
    """See the module."""

    def __init__(
        self,
        api: Api,
        followed: Followed,
        gateway: Gateway,
        mover: Mover,
        session: aiohttp.ClientSession,
        *,
        vocabulary: Vocabulary | None,
        replicas: int,
        clock: Callable[[], float],
    ) -> None:
        self._gateway, self._mover, self._session = gateway, mover, session
        self._vocabulary, self._replicas, self._clock = vocabulary, replicas, clock
        self._peers = _peers(api, followed, gateway, session)
        self._reached: dict[str, _Reached] = {}
        self._said: tuple[str | None, ServingPoolSpec | None] = ("", None)
        self._watch = PoolWatch(api, followed.namespace, followed.pool, self._changed)
        self._reviewer = Reviewer(api, time.monotonic)
        self._audience = audience(followed.namespace, followed.pool)
        self._accounts = TokenAccounts(self._reviewer, self._audience)
        pool = {"namespace": followed.namespace, "name": followed.pool}
        self._may_read = {"group": "fairstow.dev", "resource": "servingpools", "verb": "get"} | pool
        self._may_write = self._may_read | {"subresource": "status", "verb": "patch"}

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what has to run."""
        return [self._watch.run(), *([self._peers.run()] if self._peers else [])]

    def unready(self) -> str:
        """Say why clients had better ask another replica, "" if they may ask this one.

        Without a pool, or without engines, every replica is as good: requests wait, and whoever
        installs the gateway before its pool isn't kept waiting for it.
        """
        return "" if self._watch.known else self._watch.problem

    async def guard(self, authorization: str, path: str) -> None:
        """Let in whoever may write the pool's status, by a token made for this pool's gateways.

        Loads, which name no request and nobody, are for all who may read the pool: its gateways.
        """
        wanted = self._may_read if path == LOADS else self._may_write
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ApiError(401, "Send a ServiceAccount's token: Authorization: Bearer …")
        try:
            answer = await self._reviewer.review_resource(token.strip(), wanted, self._audience)
        except (problems.ApiError, InputError) as error:
            log.error("can't ask whose token it is", error=str(error))
            raise ApiError(503, "The API server can't be asked whose token that is.") from error
        if answer.access is Access.UNKNOWN_USER:
            raise ApiError(401, f"The API server knows no such token for {self._audience}.")
        if answer.access is Access.FORBIDDEN:
            what = "get" if path == LOADS else "patch the status of"
            raise ApiError(403, f"{answer.user} may not {what} this ServingPool.")

    async def _changed(self, known: Known) -> None:
        text, spec = self._said
        # 1. Whose keys are good; who runs keeps running.
        if known.tenants != text:
            self._tenants(known.tenants)
        # 2. How requests are spread and moved.
        if known.spec != spec:
            self._policy(known.spec)
        self._said = known.tenants, known.spec
        # 3. Engines that are there now, and who of them drains.
        there = {each.name: each for each in known.instances if each.address}
        for name, instance in there.items():
            await self._use(name, self._how(known, instance))
        self._gateway.fleet.drain(name for name, each in there.items() if each.draining)
        # 4. Engines whose pod has gone: what runs there breaks off and goes on elsewhere.
        for name in self._reached.keys() - there.keys():
            await self._drop(name)

    def _tenants(self, text: str | None) -> None:
        try:
            self._gateway.tenants = self._parsed(text)
        except InputError as error:
            log.error("tenants stay as they were", error=str(error))

    def _parsed(self, text: str | None) -> tenants.Tenants:
        if text is None:
            return tenants.Tenants((), self._clock)
        source, before = "the pool's tenants", self._gateway.tenants
        return tenants.parse(source, text, self._clock, self._replicas, self._accounts, before)

    def _policy(self, spec: ServingPoolSpec) -> None:
        limits = spec.rescheduling
        chosen = policy(spec.dispatch, settings(spec))
        self._gateway.dispatcher.policy = chosen
        self._mover.rescheduler = chosen.rescheduler if limits.enabled else None
        self._mover.leaving = limits.max_moves_per_instance

    @staticmethod
    def _how(known: Known, instance: Instance) -> _Reached:
        engines = known.spec.engines
        return _Reached(
            kind=engines.type,
            url=instance.url(engines.port),
            key=known.api_key,
            weights=instance.weights,
            priorities=instance.priorities,
            speed=instance.speed,
            carrier=instance.url(instance.carrier) if instance.carrier else "",
        )

    async def _use(self, name: str, how: _Reached) -> None:
        if self._reached.get(name) == how:
            return
        if name in self._reached:
            await self._drop(name)
        self._gateway.fleet.add(self._engine(name, how))
        self._reached[name] = how

    def _engine(self, name: str, how: _Reached) -> Engine:
        declared = Declared(
            weights=how.weights, priority=how.priorities, speed=how.speed, carrier=how.carrier
        )
        make = KINDS[ADAPTERS[how.kind]]
        return make(
            self._session,
            name,
            how.url,
            key=how.key or None,
            declared=declared,
            vocabulary=self._vocabulary,
        )

    async def _drop(self, name: str) -> None:
        del self._reached[name]
        await self._gateway.fleet.remove(name)


def _peers(
    api: Api, followed: Followed, gateway: Gateway, session: aiohttp.ClientSession
) -> Peers | None:
    if followed.token is None:
        return None
    pool = followed.namespace, followed.pool
    return Peers(api, session, gateway, pool=pool, name=followed.name, token=followed.token)
