"""Events on users' objects: said once, counted when said again, never in anybody's way.

Called by controllers, which decide what to say (`fairstow.packing.announce`). Needs `create`, `get`
and `patch` of events in events.k8s.io, whose Events `kubectl describe` shows with their reporter,
count and age.

    recorder = Recorder(api, "fairstow.dev/operator", instance)
    task = asyncio.create_task(recorder.run())
    recorder.record(About("v1", "Pod", "team", "web-0", uid), reason, message, key=key)

An Event's name follows from its key, so one that a predecessor of this process wrote is counted on
and not written twice. What is said again within `AGAIN_SECONDS` isn't sent; an object about which
too much is said, or a queue that is full, loses Events, and they are counted in `dropped`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TypeVar

from fairstow.cluster.errors import InputError
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.connection import Json
from fairstow.kube.aio.paths import path_to
from fairstow.kube.problems import ApiError

logger = logging.getLogger(__name__)
T = TypeVar("T")

API_VERSION = "events.k8s.io/v1"
LONGEST_NOTE = 1024
AGAIN_SECONDS = 600.0
"""Shorter than the hour for which an API server keeps an Event."""
_REMEMBERED = 10_000
_QUEUE = 1_000
_BURST, _REFILL_SECONDS = 20, 60.0
"""Events about one object: so many at once, then one a minute."""
_SECONDS_BETWEEN = 0.02


@dataclass(frozen=True)
class About:
    """The object that an Event is about; namespace "" for one in none."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, obj: Json) -> About:
        """Return what refers to an object."""
        meta = obj["metadata"]
        return cls(
            obj["apiVersion"], obj["kind"], meta.get("namespace", ""), meta["name"], meta["uid"]
        )


@dataclass(frozen=True)
class Saying:
    """What is to be said.

    Attributes:
        key: equal for what says the same; by default the object's UID, reason and message.
    """

    about: About
    reason: str
    message: str
    action: str
    warning: bool
    key: str


def event(saying: Saying, reporter: str, instance: str, now: datetime) -> Json:
    """Return the Event that says it for the first time."""
    about = saying.about
    digest = blake2b(saying.key.encode(), digest_size=8).hexdigest()
    return {
        "apiVersion": API_VERSION,
        "kind": "Event",
        "metadata": {
            "name": f"{about.name[:200]}.{digest}",
            # The API server wants Events on objects without a namespace there.
            "namespace": about.namespace or "default",
        },
        "eventTime": _micro(now),
        "type": "Warning" if saying.warning else "Normal",
        "reason": saying.reason[:128],
        "note": saying.message[:LONGEST_NOTE],
        "action": saying.action[:128],
        "reportingController": reporter,
        "reportingInstance": instance[:128],
        "regarding": {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "name": about.name,
            "uid": about.uid,
            **({"namespace": about.namespace} if about.namespace else {}),
        },
    }


def counted(found: Json, times: int, now: datetime) -> Json:
    """Return the patch of an Event that was said so many times more."""
    count = (found.get("series") or {}).get("count", 1) + times
    return {"series": {"count": count, "lastObservedTime": _micro(now)}}


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Recorder:
    """See the module.

    Args:
        reporter: who says it, as a qualified name such as fairstow.dev/operator.
        instance: which replica.

    Attributes:
        sent: Events written or counted on.
        dropped: Events that were lost.
    """

    def __init__(
        self,
        api: Api,
        reporter: str,
        instance: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sent = 0
        self.dropped = 0
        self._api = api
        self._reporter = reporter
        self._instance = instance
        self._clock = clock
        self._queue: asyncio.Queue[tuple[Saying, int]] = asyncio.Queue(_QUEUE)
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def record(
        self,
        about: About,
        reason: str,
        message: str | Callable[[], str],
        *,
        action: str = "Pack",
        warning: bool = False,
        key: str = "",
    ) -> None:
        """Say something about an object, soon; returns at once.

        A message that costs something is a function, called if there is something to say; it has
        a key then.
        """
        key = key or f"{about.uid}/{reason}/{message}"
        now = self._clock()
        last, unsent = self._said.get(key, (float("-inf"), 0))
        if now - last < AGAIN_SECONDS:
            _remember(self._said, key, (last, unsent + 1))
            return
        text = message if isinstance(message, str) else message()
        saying = Saying(about, reason, text, action, warning, key)
        if not self._allowed(about.uid, now) or self._queue.full():
            self.dropped += 1
            return
        self._queue.put_nowait((saying, unsent + 1))
        _remember(self._said, key, (now, 0))

    async def run(self) -> None:
        """Send what is to be said until cancelled."""
        while True:
            saying, times = await self._queue.get()
            try:
                await self._send(saying, times)
                self.sent += 1
            except (ApiError, InputError) as error:
                self.dropped += 1
                logger.warning("Event %s of %s: %s", saying.reason, saying.about.name, error)
            self._queue.task_done()
            await asyncio.sleep(_SECONDS_BETWEEN)

    async def flushed(self) -> None:
        """Wait until everything so far has been sent; while `run` runs."""
        await self._queue.join()

    async def _send(self, saying: Saying, times: int) -> None:
        now = datetime.now(UTC)
        new = event(saying, self._reporter, self._instance, now)
        path = path_to(new)
        try:
            await self._api.create(path.rpartition("/")[0], new)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await self._api.patch(path, counted(await self._api.get(path), times, now))

    def _allowed(self, uid: str, now: float) -> bool:
        tokens, last = self._left.get(uid, (float(_BURST), now))
        tokens = min(float(_BURST), tokens + (now - last) / _REFILL_SECONDS)
        _remember(self._left, uid, (max(tokens - 1.0, 0.0) if tokens >= 1.0 else tokens, now))
        return tokens >= 1.0


def _remember(table: OrderedDict[str, tuple[float, T]], key: str, value: tuple[float, T]) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
