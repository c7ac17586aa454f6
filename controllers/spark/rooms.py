"""Room on nodes that is kept for applications' first pods, from release until they have nodes.

Used by the Spark controller. What is kept stands in the SparkAdmission's status, where the extender
of the scheduler sees it and a successor finds it again; it is written before the application is let
go, so that nobody comes between. What the watch doesn't show yet is remembered here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from controllers.spark.objects import SparkObjects
from controllers.spark.sizing import Sizes
from fairstow.api import SparkReservation
from fairstow.cluster.live import LiveCluster
from fairstow.cluster.times import seconds
from fairstow.packing.reservations import Reservations, arrived, holds_of, reserves
from fairstow.packing.spark_rooms import holds_of_application
from fairstow.spark.applications import Application
from fairstow.spark.reserving import reservation
from fairstow.spark.room import Room, Taken

logger = logging.getLogger(__name__)


class Rooms:
    """See the module."""

    def __init__(self, cluster: LiveCluster, objects: SparkObjects, sizes: Sizes) -> None:
        self._cluster, self._objects, self._sizes = cluster, objects, sizes
        self._kept: dict[str, SparkReservation] = {}

    def free(self, starting: Iterable[Application], now: float) -> Room:
        """Return what is free on nodes, without what is kept for those that begin and for plans."""
        room = Room(self._cluster.nodes.values(), self._cluster.free)
        planned = (holds_of(plan) for plan in self._objects.plans() if reserves(plan))
        kept_for_plans = Reservations(holds for holds in planned if not holds.over(now))
        for node, short in kept_for_plans.shortfalls(self._cluster).items():
            room.keep(node, [(resource, -amount) for resource, amount in short.items()])
        for app in starting:
            kept = self.of(app, now)
            if kept is None:
                room.take(self._sizes.demand(app, missing=True))
                continue
            holds = holds_of_application(app.namespace, app.name, app.id, kept)
            for hold in arrived(holds, self._cluster)[1]:
                room.keep(hold.node, hold.requests)
        return room

    def of(self, app: Application, now: float) -> SparkReservation | None:
        """Return what is kept for an application."""
        kept = self._kept.get(app.id)
        if kept is None:
            there = self._objects.admission_of(app)
            if there is None or not there.status.reservation:
                return None
            try:
                kept = SparkReservation.model_validate(there.status.reservation)
            except ValueError as error:  # of another version
                logger.warning("the room of %s isn't known: %s", app.name, error)
                return None
            self._kept[app.id] = kept
        return kept if now <= (seconds(kept.until) or 0) else None

    def reserve(
        self, app: Application, taken: Iterable[Taken], until: float
    ) -> SparkReservation | None:
        """Note that room is kept for an application; return what is to be written."""
        try:
            kept = reservation(app, self._sizes.demand(app), taken, until)
        except ValueError as error:
            logger.warning("no room is kept for %s/%s: %s", app.namespace, app.name, error)
            return None
        self._kept[app.id] = kept
        return kept

    def forget(self, *ids: str) -> None:
        """Note that nothing is kept for these any more."""
        for each in ids:
            self._kept.pop(each, None)

    def retain(self, there: Iterable[Application]) -> None:
        """Forget applications that are gone."""
        self.forget(*(self._kept.keys() - {app.id for app in there}))
