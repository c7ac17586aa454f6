"""How requests are sent to an API server: again while it is busy, with settings that are current.

The ground of `api.Api`, which has the verbs. Every request has a time-out, and waits as the server
asks on 429 and 503. Credentials and certificates that are no longer accepted are read anew, at most
every half minute.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from aiohttp import ClientResponse

from fairstow.cluster.errors import InputError
from fairstow.kube.problems import (
    CONNECT_SECONDS,
    LONGEST_WAIT,
    TRIES,
    busy,
    refusal,
    short,
    unauthorized,
    unreachable,
    wait_of,
)
from fairstow.kube.settings import choose, explained

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")
Json = dict[str, Any]
Query = Mapping[str, str]

REQUEST_SECONDS = 30.0
SILENCE_SECONDS = 90.0
"""A watch that says nothing for so long is dead: an API server sends bookmarks every minute."""
RELOAD_SECONDS = 30.0
CLOSE_SECONDS = 0.25
JSON = "application/json"
NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    wait: float


class Connection:
    """An API server and the rights of one user; open as a context manager.

    Attributes:
        name: how messages call it.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self.name = "cluster"
        self._kubeconfig = kubeconfig
        self._context = context
        self._client: Any = None
        self._retired: Any = None
        self._loaded = 0.0
        self._loading = asyncio.Lock()

    @classmethod
    def connect(cls, kubeconfig: str | None = None, context: str | None = None) -> Self:
        """Return a connection as kubectl would choose it; a pod's ServiceAccount otherwise.

        Raises (when it is entered):
            InputError: there is no usable configuration.
        """
        return cls(kubeconfig, context)

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._open.configuration.host)

    # How a request is sent

    async def _ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Json | Sequence[Json] | None = None,
        content_type: str = JSON,
    ) -> Json:
        reply = await self._checked(method, path, query, body=body, content_type=content_type)
        return self._decoded(reply, dict)

    async def _checked(self, method: str, path: str, *args: Any, **more: Any) -> bytes:
        reply = await self._patiently(method, path, *args, **more)
        if reply.status >= 400:
            raise refusal(reply.status, reply.body)
        return reply.body

    async def _patiently(self, method: str, path: str, *args: Any, **more: Any) -> _Reply:
        """Send a request, again while the server says that it is busy."""
        reply = await self._once(method, path, *args, **more)
        for _ in range(TRIES - 1):
            if not busy(method, reply.status, reply.body):
                break
            await asyncio.sleep(jittered(min(reply.wait, LONGEST_WAIT)))
            reply = await self._once(method, path, *args, **more)
        if reply.status == 401:
            raise unauthorized(self.name)
        return reply

    async def _once(self, method: str, path: str, *args: Any, **more: Any) -> _Reply:
        return await self._read(await self._send(method, path, *args, **more))

    async def _read(self, reply: ClientResponse) -> _Reply:
        try:
            return _Reply(reply.status, await reply.read(), wait_of(reply.headers))
        except NETWORK_ERRORS as error:
            raise unreachable(self.name, self.server, error) from error
        finally:
            reply.release()

    async def _send(self, method: str, path: str, *args: Any, **more: Any) -> ClientResponse:
        """Send a request once; once more with settings read anew if those at hand are refused."""
        client = self._open
        try:
            reply = await self._send_by(client, method, path, *args, **more)
        except aiohttp.ClientSSLError as error:
            if not await self._reload(client):
                raise unreachable(self.name, self.server, error) from error
        except NETWORK_ERRORS as error:
            raise unreachable(self.name, self.server, error) from error
        else:
            if reply.status != 401 or not await self._reload(client):
                return reply
            reply.release()
        try:
            return await self._send_by(self._open, method, path, *args, **more)
        except NETWORK_ERRORS as error:
            raise unreachable(self.name, self.server, error) from error

    async def _send_by(
        self,
        client: Any,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Json | Sequence[Json] | None = None,
        content_type: str = JSON,
        seconds: float | None = REQUEST_SECONDS,
    ) -> ClientResponse:
        url = self.server + path + ("?" + urlencode(query, quote_via=quote) if query else "")
        # Not JSON alone: /openid/v1/jwks has a type of its own, and says 406 otherwise.
        headers = {"Accept": f"{JSON}, */*", "Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(
            total=seconds, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        await client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        answer = await client.rest_client.request(
            method, url, headers=headers, body=body, _request_timeout=timeout
        )
        reply: ClientResponse = answer.response
        return reply

    def _decoded(self, body: bytes | msgspec.Raw, into: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=into)
        except (ValueError, RecursionError) as error:
            raise InputError(
                self.name,
                f"its reply is no Kubernetes object ({short(error)})",
                "Is the server in the kubeconfig a Kubernetes API server?",
            ) from error

    # Its settings

    @property
    def _open(self) -> Any:
        assert self._client is not None, "use it as `async with Api.connect(...) as api`"
        return self._client

    async def __aenter__(self) -> Self:
        await self._load()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in (self._client, self._retired):
            if client is not None:
                await client.close()
        # aiohttp returns before its TLS connections have said goodbye.
        await asyncio.sleep(CLOSE_SECONDS)

    async def _load(self) -> None:
        from kubernetes.aio import client
        from kubernetes.aio import config as untyped

        config: Any = untyped
        source = choose(self._kubeconfig, self._context)
        settings: Any = client.Configuration()
        with explained(source, logging.getLogger("kubernetes.aio.config.kube_config")):
            if source.files is None:
                config.load_incluster_config(settings)
            else:
                await config.load_kube_config(
                    source.files, self._context, settings, persist_config=False
                )
            self._client = client.ApiClient(settings)
        self._loaded = time.monotonic()
        self.name = f"cluster {self._context or settings.host}"

    async def _reload(self, refused: Any) -> bool:
        """Read the settings anew, unless that was just done; return whether there are others."""
        async with self._loading:
            if self._client is refused:
                if time.monotonic() - self._loaded < RELOAD_SECONDS:
                    return False
                before = self._retired
                await self._load()
                self._retired = refused  # others may still wait for its replies
                if before is not None:
                    await before.close()
            return True


def no_connection(error: InputError) -> bool:
    """Return whether a request was never sent, as there was nothing to send it to."""
    return isinstance(
        error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError
    )


def jittered(seconds: float) -> float:
    """Return about as many seconds, so that not all replicas come back at once."""
    return seconds * random.uniform(1.0, 1.5)  # noqa: S311 - nothing secret
