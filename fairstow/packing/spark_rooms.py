"""Room that is kept for Spark applications, as holds that reservations are made of.

Called by the scheduler extender and the Spark controller for SparkAdmissions whose status names a
reservation. It is kept loosely: how large executors are is foreseen from the application's
settings, before there are any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairstow.cluster.quantity import parse
from fairstow.cluster.times import seconds
from fairstow.packing.reservations import Hold, PlanHolds

if TYPE_CHECKING:
    from fairstow.api import SparkReservation


def holds_of_application(
    namespace: str, name: str, uid: str, reservation: SparkReservation
) -> PlanHolds:
    """Return what an application keeps.

    Args:
        namespace: of the application and of its pods.
        name: for people.
        uid: of the application.
        reservation: as its SparkAdmission's status has it.

    Raises:
        ValueError: an amount isn't one.
    """
    holds = []
    for room in reservation.rooms:
        amounts = tuple(sorted((r, parse(r, text)) for r, text in room.requests.items()))
        hold = Hold(room.node, f"{namespace}/{room.owner}", amounts, 0, "")
        holds += [hold] * room.pods
    return PlanHolds(
        plan=f"spark/{uid}",
        name=f"{namespace}/{name}",
        step=0,
        known=frozenset(),
        holds=tuple(holds),
        leaving={},
        until=seconds(reservation.until),
        kind="Spark application",
        loose=True,
    )
