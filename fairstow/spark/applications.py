"""Spark applications as they are now, from pods and SparkApplications; nothing is remembered.

Called by the Spark controller each turn. An application is what its user made: a SparkApplication
with all of its runs, or a driver's pod. Whose it is stands in the annotations that the webhook
recorded. What runs in a queued namespace without them was missed: it is counted, and charged to
`missed:NAMESPACE`, since nobody knows whose it is. So is an executor of a queued driver that the
webhook should have seen and didn't: anybody could have made it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.times import seconds
from fairstow.spark.names import (
    ADMITTED,
    APPLICATION,
    DRIVER_UID,
    EXECUTORS,
    HOLD,
    LASTING,
    OWN_SUSPEND,
    PARENT,
    QUEUE,
    TEMPLATE,
    USER,
)
from fairstow.spark.pods import SparkPod
from fairstow.spark.submitted import OVER, groups

_RUN = re.compile(r"[-_.]?(driver|[0-9a-f]{8,}|[0-9]{3,})$")
"""One part at a time: with all in one expression a long name takes for ever."""


class Phase(Enum):
    """How far an application is."""

    WAITING = "Waiting"
    ADMITTED = "Admitted"
    RUNNING = "Running"
    ENDED = "Ended"


class SparkApp(msgspec.Struct, frozen=True, kw_only=True):
    """A SparkApplication. Attributes: state: as its operator says, "" before it did."""

    namespace: str
    name: str
    uid: str
    marks: Mapping[str, str] = {}
    spec: Mapping[str, Any] = {}
    created: int = 0
    suspended: bool = False
    state: str = ""


class _State(msgspec.Struct):
    state: str = ""


class _Status(msgspec.Struct, rename="camel"):
    application_state: _State | None = None


class _App(msgspec.Struct):
    metadata: wire.Metadata
    spec: dict[str, Any] = {}
    status: _Status | None = None


def read_app(raw: msgspec.Raw) -> SparkApp:
    """Return a watched SparkApplication. Raises ValueError where it isn't one."""
    app = msgspec.json.decode(raw, type=_App)
    meta, status = app.metadata, app.status
    marks = meta.annotations or {}
    return SparkApp(
        namespace=meta.namespace or "",
        name=meta.name,
        uid=meta.uid or "",
        marks={key: value for key, value in marks.items() if key.startswith("fairstow.dev/")},
        spec=app.spec,
        created=seconds(meta.creation_timestamp or "") or 0,
        suspended=app.spec.get("suspend") is True,
        state=status.application_state.state if status and status.application_state else "",
    )


@dataclass(frozen=True, kw_only=True)
class Application:
    """An application of a queue.

    Attributes:
        id: the UID of what the user made.
        pods: its drivers' and executors' that are there, ended ones too.
        app: its SparkApplication; None of a bare driver.
        own_suspend: its user suspended it themselves.
        admitted: when it was let go, in seconds since 1970; None before, and if unknown.
        missed: it never was queued.
        ending: its driver is over, but not all of its executors are.
    """

    id: str
    kind: str
    namespace: str
    name: str
    user: str
    queue: str
    template: str
    phase: Phase
    created: int
    groups: tuple[str, ...] = ()
    lasting: bool = False
    held: bool = False
    own_suspend: bool = False
    admitted: int | None = None
    missed: bool = False
    ending: bool = False
    pods: tuple[SparkPod, ...] = ()
    app: SparkApp | None = None

    @cached_property
    def driver(self) -> SparkPod | None:
        """The driver that runs or waits, the last one made."""
        there = [pod for pod in self.pods if pod.driver and not pod.over]
        return max(there, key=lambda pod: pod.created, default=None)

    @cached_property
    def milli(self) -> int:
        """What its pods have on nodes now, in milli-CPU."""
        return sum(pod.cores for pod in self.pods if pod.node and not pod.over)


def applications(
    pods: Iterable[SparkPod],
    apps: Iterable[SparkApp],
    queues: Mapping[str, str],
    before: Mapping[str, Application] = MappingProxyType({}),
) -> tuple[Application, ...]:
    """Return all applications of queued namespaces.

    Args:
        pods: those with Spark's label.
        apps: SparkApplications.
        queues: the default queue of each queued namespace.
        before: what was returned last, by id: taken over where nothing changed.
    """
    there = [pod for pod in pods if pod.namespace in queues]
    owned = {(a.namespace, a.name): a for a in apps if a.namespace in queues and USER in a.marks}
    runs: dict[str, list[SparkPod]] = defaultdict(list)
    alone: list[SparkPod] = []
    others: set[str] = set()
    key_of: dict[str, str] = {}
    unseen: set[str] = set()
    for pod in there:
        if not pod.driver:
            continue
        if pod.foreign and USER not in pod.marks:  # a label that comes later changes nothing
            others.add(pod.uid)
            continue
        kind, _, name = pod.marks.get(PARENT, "").partition("/")
        app = owned.get((pod.namespace, name)) if kind == APPLICATION else None
        key_of[pod.uid] = app.uid if app else pod.uid
        if USER not in pod.marks or EXECUTORS not in pod.marks:
            unseen.add(pod.uid)
        runs[key_of[pod.uid]].append(pod)
        if app is None:
            alone.append(pod)
    strays: dict[tuple[str, str], list[SparkPod]] = defaultdict(list)
    for pod in there:
        if pod.driver:
            continue
        # What was recorded nobody changes; owners anybody does who may change the pod.
        recorded = pod.marks.get(DRIVER_UID, "")
        driver = next((uid for uid in (recorded, *pod.owners) if uid in key_of), "")
        made = driver in unseen or recorded == driver
        owner = key_of[driver] if driver and made else None
        if owner is None and (pod.foreign or not others.isdisjoint(pod.owners)):
            continue
        if owner is None:
            strays[pod.namespace, pod.app].append(pod)
        else:
            runs[owner].append(pod)
    return (
        *(_of_app(app, runs.get(app.uid, [])) for app in owned.values()),
        *(_of_driver(pod, tuple(runs[pod.uid]), queues, before.get(pod.uid)) for pod in alone),
        *(_of_strays(found, queues) for found in strays.values()),
    )


def _of_app(app: SparkApp, pods: list[SparkPod]) -> Application:
    if app.suspended:
        phase = Phase.WAITING
    elif app.state in OVER:
        phase = _ended(pods)
    else:
        phase = _begun(pods)
    kept = _kept(app.marks, app.name)
    return Application(
        id=app.uid,
        kind=APPLICATION,
        namespace=app.namespace,
        name=app.name,
        phase=phase,
        created=app.created,
        own_suspend=app.suspended and app.marks.get(OWN_SUSPEND) == "true",
        ending=app.state in OVER,
        pods=tuple(pods),
        app=app,
        **kept,
    )


def _of_driver(
    driver: SparkPod,
    pods: tuple[SparkPod, ...],
    queues: Mapping[str, str],
    before: Application | None,
) -> Application:
    if before is not None and before.app is None and not before.missed and before.pods == pods:
        return before
    waits = Phase.WAITING if driver.gated else _begun(pods)
    phase = _ended(pods) if driver.over else waits
    if USER not in driver.marks:
        return _missed(driver, pods, queues, phase)
    kept = _kept(driver.marks, driver.name_of_app or driver.name)
    return Application(
        id=driver.uid,
        kind="Pod",
        namespace=driver.namespace,
        name=driver.name,
        phase=phase,
        created=driver.created,
        ending=driver.over,
        pods=pods,
        **kept,
    )


def _of_strays(pods: list[SparkPod], queues: Mapping[str, str]) -> Application:
    """Return executors whose driver isn't known, such as a notebook's."""
    phase = Phase.ENDED if all(pod.over for pod in pods) else Phase.RUNNING
    return _missed(pods[0], pods, queues, phase)


def _missed(
    first: SparkPod, pods: Iterable[SparkPod], queues: Mapping[str, str], phase: Phase
) -> Application:
    return Application(
        id=first.uid if first.driver else f"{first.namespace}/{first.app}",
        kind="Pod",
        namespace=first.namespace,
        name=first.name,
        user=f"missed:{first.namespace}",
        queue=queues[first.namespace],
        template="",
        phase=phase,
        created=first.created,
        missed=True,
        pods=tuple(pods),
    )


def _ended(pods: Iterable[SparkPod]) -> Phase:
    """Return the phase of one whose driver is over: what still has a node counts."""
    return Phase.RUNNING if any(pod.node and not pod.over for pod in pods) else Phase.ENDED


def _begun(pods: Iterable[SparkPod]) -> Phase:
    runs = any(pod.driver and pod.phase == "Running" for pod in pods)
    return Phase.RUNNING if runs else Phase.ADMITTED


def _kept(marks: Mapping[str, str], name: str) -> dict[str, Any]:
    return {
        "user": marks[USER],
        "groups": groups(marks),
        "queue": marks.get(QUEUE, ""),
        "template": marks.get(TEMPLATE) or template(name),
        "lasting": marks.get(LASTING) == "true",
        "held": marks.get(HOLD) == "true",
        "admitted": seconds(marks.get(ADMITTED, "")),
    }


def template(name: str) -> str:
    """Return what an application's name has in common with its next run's: no number at its end."""
    left, before = _RUN.sub("", name), name
    while left != before:
        left, before = _RUN.sub("", left), left
    return left or name
