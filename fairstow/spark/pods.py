"""Drivers' and executors' pods as the admission of applications sees them.

Read by the Spark controller from watched pods with Spark's label `spark-role`, finished ones too:
what an application used is the sum of its pods' cores over their lives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec

from fairstow.cluster import wire
from fairstow.cluster.quantity import CPU
from fairstow.cluster.requests import effective
from fairstow.cluster.times import seconds
from fairstow.spark.names import APP, DRIVER, GATE, KUEUE, ROLE, VOLCANO

_ENDED = ("Succeeded", "Failed")
_OURS = "fairstow.dev/"
_GRACE = 30
"""Kubernetes' own."""
_CONF_VOLUME = "spark-conf-volume-driver"
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
"""A volume may name what can't be an object's name, and it becomes a part of a path."""


class SparkPod(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A pod that Spark made.

    Attributes:
        app: Spark's id of the application, the same on its driver and executors.
        marks: our annotations.
        owners: UIDs.
        cores: what it asks for, in milli-CPU.
        started: when it got its node, in seconds since 1970; None before.
        ended: when its last container ended; None while it runs.
        properties: name of the ConfigMap with the driver's settings, "" if unknown.
        arguments: of the driver's container.
        foreign: Kueue or Volcano see to it.
        leaving: it is being deleted.
        decommissions: it moves its data to other executors when it is told to end.
        grace: seconds that it has to end.
    """

    namespace: str
    name: str
    uid: str
    driver: bool
    app: str
    name_of_app: str = ""
    marks: Mapping[str, str] = {}
    owners: tuple[str, ...] = ()
    cores: int = 0
    created: int = 0
    started: int | None = None
    ended: int | None = None
    node: str = ""
    gated: bool = False
    phase: str = ""
    properties: str = ""
    arguments: tuple[str, ...] = ()
    foreign: bool = False
    leaving: bool = False
    decommissions: bool = False
    grace: int = _GRACE

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.phase in _ENDED

    def used(self, now: float) -> float:
        """Return what it has used until `now`, in core-seconds."""
        if self.started is None:
            return 0.0
        end = now if self.ended is None else self.ended
        return max(end - self.started, 0.0) * self.cores / 1000


class _Named(msgspec.Struct):
    name: str = ""


class _Volume(msgspec.Struct, rename="camel"):
    name: str = ""
    config_map: _Named | None = None


class _Lifecycle(msgspec.Struct, rename="camel"):
    pre_stop: dict[str, Any] | None = None


class _Container(msgspec.Struct):
    args: tuple[str, ...] = ()
    lifecycle: _Lifecycle | None = None


class _Spec(msgspec.Struct, rename="camel"):
    containers: tuple[_Container, ...] = ()
    volumes: tuple[_Volume, ...] | None = ()
    scheduling_gates: tuple[_Named, ...] | None = ()
    node_name: str = ""
    scheduler_name: str = ""
    termination_grace_period_seconds: int | None = None


class _Terminated(msgspec.Struct, rename="camel"):
    finished_at: str | None = None


class _State(msgspec.Struct):
    terminated: _Terminated | None = None


class _Container2(msgspec.Struct):
    state: _State | None = None


class _Status(msgspec.Struct, rename="camel"):
    phase: str = ""
    start_time: str | None = None
    container_statuses: tuple[_Container2, ...] | None = ()


class _Pod(msgspec.Struct):
    metadata: wire.Metadata
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


def read_pod(raw: msgspec.Raw) -> SparkPod:
    """Return a watched pod. Raises ValueError where it isn't a pod.

    What thousands have in common (users, queues, arguments) is kept once.
    """
    pod = msgspec.json.decode(raw, type=_Pod)
    meta, spec, status = pod.metadata, pod.spec, pod.status
    labels, marks = meta.labels or {}, meta.annotations or {}
    requests = dict(effective(msgspec.json.decode(raw, type=wire.Pod)))
    ends = [
        seconds(each.state.terminated.finished_at or "")
        for each in status.container_statuses or ()
        if each.state and each.state.terminated
    ]
    is_driver = labels.get(ROLE) == DRIVER
    return SparkPod(
        namespace=intern(meta.namespace or ""),
        name=meta.name,
        uid=meta.uid or "",
        driver=is_driver,
        app=intern(labels.get(APP, "")),
        name_of_app=labels.get("spark-app-name", ""),
        marks={intern(key): intern(value) for key, value in marks.items() if key.startswith(_OURS)},
        owners=tuple(each.uid for each in meta.owner_references or ()),
        cores=requests.get(CPU, 0),
        created=seconds(meta.creation_timestamp or "") or 0,
        started=seconds(status.start_time or "") if spec.node_name else None,
        ended=_ended(ends, status),
        node=intern(spec.node_name),
        gated=any(gate.name == GATE for gate in spec.scheduling_gates or ()),
        phase=intern(status.phase),
        properties=_properties(spec) if is_driver else "",
        arguments=_arguments(spec) if is_driver else (),
        foreign=_foreign(labels, marks, spec.scheduler_name),
        leaving=meta.deletion_timestamp is not None,
        decommissions=any(c.lifecycle and c.lifecycle.pre_stop for c in spec.containers),
        grace=_GRACE if (own := spec.termination_grace_period_seconds) is None else own,
    )


def _foreign(labels: Mapping[str, str], marks: Mapping[str, str], scheduler: str) -> bool:
    volcano = any(key in labels or key in marks for key in VOLCANO)
    return volcano or KUEUE in labels or scheduler == "volcano"


def _ended(ends: list[int | None], status: _Status) -> int | None:
    known = [each for each in ends if each is not None]
    if status.phase not in _ENDED:
        return None
    return max(known, default=seconds(status.start_time or ""))


def _properties(spec: _Spec) -> str:
    named = (v.config_map.name for v in spec.volumes or () if v.config_map and _is_conf(v))
    return next((name for name in named if _NAME.fullmatch(name)), "")


def _is_conf(volume: _Volume) -> bool:
    return volume.name == _CONF_VOLUME


def _arguments(spec: _Spec) -> tuple[str, ...]:
    found = next((c.args for c in spec.containers if c.args[:1] == (DRIVER,)), ())
    return tuple(map(intern, found))
