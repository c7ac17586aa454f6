"""What the webhook reads of a submitted object: a driver's pod, or one of the Spark operator's.

Used by `queueing` and `guarding`. Only what decides is typed: the rest may be of a version to come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from fairstow.cluster.review import Json, Request, read_part
from fairstow.spark.names import (
    APPLICATION,
    DRIVER,
    GATE,
    GROUPS,
    KUEUE,
    OPERATED,
    OPERATOR_GROUP,
    QUEUE,
    ROLE,
    SCHEDULED,
    USER,
    VOLCANO,
)

KINDS = {"sparkapplications": APPLICATION, "scheduledsparkapplications": SCHEDULED, "pods": "Pod"}
OVER = ("COMPLETED", "FAILED")
"""States of a SparkApplication that its operator does nothing more for."""


class Owner(msgspec.Struct, frozen=True, rename="camel"):
    """An owner reference."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Of any object."""

    name: str = ""
    uid: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    owner_references: tuple[Owner, ...] = ()


class Gate(msgspec.Struct, frozen=True):
    """A scheduling gate."""

    name: str = ""


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """Of a pod or of a SparkApplication: what both decisions look at."""

    scheduling_gates: tuple[Gate, ...] = ()
    scheduler_name: str = ""
    suspend: bool = False
    batch_scheduler: str = ""


class _State(msgspec.Struct, frozen=True):
    state: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    application_state: _State = _State()


class Submitted(msgspec.Struct, frozen=True):
    """An object as it is, or as it was."""

    kind: str
    metadata: Metadata
    spec: Spec

    @property
    def waits(self) -> bool:
        """Whether it can't run until somebody lets it."""
        if self.kind == "Pod":
            return any(gate.name == GATE for gate in self.spec.scheduling_gates)
        return self.kind == APPLICATION and self.spec.suspend

    @property
    def others(self) -> bool:
        """Whether Kueue or Volcano queue it."""
        meta, spec = self.metadata, self.spec
        scheduler = "volcano" in (spec.scheduler_name, spec.batch_scheduler)
        return (
            scheduler
            or KUEUE in meta.labels
            or any(key in meta.labels or key in meta.annotations for key in VOLCANO)
        )

    @property
    def is_driver(self) -> bool:
        """Whether it is the pod of a driver that Spark itself made."""
        return self.kind == "Pod" and self.metadata.labels.get(ROLE) == DRIVER


class Parent(msgspec.Struct, frozen=True):
    """An object whose run another claims to be. Attributes: uid: "" where it names none."""

    kind: str
    name: str
    uid: str = ""


def submitted(request: Request, obj: Json | None) -> Submitted:
    """Return a review's object.

    Raises:
        MalformedError: it isn't what an API server sends.
    """
    return Submitted(
        kind=KINDS[request.resource.resource],
        metadata=read_part(obj, "metadata", Metadata),
        spec=read_part(obj, "spec", Spec),
    )


def parent(new: Submitted) -> Parent | None:
    """Return whose run a new object claims to be, None if it claims nothing."""
    wanted = {"Pod": APPLICATION, APPLICATION: SCHEDULED}.get(new.kind)
    for owner in new.metadata.owner_references:
        if owner.kind == wanted and owner.api_version.startswith(f"{OPERATOR_GROUP}/"):
            return Parent(owner.kind, owner.name, owner.uid)
    name = new.metadata.labels.get(OPERATED)
    return Parent(APPLICATION, name) if new.is_driver and name else None


def verified(new: Submitted, claimed: Parent | None, found: Json | None) -> Submitted | None:
    """Return the object whose run this is; None if it isn't the run of a queued one.

    Args:
        new: the new object.
        claimed: what it claims.
        found: the object of that kind and name, None if there is none.
    """
    if claimed is None or found is None:
        return None
    meta, spec = read_part(found, "metadata", Metadata), read_part(found, "spec", Spec)
    if claimed.uid and claimed.uid != meta.uid:
        return None
    if USER not in meta.annotations or QUEUE not in meta.annotations:
        return None
    if new.kind == "Pod":
        over = read_part(found, "status", _Status).application_state.state in OVER
        if spec.suspend or over or new.metadata.name != driver_of(meta.name, found.get("spec")):
            return None
    return Submitted(kind=claimed.kind, metadata=meta, spec=spec)


def groups(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Return the recorded groups, none where they can't be read."""
    try:
        found = json.loads(annotations.get(GROUPS, "[]"))
    except ValueError:
        return ()
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def driver_of(name: str, spec: object) -> str:
    """Return the one pod that may be the driver of a SparkApplication. Args: spec: its own."""
    driver = (spec.get("driver") if isinstance(spec, dict) else None) or {}
    return str(driver.get("podName") or f"{name}-driver")
