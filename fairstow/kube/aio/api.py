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

How requests are sent is `connection`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from fairstow.kube.aio.connection import NETWORK_ERRORS, Connection, Json, Query, jittered
from fairstow.kube.aio.paths import path_of, path_to
from fairstow.kube.problems import ApiError, busy, refusal, unauthorized, unreachable

PAGE = 500
WATCH_SECONDS = 300

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


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


class Api(Connection):
    """An API server and the rights of one user; open as a context manager.

    Attributes:
        name: how messages call it.
    """

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


def _another(error: ApiError) -> bool:
    """Whether a request was refused since its UID isn't that of the object there."""
    return error.status == 409 and re.search("UID in (the )?precondition", error.said) is not None
