"""A connection to one Kubernetes API server for programs that stay: asynchronous, raw JSON.

Called by everything in this room and by controllers and the extender. Configuration, tokens and
TLS are those of `kubernetes.aio`; objects are plain dicts, or `msgspec.Raw` where there are many,
never generated models. Errors are those of `fairstow.kube.problems`.

    async with Api.connect(kubeconfig=None, context=None) as api:
        pod = await api.get("/api/v1/namespaces/team/pods/web-0")
        async for page in api.pages("/api/v1/pods", {"labelSelector": "app=web"}): page.items
        await api.create("/api/v1/namespaces/team/pods", obj)
        await api.replace(path, obj)                       # 409 if obj's resourceVersion is old
        await api.apply(obj, "fairstow-operator", subresource="status")
        await api.patch(path, {"metadata": {...}})
        await api.delete(path, uid=uid)                    # False: it was gone already
        match (await api.evict("team", "web-0", uid)).outcome: ...
        async for event in api.watch("/api/v1/pods", version): event.type, event.object

Each needs the right to that verb; `apply` that to patch, and to create what isn't there; `evict`
that to create pods/eviction.

Every request has a time-out, and waits as the server asks on 429 and 503. Credentials and
certificates that are no longer accepted are read anew, at most every half minute.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from aiohttp import ClientResponse

from fairstow.cluster.errors import InputError
from fairstow.kube.aio.paths import path_of, path_to
from fairstow.kube.problems import (
    CONNECT_SECONDS,
    LONGEST_WAIT,
    TRIES,
    ApiError,
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

PAGE = 500
REQUEST_SECONDS = 30.0
SILENCE_SECONDS = 90.0
"""A watch that says nothing for so long is dead: an API server sends bookmarks every minute."""
WATCH_SECONDS = 300
RELOAD_SECONDS = 30.0
CLOSE_SECONDS = 0.25

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


class Page(msgspec.Struct):
    """A part of a list: its objects, and the resourceVersion from which to watch the rest."""

    items: list[msgspec.Raw]
    version: str


class Event(msgspec.Struct):
    """What a watch says: type is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: msgspec.Raw


class Outcome(StrEnum):
    """What became of an eviction.

    GONE: there is no such pod any more, or another of its name. REFUSED: by a disruption budget.
    """

    EVICTED = "Evicted"
    GONE = "Gone"
    REFUSED = "Refused"
    FAILED = "Failed"


@dataclass(frozen=True)
class Eviction:
    """An eviction's outcome, what the server said, and when to ask again, in seconds."""

    outcome: Outcome
    said: str = ""
    retry_after: float = 0.0


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    wait: float


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    following: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None = None
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


class _Status(msgspec.Struct):
    code: int = 500
    message: str = ""
    reason: str = ""


class Api:
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
    def connect(cls, kubeconfig: str | None = None, context: str | None = None) -> Api:
        """Return a connection as kubectl would choose it; a pod's ServiceAccount otherwise.

        Raises (when it is entered):
            InputError: there is no usable configuration.
        """
        return cls(kubeconfig, context)

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._open.configuration.host)

    async def get(self, path: str, query: Query | None = None) -> Json:
        """Return an object.

        Raises (as all requests do):
            ApiError: the server refused.
            InputError: it can't be reached, or doesn't know who is asking.
        """
        return await self._ask("GET", path, query)

    async def pages(self, path: str, query: Query | None = None) -> AsyncGenerator[Page, None]:
        """Yield the objects of a list, page by page; each page's version is that of the list.

        Raises:
            ApiError: 410 where the list changed too much while it was read: begin again.
        """
        asked = {"limit": str(PAGE), **(query or {})}
        while True:
            found = self._decoded(await self._checked("GET", path, asked), _List)
            yield Page(found.items or [], found.metadata.resource_version)
            if not found.metadata.following:
                return
            asked["continue"] = found.metadata.following

    async def list(self, path: str, query: Query | None = None) -> tuple[list[Json], str]:
        """Return all objects of a short list, and its resourceVersion."""
        items: list[Json] = []
        version = ""
        async with aclosing(self.pages(path, query)) as pages:
            async for page in pages:
                items += [msgspec.json.decode(item) for item in page.items]
                version = page.version
        return items, version

    async def create(self, path: str, obj: Json) -> Json:
        """Create an object in a collection; 409 AlreadyExists if there is one of its name."""
        return await self._ask("POST", path, body=obj)

    async def replace(self, path: str, obj: Json) -> Json:
        """Write an object whole; 409 Conflict if it changed since its resourceVersion."""
        return await self._ask("PUT", path, body=obj)

    async def apply(
        self, obj: Json, manager: str, *, subresource: str | None = None, force: bool = True
    ) -> Json:
        """Server-side apply the fields of an object, which this manager owns from then on."""
        path = path_to(obj) + (f"/{subresource}" if subresource else "")
        query = {"fieldManager": manager, "force": str(force).lower()}
        return await self._ask("PATCH", path, query, body=obj, content_type=APPLY_PATCH)

    async def patch(
        self, path: str, body: Json | Sequence[Json], content_type: str = MERGE_PATCH
    ) -> Json:
        """Change fields of an object."""
        return await self._ask("PATCH", path, body=body, content_type=content_type)

    async def delete(self, path: str, *, uid: str | None = None) -> bool:
        """Delete an object; return whether it was there, with that UID if one is given."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._ask("DELETE", path, body=options)
        except ApiError as error:
            if error.status == 404 or (uid is not None and _another(error)):
                return False
            raise
        return True

    async def evict(
        self, namespace: str, name: str, uid: str, *, grace: int | None = None
    ) -> Eviction:
        """Ask for a pod's eviction, which budgets may refuse; only of the pod with that UID.

        Look first whether it is still there: of a pod with a budget, another UID is refused only
        after the budget has been charged, which it then is for two minutes (Kubernetes 1.37).

        Raises:
            InputError: there was no answer, so nobody knows whether it goes.
        """
        options: Json = {"preconditions": {"uid": uid}}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": name},
            "deleteOptions": options,
        }
        path = path_of("v1", "Pod", namespace=namespace, name=name) + "/eviction"
        reply = await self._patiently("POST", path, body=eviction)
        if reply.status < 400:
            return Eviction(Outcome.EVICTED)
        error = refusal(reply.status, reply.body)
        if error.status == 404 or _another(error):
            return Eviction(Outcome.GONE, error.said)
        if error.status == 429 and not busy("POST", reply.status, reply.body):
            return Eviction(Outcome.REFUSED, error.said, reply.wait)
        return Eviction(Outcome.FAILED, str(error), reply.wait)

    async def watch(
        self, path: str, version: str, query: Query | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield what happens in a collection after a resourceVersion, until the server ends it.

        Raises:
            ApiError: 410 where that version is too old: list again.
            InputError: the connection broke or fell silent.
        """
        asked = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(jittered(WATCH_SECONDS))),
            **(query or {}),
        }
        reply = await self._send("GET", path, asked, seconds=None)
        try:
            if reply.status == 401:
                raise unauthorized(self.name)
            if reply.status != 200:
                raise refusal(reply.status, (await self._read(reply)).body)
            pending = b""
            async for chunk in reply.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    event = self._decoded(line, Event)
                    if event.type == "ERROR":
                        status = self._decoded(event.object, _Status)
                        raise ApiError(status.code, status.message, status.reason)
                    yield event
        except NETWORK_ERRORS as error:
            raise unreachable(self.name, self.server, error) from error
        finally:
            reply.close()

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
        headers = {"Accept": JSON, "Content-Type": content_type}
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


def jittered(seconds: float) -> float:
    """Return about as many seconds, so that not all replicas come back at once."""
    return seconds * random.uniform(1.0, 1.5)  # noqa: S311 - nothing secret


def _another(error: ApiError) -> bool:
    """Whether a request was refused since its UID isn't that of the object there."""
    return error.status == 409 and re.search("UID in (the )?precondition", error.said) is not None
