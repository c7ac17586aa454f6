"""Speaks with the gateways of serving pools: finds them, reads their ledgers, proposes moves.

Gateways are found by EndpointSlices (`fairstow.serving.replicas`). Whoever may make pods in the
pool's namespace could pose as a gateway, so none is shown a token that is good for anything else:
each pool has an audience of its own, and the token dies after some minutes. A gateway has the API
server tell it whose token it is.

Rights used: endpointslices (list), and serviceaccounts/token of the operator's own (create).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import aiohttp
import msgspec

from fairstow.api import ServingPool
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.serving.replicas import POOL_LABEL, Pool, Replica, replicas
from fairstow.serving.wire import Ledger, Moves, Taken, audience

logger = logging.getLogger(__name__)
T = TypeVar("T")

ANSWER_SECONDS = 3.0
TOKEN_SECONDS = 600
LONGEST_ANSWER = 32 << 20
"""Bytes: some 100,000 requests. A pod that only poses as a gateway may say anything."""
_RENEW_AFTER = 300.0
_FIND_SECONDS = 2.0
_ACCOUNT = "system:serviceaccount:"


class Gateways:
    """See the module.

    Args:
        identity: the operator's own user name.
    """

    def __init__(
        self, api: Api, identity: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._identity, self._clock = api, identity, clock
        self._tokens: dict[str, tuple[float, str]] = {}
        self._there: Mapping[Pool, tuple[Replica, ...]] = {}
        self._found = float("-inf")
        self._finding = asyncio.Lock()
        self._said = ""
        self._session: aiohttp.ClientSession | None = None

    async def of(self, pool: ServingPool) -> tuple[Replica, ...]:
        """Return a pool's replicas; those of a moment ago are good enough."""
        async with self._finding:
            now = self._clock()
            if now - self._found >= _FIND_SECONDS:
                path = "/apis/discovery.k8s.io/v1/endpointslices"
                slices, _ = await self._api.list(path, {"labelSelector": POOL_LABEL})
                self._there, self._found = replicas(slices), now
        return self._there.get((pool.metadata.namespace or "", pool.metadata.name), ())

    async def ledgers(self, pool: ServingPool) -> dict[str, Ledger | None]:
        """Return what each replica knows, None of one that doesn't answer.

        One whose port is closed has ended, and its streams with it: it is left out.
        """
        there = await self.of(pool)
        if there:
            try:
                await self._token(pool)
            except InputError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    logger.warning("%s", error)
                return {gateway.name: None for gateway in there}
            self._said = ""
        asked = (self._ask(pool, each, "GET", "/ledger", Ledger) for each in there)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found: dict[str, Ledger | None] = {}
        for gateway, answer in zip(there, answers, strict=True):
            match answer:
                case Ledger():
                    found[gateway.name] = answer
                case ConnectionRefusedError():
                    continue
                case InputError() | OSError():
                    found[gateway.name] = None
                case BaseException():
                    raise answer
        return found

    async def propose(self, pool: ServingPool, name: str, moves: Moves) -> Taken:
        """Propose moves to one replica.

        Raises:
            InputError, OSError: it doesn't answer, not as a gateway does, or has gone.
        """
        gateway = next((each for each in await self.of(pool) if each.name == name), None)
        if gateway is None:
            raise InputError(f"gateway {name}", "has gone")
        return await self._ask(pool, gateway, "POST", "/moves", Taken, msgspec.json.encode(moves))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self,
        pool: ServingPool,
        gateway: Replica,
        method: str,
        path: str,
        reply: type[T],
        body: bytes | None = None,
    ) -> T:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            )
        headers = {"Authorization": f"Bearer {await self._token(pool)}"}
        where = f"gateway {gateway.name}"
        try:
            # The token is worth nothing elsewhere, so it doesn't matter who reads it: no ssl.
            async with self._session.request(
                method, gateway.url + path, data=body, headers=headers, ssl=False
            ) as answer:
                said = bytearray()
                async for part in answer.content.iter_chunked(1 << 16):
                    said += part
                    if len(said) > LONGEST_ANSWER:
                        raise InputError(where, f"says more than {LONGEST_ANSWER:,} bytes")
                if answer.status != 200:
                    raise InputError(where, f"{answer.status}: {bytes(said[:200])!r}")
                return msgspec.json.decode(said, type=reply)
        except aiohttp.ClientConnectorError as error:
            raise error.os_error from error
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise InputError(where, f"doesn't answer: {error!r}") from error

    async def _token(self, pool: ServingPool) -> str:
        """Return a token that only this pool's gateways accept."""
        meant_for = audience(pool.metadata.namespace or "", pool.metadata.name)
        made, token = self._tokens.get(meant_for, (0.0, ""))
        if token and self._clock() - made < _RENEW_AFTER:
            return token
        if not self._identity.startswith(_ACCOUNT):
            problem = (
                f"{self._identity or 'this user'} is no ServiceAccount: gateways trust none else"
            )
            raise InputError("operator", problem)
        namespace, name = self._identity.removeprefix(_ACCOUNT).split(":")
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        spec = {"audiences": [meant_for], "expirationSeconds": TOKEN_SECONDS}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            token = str((await self._api.create(path, body))["status"]["token"])
        except ApiError as error:
            raise InputError("operator", f"gets no token for gateways: {error}") from error
        self._tokens[meant_for] = self._clock(), token
        return token
