"""Room on nodes for an application that is let go, written so that schedulers keep others off it.

Called by the Spark controller with what `room` took for the application. Who may take the room is
said by the pods' controller: a driver owns its executors, and a SparkApplication its driver; both
names are known before there are any pods.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairstow.api import SparkReservation
from fairstow.api.spark_admission import MOST_ROOMS, SparkRoom
from fairstow.cluster.quantity import CPU
from fairstow.cluster.times import written
from fairstow.spark.applications import Application
from fairstow.spark.names import APPLICATION
from fairstow.spark.room import Demand, Taken
from fairstow.spark.submitted import driver_of


def reservation(
    app: Application, demand: Demand, taken: Iterable[Taken], until: float
) -> SparkReservation:
    """Return what is kept for an application.

    Args:
        app: the application.
        demand: its driver, then its executors.
        taken: where there is room for them.
        until: seconds since 1970.

    Raises:
        ValueError: its driver's name or an amount can't be written, and would never be a pod's.
    """
    driver = driver_of(app.name, app.app.spec) if app.app else app.name
    owners = (f"{APPLICATION}/{app.name}" if app.app else f"Pod/{driver}", f"Pod/{driver}")
    rooms = [
        SparkRoom(
            node=each.node,
            owner=owners[each.part],
            pods=each.pods,
            requests={
                name: f"{amount}m" if name == CPU else str(amount)
                for name, amount in demand[each.part][0].requests
            },
        )
        for each in taken
    ]
    return SparkReservation(until=written(int(until)), rooms=tuple(rooms[:MOST_ROOMS]))
