"""Which Spark applications have room kept for their first pods, for the plugin *reserve*.

An application that is let go from its queue has its SparkAdmission's status name nodes on which its
driver and first executors are to run. The room is kept until the Spark controller takes it out of
the status, since the pods have nodes or the application has ended, and no longer than it says.

Called by `index.py` on every change of a SparkAdmission.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import msgspec
import structlog

from fairstow.api import SparkReservation
from fairstow.cluster.kinds import Kind
from fairstow.cluster.live import Object, name_of
from fairstow.packing.reservations import PlanHolds
from fairstow.packing.spark_rooms import holds_of_application

log = structlog.get_logger(__name__)


class _Meta(msgspec.Struct):
    name: str
    namespace: str


class _Spec(msgspec.Struct):
    name: str
    uid: str


class _Status(msgspec.Struct):
    reservation: dict[str, Any] | None = None


class _Admission(msgspec.Struct):
    metadata: _Meta
    spec: _Spec
    status: _Status | None = None


class Applications:
    """The applications with room. Attributes: holds: what they keep; another tuple once changed."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self.holds: tuple[PlanHolds, ...] = ()
        self._of: dict[str, PlanHolds] = {}

    def upsert(self, _kind: Kind, obj: Object) -> str:
        """Take in an admission that is new or changed; one that can't be read keeps nothing."""
        name = name_of(obj)
        try:
            kept = _read(obj)
            self._put(name, None if kept is None or kept.over(self._wall()) else kept)
        except ValueError as error:
            log.error("no room kept: the admission can't be read", name=name, error=str(error))
            self._put(name, None)
        return name

    def delete(self, _kind: Kind, obj: Object) -> None:
        """Forget an admission."""
        self._put(name_of(obj), None)

    def retain(self, _kind: Kind, names: Set[str]) -> None:
        """Forget all admissions but those."""
        for name in self._of.keys() - names:
            self._put(name, None)

    def end_overdue(self) -> None:
        """Forget what is kept no longer."""
        now = self._wall()
        for name in [name for name, kept in self._of.items() if kept.over(now)]:
            self._put(name, None)

    def unknown(self, kind: Kind) -> None:
        """Without the right to list them, or without the kind, nothing is kept."""
        self.retain(kind, frozenset())

    def _put(self, name: str, kept: PlanHolds | None) -> None:
        if self._of.get(name) == kept:
            return
        if kept is None:
            del self._of[name]
        else:
            self._of[name] = kept
        self.holds = tuple(self._of.values())


def _read(obj: Object) -> PlanHolds | None:
    found = (
        msgspec.json.decode(obj, type=_Admission)
        if isinstance(obj, msgspec.Raw)
        else msgspec.convert(obj, _Admission)
    )
    if found.status is None or not found.status.reservation:
        return None
    kept = SparkReservation.model_validate(found.status.reservation)
    return holds_of_application(found.metadata.namespace, found.spec.name, found.spec.uid, kept)
