"""Reads the ledgers of serving pools' gateways.

A gateway's pods are found by the EndpointSlices of its Service, which carry the label `POOL_LABEL`
as the Service does. Whoever may make pods in the pool's namespace could pose as a gateway, so none
is shown a token that is good for anything else: each pool has an audience of its own, and the
token dies after some minutes. A gateway has the API server tell it whose token it is.

Rights used: endpointslices (list), and serviceaccounts/token of the operator's own (create).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from fairstow.api import ServingPool
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.serving.wire import Ledger, audience

POOL_LABEL = "fairstow.dev/serving-pool"
ADMIN_PORT = "https-admin"
ANSWER_SECONDS = 3.0
TOKEN_SECONDS = 600
LONGEST_LEDGER = 32 << 20
"""Bytes: some 100,000 requests. A pod that only poses as a gateway may say anything."""
_RENEW_AFTER = 300.0
_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class Gateway:
    """A replica. Attributes: name: its pod's."""

    name: str
    url: str


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
        self._session: aiohttp.ClientSession | None = None

    async def find(self) -> Mapping[tuple[str, str], tuple[Gateway, ...]]:
        """Return the replicas of each pool, by its namespace and name."""
        path = "/apis/discovery.k8s.io/v1/endpointslices"
        slices, _ = await self._api.list(path, {"labelSelector": POOL_LABEL})
        found: dict[tuple[str, str], dict[str, Gateway]] = {}
        for each in slices:
            meta = each["metadata"]
            replicas = found.setdefault((meta["namespace"], meta["labels"][POOL_LABEL]), {})
            replicas.update((gateway.name, gateway) for gateway in _replicas(each))
        return {pool: tuple(replicas.values()) for pool, replicas in found.items()}

    async def ledgers(
        self, pool: ServingPool, gateways: Iterable[Gateway]
    ) -> dict[str, Ledger | None]:
        """Return what each replica knows, None of one that doesn't answer.

        One whose port is closed has ended, and its streams with it: it is left out.
        """
        there = tuple(gateways)
        asked = (self._ledger(pool, each) for each in there)
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

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _ledger(self, pool: ServingPool, gateway: Gateway) -> Ledger:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            )
        headers = {"Authorization": f"Bearer {await self._token(pool)}"}
        where = f"gateway {gateway.name}"
        try:
            # The token is worth nothing elsewhere, so it doesn't matter who reads it: no ssl.
            async with self._session.get(
                f"{gateway.url}/ledger", headers=headers, ssl=False
            ) as answer:
                said = bytearray()
                async for part in answer.content.iter_chunked(1 << 16):
                    said += part
                    if len(said) > LONGEST_LEDGER:
                        raise InputError(where, f"says more than {LONGEST_LEDGER:,} bytes")
                if answer.status != 200:
                    raise InputError(where, f"{answer.status}: {bytes(said[:200])!r}")
                return msgspec.json.decode(said, type=Ledger)
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


def _replicas(slice_: Mapping[str, Any]) -> Iterable[Gateway]:
    ports = [p["port"] for p in slice_.get("ports") or () if p.get("name") == ADMIN_PORT]
    for endpoint in slice_.get("endpoints") or ():
        target = endpoint.get("targetRef") or {}
        for port in ports[:1]:
            host = endpoint["addresses"][0]
            host = f"[{host}]" if ":" in host else host
            yield Gateway(name=target.get("name") or host, url=f"https://{host}:{port}")
