"""Tells people where their applications stand: SparkAdmissions, Events, the queues' statuses.

Used by the Spark controller. A SparkAdmission's name follows from its application, so one that a
predecessor made is found again. Statuses are written when they say something new, the next ones
first, some at once and only so many a turn: with ten thousand waiting each position changes all the
time. Whoever is far from their turn is told anew once their position has changed by a tenth.

Rights used: sparkadmissions (create), sparkadmissions/status, sparkqueues/status (patch), events.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from controllers.spark import metrics
from controllers.spark.objects import Admission, SparkObjects, admission_name
from fairstow.api import Condition, Reason, SparkAdmissionStatus, SparkQueueStatus
from fairstow.api.model import Model
from fairstow.api.status import with_condition
from fairstow.cluster.times import written
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.paths import path_of
from fairstow.kube.aio.recorder import About, Recorder
from fairstow.kube.problems import ApiError
from fairstow.spark import standings
from fairstow.spark.admission import Decision
from fairstow.spark.applications import Application, Phase
from fairstow.spark.line import Line, Place
from fairstow.spark.names import APPLICATION, OPERATOR_GROUP
from fairstow.spark.pods import SparkPod
from fairstow.spark.standings import Expected
from fairstow.spark.usage import Usage

if TYPE_CHECKING:
    from controllers.spark.queues import Seen

logger = logging.getLogger(__name__)

MANAGER = "fairstow-spark"
MOST_WRITES = 100
_AT_ONCE = 8
_NEAR = 50
"""Positions up to which each counts as news."""
_STEP = 1.1
"""Behind them, what a position has to change by."""
_AGAIN_SECONDS = 60.0
"""After which a status is written though it says nothing new but times and amounts."""
_AGAIN = 10
"""Of those so many a turn, whoever else has news; more where there is room."""
_VERSION = "fairstow.dev/v1alpha1"
_GONE = (404, 409)
"""Its object goes, or our watch is behind."""
_OF_ONE = (*_GONE, 400, 403, 422)
"""It's this object's fault, or its namespace's, such as one that is being deleted."""
_LOUD = {Reason.WAITED_TOO_LONG, Reason.PODS_LATE, Reason.MISSED, Reason.EXCEEDS_LIMIT,
         Reason.NEVER_FITS, Reason.NOT_PERMITTED, Reason.QUEUE_NOT_FOUND}  # fmt: skip


News = tuple[object, ...]
Telling = tuple[Application, SparkAdmissionStatus, News]


class Teller:
    """See the module."""

    def __init__(self, api: Api, objects: SparkObjects, recorder: Recorder) -> None:
        self._api, self._objects, self._recorder = api, objects, recorder
        self._written: dict[str, tuple[float, News]] = {}

    def released(self, app: Application, reason: Reason) -> None:
        """Say that an application was let go."""
        self._say(app, reason, reason.sentence)

    def late(self, app: Application) -> None:
        """Say that its first pods didn't come in time."""
        self._say(app, Reason.PODS_LATE, Reason.PODS_LATE.sentence)

    def reclaimed(self, app: Application, pod: SparkPod) -> None:
        """Say that one of its executors was ended."""
        said = f"{pod.name}: {Reason.EXECUTOR_RECLAIMED.sentence}"
        self._say(app, Reason.EXECUTOR_RECLAIMED, said)

    async def tell(self, seen: Seen, decision: Decision, usage: Usage, now: float) -> None:
        """Write what one queue's applications and the queue itself are told."""
        places = {place.id: place for place in decision.line.places}
        for app_id, reason in decision.release:
            places[app_id] = Place(id=app_id, reason=reason)
        due: list[Telling] = []
        again: list[Telling] = []
        by_id = {app.id: app for app in seen.apps}
        order = [by_id[each] for each in places if each in by_id]
        others = [
            app for app in seen.apps if app.id not in places and app.phase is not Phase.WAITING
        ]
        for app in (*others, *order):
            if app.missed:
                if app.phase is not Phase.ENDED:
                    self._say(app, Reason.MISSED, Reason.MISSED.sentence)
                continue
            if len(due) >= MOST_WRITES:
                break
            place = places.get(app.id)
            if place is None or not self._knows(seen, app, place):
                timed = None if place is None else decision.line.timed(place)
                status = self._status(seen, app, timed, usage, now)
                news = _news(status)
                if self._is_due(app, status, news):
                    (again if self._said(app)[1] == news else due).append((app, status, news))
            if place is not None:
                said = partial(_message, decision.line, place)
                self._say(app, place.reason, said, _mark(place.position))
        await self._write_all([*again[:_AGAIN], *due, *again[_AGAIN:]][:MOST_WRITES])
        self._forget(seen)
        await self._queue(seen, decision, now)

    def _knows(self, seen: Seen, app: Application, place: Place) -> bool:
        """Whether one that is far from its turn was told so, as `_is_due` would find: cheaply."""
        if not _far(place.position) or app.id in seen.reserved:
            return False
        news = (Phase.WAITING.value, _rank(place.position), place.reason.value, None, "")
        return self._said(app)[1] == news and self._objects.admission_of(app) is not None

    def _status(
        self, seen: Seen, app: Application, place: Place | None, usage: Usage, now: float
    ) -> SparkAdmissionStatus:
        expected = seen.expected.get(app.id, Expected())
        kept = seen.reserved.get(app.id)
        if place is not None:
            return standings.waiting(place, seen.first.get(app.id, 0), expected, now, kept)
        if app.phase is Phase.ENDED:
            reason = Reason.CHARGED
        else:
            waits = Reason.EXECUTORS_HELD if app.id in seen.held else Reason.HAS_CORES
            reason = Reason.STARTING_PODS if app.id in seen.starting else waits
        return standings.begun(app, usage.of(app.id), expected, reason, kept)

    async def reserve(self, seen: Seen, app: Application, usage: Usage, now: float) -> None:
        """Write down which room is kept for an application, before it is let go."""
        place = Place(id=app.id, reason=Reason.KEEPING_ROOM)
        status = self._status(seen, app, place, usage, now)
        news = _news(status)
        if self._is_due(app, status, news):
            await self._write(app, status, news)

    async def _write_all(self, due: Iterable[Telling]) -> None:
        """Write statuses, some at once; raises the first error when none is being written."""
        left = iter(due)

        async def writer() -> None:
            for telling in left:
                await self._write(*telling)

        ended = await asyncio.gather(*(writer() for _ in range(_AT_ONCE)), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error

    def _said(self, app: Application) -> tuple[float, News]:
        """Return when an application was last told, and what."""
        return self._written.get(app.id, (float("-inf"), ()))

    def _is_due(self, app: Application, status: SparkAdmissionStatus, news: News) -> bool:
        """Whether a status is to be written: it says something new, or was written long ago."""
        there = self._objects.admission_of(app)
        # Told again for nothing, thousands would keep others from ever being told.
        far = status.phase == Phase.WAITING.value and _far(status.position)
        at, said = self._said(app)
        lately = time.monotonic() - at < _AGAIN_SECONDS
        if said == news and (lately or (far and there is not None)):
            return False
        # Ended drivers' pods stay, thousands of them.
        ended = status.phase == Phase.ENDED.value
        return not (ended and (there is None or there.status.phase == "Ended"))

    async def _write(self, app: Application, status: SparkAdmissionStatus, news: News) -> None:
        name = admission_name(app)
        try:
            if self._objects.admission_of(app) is None:
                await self._create(app, name)
            await self._patch("SparkAdmission", app.namespace, name, status)
        except ApiError as error:
            if error.status not in _OF_ONE:
                raise
            if error.status in _GONE:
                return
            logger.warning("%s/%s isn't told: %s", app.namespace, app.name, error.said)
        self._written[app.id] = time.monotonic(), news

    async def _create(self, app: Application, name: str) -> None:
        owner = {"apiVersion": _version(app), "kind": app.kind, "name": app.name, "uid": app.id}
        spec = {
            "queue": app.queue,
            "user": app.user[:253],
            "kind": app.kind,
            "name": app.name,
            "uid": app.id,
            "template": app.template[:253],
            "lasting": app.lasting,
        }
        meta = {"name": name, "namespace": app.namespace, "ownerReferences": [owner]}
        obj = {"apiVersion": _VERSION, "kind": "SparkAdmission", "metadata": meta, "spec": spec}
        try:
            await self._api.create(
                path_of(_VERSION, "SparkAdmission", namespace=app.namespace), obj
            )
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _queue(self, seen: Seen, decision: Decision, now: float) -> None:
        if seen.queue is None:
            return
        queue, old = seen.queue, seen.queue.status
        alive = [app for app in seen.apps if app.phase is not Phase.ENDED]
        lasting = {app.id for app in seen.apps if app.lasting}
        hold = queue.spec.hold
        reason = Reason.QUEUE_HELD if hold else Reason.ADMITTING
        condition = Condition(
            type="Admitting",
            status="False" if hold else "True",
            observed_generation=queue.metadata.generation,
            last_transition_time=written(int(now)),
            reason=reason.value,
            message=reason.sentence,
        )
        waits = [app for app in alive if app.phase is Phase.WAITING]
        status = SparkQueueStatus(
            waiting=len(waits),
            running=len(alive) - len(waits),
            cores_used=_cores(sum(seen.cores.values())),
            cores_reserved=_cores(sum(c for a, c in seen.cores.items() if a in lasting)),
            cores_borrowed=_cores(decision.borrowed),
            missed=sum(app.missed for app in alive),
            holds_executors=seen.holds,
            executors_held=sum(map(len, seen.held.values())),
            users=standings.shares(alive, seen.cores, seen.account.weights),
            conditions=with_condition(old.conditions if old else (), condition),
            observed_generation=queue.metadata.generation,
        )
        longest = max((now - app.created for app in waits if not app.own_suspend), default=0.0)
        metrics.show_queue(seen.name, queue.spec.cores, status, longest)
        if status != old:
            await self._patch("SparkQueue", "", seen.name, status)

    async def _patch(self, kind: str, namespace: str, name: str, status: Model) -> None:
        meta = {"name": name} | ({"namespace": namespace} if namespace else {})
        body = {
            "apiVersion": _VERSION,
            "kind": kind,
            "metadata": meta,
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        try:
            await self._api.apply(body, MANAGER, subresource="status")
        except ApiError as error:
            if error.status not in _GONE:
                raise

    def _say(
        self, app: Application, reason: Reason, message: str | Callable[[], str], mark: int = 0
    ) -> None:
        driver = app.driver
        if app.missed and driver is None:
            return
        about = About(_version(app), app.kind, app.namespace, app.name, app.id)
        self._recorder.record(
            about, reason.value, message,
            action="Queue", warning=reason in _LOUD, key=f"{app.id}/{reason.value}/{mark}",
        )  # fmt: skip

    def _forget(self, seen: Seen) -> None:
        if len(self._written) > 4 * len(seen.apps) + 1000:
            there = self._admitted()
            self._written = {each: at for each, at in self._written.items() if each in there}

    def _admitted(self) -> Mapping[str, Admission]:
        return {each.application: each for each in self._objects.admissions.values()}


def _news(status: SparkAdmissionStatus) -> News:
    """Return what makes a status another one than that of before."""
    until = status.reservation.until if status.reservation else ""
    return status.phase, _rank(status.position), status.reason, status.admitted_at, until


def _rank(position: int | None) -> int | None:
    """Return what is the same for positions between which nobody far away is told anew."""
    if position is None or position <= _NEAR:
        return position
    return _NEAR + 1 + int(math.log(position / _NEAR, _STEP))


def _far(position: int | None) -> bool:
    """Whether one that waits isn't about to go: it is far from its turn, or has none."""
    return position is None or position > _NEAR


def _message(line: Line, place: Place) -> str:
    return standings.message(line.timed(place))


def _mark(position: int | None) -> int:
    """Return the last of 1, 2, 3, 5, 10, 20, 50, … that a position has passed: an Event each."""
    if position is None or position <= 3:
        return position or 0
    power = int(10 ** (len(str(position)) - 1))
    return power * next(step for step in (5, 2, 1) if position >= step * power)


def _version(app: Application) -> str:
    return f"{OPERATOR_GROUP}/v1beta2" if app.kind == APPLICATION else "v1"


def _cores(milli: int) -> int:
    return -(-milli // 1000)
