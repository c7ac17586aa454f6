"""List-watch: keeps a sink equal to what the API server has of one kind.

Run by controllers and the extender, one `Reflector` per kind; needs `list` and `watch` of it.

    reflector = Reflector(api, POD, cluster)              # a fairstow.cluster.live.LiveCluster
    task = asyncio.create_task(reflector.run())           # ends only when it is cancelled
    await reflector.synced.wait()                         # the first list is in the sink
    reflector.age()                                       # seconds since the last sign of life

A list goes into the sink page by page, each object in place of its predecessor, and what the list
doesn't hold is forgotten at its end: the sink is never empty in between, and no list is ever
whole in memory. Then the watch goes on from the list's version, over as many connections as it
takes; only when the server has forgotten that version (410) is there another list.

A sink for other kinds is `Store`, which keeps them as dicts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from fairstow.cluster.errors import InputError
from fairstow.cluster.kinds import Kind
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.connection import jittered, no_connection
from fairstow.kube.problems import ApiError

logger = logging.getLogger(__name__)

SLOW_SECONDS = 50.0
"""How often a kind that can't be listed is asked for again."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_LONGEST_ALONE = 4.0
"""A server that can't be connected to isn't spared by being asked less, and plans wait for it."""
_PATIENCE = 5
"""Refusals in a row, some 15 s, that aren't believed of a kind that was listed before: an API
server that has just started knows neither roles nor custom resources yet."""
_SHORT_WATCH, _LASTING_WATCH = 1.0, 10.0
_SLICE = 50
"""Objects taken in before others get their turn; 50 take some 5 ms."""


class Sink(Protocol):
    """What a reflector fills; see `fairstow.cluster.live.LiveCluster`."""

    def upsert(self, kind: Kind, obj: msgspec.Raw) -> object:
        """Take in an object that is new or changed."""

    def delete(self, kind: Kind, obj: msgspec.Raw) -> object:
        """Forget an object."""

    def retain(self, kind: Kind, names: Set[str]) -> object:
        """Forget all objects but those ("namespace/name"); the kind is known from now on."""

    def unknown(self, kind: Kind) -> object:
        """Take a kind for unknown: it may not be listed."""


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct):
    metadata: _Meta


class _EndsAtOnceError(Exception):
    """The server takes watches and ends them, which is a load on it."""


class Reflector:
    """See the module.

    Args:
        query: selectors, such as {"labelSelector": "app=web"} or {"fieldSelector": …}.
        namespace: only that one; needs rights only there.

    Attributes:
        synced: set once it is known what there is of the kind, or that it can't be known; of a
            kind that is `needed`, only while it may be listed.
        problem: what keeps it from watching now, "" if nothing does.
        lists: how many lists were read whole.
    """

    def __init__(
        self,
        api: Api,
        kind: Kind,
        sink: Sink,
        *,
        query: Mapping[str, str] | None = None,
        namespace: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.problem = ""
        self.lists = 0
        self._api = api
        self._sink = sink
        self._query = dict(query or {})
        self._path = kind.path if not namespace else kind.path_in(namespace)
        self._clock = clock
        self._version = ""
        self._alive = clock()
        self._failures = 0
        self._denials = 0
        self._logged = ""

    def age(self) -> float:
        """Return the seconds since the server last said anything of this kind.

        Healthy watches of a quiet cluster hear a bookmark every minute or so.
        """
        return self._clock() - self._alive

    async def run(self) -> None:
        """Keep the sink up to date until cancelled."""
        while True:
            wait = 0.0
            try:
                if not self._version:
                    await self._list()
                began = self._clock()
                try:
                    await self._watch()
                finally:
                    if self._clock() - began > _LASTING_WATCH:
                        self._recovered()
            except ApiError as error:
                self._version = ""
                wait = self._refused(error)
            except InputError as error:
                wait = self._failed(
                    str(error), _LONGEST_ALONE if no_connection(error) else _LONGEST_WAIT
                )
            except _EndsAtOnceError as error:
                wait = self._failed(str(error))
            if wait:
                await asyncio.sleep(wait)

    async def _list(self) -> None:
        names: set[str] = set()
        version = ""
        async with aclosing(self._api.pages(self._path, self._query)) as pages:
            async for page in pages:
                for start in range(0, len(page.items), _SLICE):
                    for obj in page.items[start : start + _SLICE]:
                        self._sink.upsert(self.kind, obj)
                        names.add(_name(obj))
                    await asyncio.sleep(0)
                self._alive = self._clock()
                version = page.version
        self._sink.retain(self.kind, names)
        self._version = version
        self.lists += 1
        self._well()

    async def _watch(self) -> None:
        began, heard = self._clock(), 0
        watch = self._api.watch(self._path, self._version, self._query)
        async with aclosing(watch) as events:
            async for event in events:
                if event.type == "DELETED":
                    self._sink.delete(self.kind, event.object)
                elif event.type in ("ADDED", "MODIFIED"):
                    self._sink.upsert(self.kind, event.object)
                self._version = _meta(event.object).resource_version or self._version
                self._alive = self._clock()
                if not heard:
                    self._recovered()
                heard += 1
                if heard % _SLICE == 0:
                    await asyncio.sleep(0)
        if not heard and self._clock() - began < _SHORT_WATCH:
            raise _EndsAtOnceError(f"{self._api.name} ends watches of them at once")

    def _well(self) -> None:
        self.problem = ""
        self._alive = self._clock()
        self.synced.set()

    def _recovered(self) -> None:
        """Forget earlier failures: not on a list, or a server that only lists is asked in haste."""
        if self._logged:
            logger.info("%s are watched again", self.kind.plural)
        self._failures, self._denials, self._logged = 0, 0, ""
        self._well()

    def _refused(self, error: ApiError) -> float:
        """Note a refusal and return how long to wait before the next list."""
        if error.status == 410:
            self._failures += 1
            return self._pause() if self._failures > 1 else 0.0
        if error.status in (403, 404):
            return self._denied(error)
        return self._failed(str(error))

    def _denied(self, error: ApiError) -> float:
        """Believe that a kind isn't there, or not for us, unless we have just seen it."""
        self._denials += 1
        if self.lists and self._denials <= _PATIENCE:
            return jittered(_FIRST_WAIT * 2.0 ** (self._denials - 1))
        if error.status == 404 and self.kind.extension:
            self._sink.retain(self.kind, frozenset())
            self._failures, self._logged = 0, ""
            self._well()
            return jittered(SLOW_SECONDS)
        self._sink.unknown(self.kind)
        self._alive = self._clock()
        self._say(
            f"{self.kind.plural} are unknown: {error.said} "
            f"(check: kubectl auth can-i list {self.kind.plural} -A)"
        )
        if self.kind.needed:
            self.synced.clear()
        else:
            self.synced.set()
        return jittered(SLOW_SECONDS)

    def _failed(self, said: str, longest: float = _LONGEST_WAIT) -> float:
        self._failures += 1
        if self._failures > 1:  # one broken connection is nothing to speak of
            self._say(f"watching {self.kind.plural}: {said}")
        return self._pause(longest)

    def _pause(self, longest: float = _LONGEST_WAIT) -> float:
        return jittered(min(longest, _FIRST_WAIT * 2.0 ** min(self._failures - 1, 10)))

    def _say(self, problem: str) -> None:
        if problem != self._logged:
            logger.warning(problem)
        self.problem = self._logged = problem


def behind(reflectors: Iterable[Reflector], oldest: float) -> str:
    """Say which of them isn't up to date, "" if all are: readiness hangs on it.

    Args:
        reflectors: the watches of a program.
        oldest: seconds of silence that are well; bookmarks come every minute.
    """
    for reflector in reflectors:
        kind = reflector.kind.plural
        if not reflector.synced.is_set():
            return f"{kind} haven't been listed yet"
        if reflector.age() > oldest:
            return f"nothing was heard of {kind} for {reflector.age():.0f} s"
    return ""


class Store:
    """A sink that keeps objects as dicts, without their managed fields; for kinds of few objects.

    Attributes:
        objects: by kind and "namespace/name".
        changed: set whenever something changed; whoever waits for it clears it.
    """

    def __init__(self) -> None:
        self.objects: dict[Kind, dict[str, dict[str, Any]]] = {}
        self.changed = asyncio.Event()

    def of(self, kind: Kind) -> Mapping[str, dict[str, Any]]:
        """Return the objects of a kind."""
        return self.objects.get(kind, {})

    def upsert(self, kind: Kind, obj: msgspec.Raw) -> None:
        """Take in an object that is new or changed; one without a name is none."""
        if name := _name(obj):
            content = msgspec.json.decode(obj, type=dict)
            content["metadata"].pop("managedFields", None)
            content.setdefault("apiVersion", kind.api_version)
            content.setdefault("kind", kind.name)
            self.objects.setdefault(kind, {})[name] = content
            self.changed.set()

    def delete(self, kind: Kind, obj: msgspec.Raw) -> None:
        """Forget an object."""
        self.objects.get(kind, {}).pop(_name(obj), None)
        self.changed.set()

    def retain(self, kind: Kind, names: Set[str]) -> None:
        """Forget all objects of a kind but those."""
        kept = {n: o for n, o in self.objects.get(kind, {}).items() if n in names}
        self.objects[kind] = kept
        self.changed.set()

    def unknown(self, kind: Kind) -> None:
        """Forget all objects of a kind."""
        self.retain(kind, frozenset())


def _meta(obj: msgspec.Raw) -> _Meta:
    """Return an object's metadata, empty where it is malformed: the sink's matter, not ours."""
    try:
        return msgspec.json.decode(obj, type=_Head).metadata
    except (ValueError, RecursionError):
        return _Meta()


def _name(obj: msgspec.Raw) -> str:
    meta = _meta(obj)
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
