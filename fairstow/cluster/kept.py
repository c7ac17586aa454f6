"""Room on nodes that is kept for pods which aren't there yet: of Spark applications let go.

Such an application's SparkAdmission names, in its status, where its driver and first executors are
to run. Each of its pods that has a node by now *fills* one place: one as it was foreseen rather
than another on that node, and that rather than one elsewhere; places that nobody fills are *open*,
and their room is nobody else's. Who calls it: snapshots, so that no plan counts on that room, and
`fairstow.packing.reservations`, by which the scheduler's extender keeps others off it.

Invariants (property tests): |filled| = min(places, pods) for each beneficiary, and filled and open
together are the places given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from fairstow.cluster import wire_spark as wire
from fairstow.cluster.model import KeptRoom, Pod, Resources
from fairstow.cluster.quantity import parse
from fairstow.cluster.times import seconds


class Place(Protocol):
    """Room for one pod of a beneficiary, as `Pod.workload` names it."""

    @property
    def node(self) -> str:
        """Where."""

    @property
    def beneficiary(self) -> str:
        """Whose."""

    @property
    def requests(self) -> Resources:
        """How much."""


P = TypeVar("P", bound=Place)
_Key = tuple[object, ...]
_ALIKE: tuple[Callable[[str, str, Resources], _Key], ...] = (
    lambda who, node, requests: (who, node, requests),
    lambda who, node, _: (who, node),
    lambda who, *_: (who,),
)


def filled(places: Sequence[P], pods: Iterable[Pod]) -> tuple[list[P], list[P]]:
    """Return the places that are filled and those that are open.

    Args:
        places: in any order.
        pods: of their beneficiaries; those without a node, or on their way out, fill nothing.
    """
    left = [(p.workload, p.node, p.shape.requests) for p in pods if p.node and not p.terminating]
    awaited, found = list(places), list[P]()
    for key in _ALIKE:
        there, open_ = Counter(key(*pod) for pod in left), []
        for place in awaited:
            alike = key(place.beneficiary, place.node, place.requests)
            if there[alike] > 0:
                there[alike] -= 1
                found.append(place)
            else:
                open_.append(place)
        others = []
        for pod in left:
            if there[key(*pod)] > 0:
                there[key(*pod)] -= 1
                others.append(pod)
        awaited, left = open_, others
    return found, awaited


def for_whom(rooms: Iterable[KeptRoom]) -> str:
    """Say for whom rooms are kept, in a phrase."""
    names = sorted({room.application for room in rooms})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"kept for Spark application{'s' if len(names) > 1 else ''} {', '.join(names[:3])}{more}"


def _rooms(raw: wire.SparkAdmission) -> tuple[KeptRoom, ...] | None:
    reservation = raw.status.reservation if raw.status else None
    if reservation is None:
        return None
    namespace, until = raw.metadata.namespace or "default", seconds(reservation.until)
    if until is None:
        raise ValueError(f"field status.reservation.until: {reservation.until} is no time")
    return tuple(
        KeptRoom(
            node=room.node,
            beneficiary=f"{namespace}/{room.owner}",
            requests=tuple(sorted((r, parse(r, str(text))) for r, text in room.requests.items())),
            application=f"{namespace}/{raw.spec.name}",
            until=until,
            number=number,
        )
        for room in reservation.rooms
        for number in range(room.pods)
    )


def open_rooms(
    rooms: Iterable[KeptRoom], pods: Iterable[Pod], now: int | None
) -> tuple[KeptRoom, ...]:
    """Return the rooms that are kept still. Args: now: seconds since 1970, if it is known."""
    there = [room for room in rooms if now is None or room.until >= now]
    if not there:
        return ()
    theirs = {room.beneficiary for room in there}
    return tuple(sorted(filled(there, (p for p in pods if p.workload in theirs))[1], key=_order))


def _order(room: KeptRoom) -> tuple[str, str, str, int]:
    return room.node, room.application, room.beneficiary, room.number


READERS: dict[str, tuple[str, type[msgspec.Struct], Callable[[Any], Any]]] = {
    "SparkAdmission": ("fairstow.dev", wire.SparkAdmission, _rooms),
}
"""By kind: its API group, its wire form and what makes records of it."""
