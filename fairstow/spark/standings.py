"""What people are told: an application's standing, in fields and as a sentence, and the queue's.

Called by the Spark controller after each decision; the sentence is also the Event's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil, inf
from typing import Any

import msgspec

from fairstow.api import Reason, SparkAdmissionStatus, SparkQueueSpec, SparkReservation
from fairstow.api.spark_queue import MOST_CORES, MOST_USERS_SHOWN, UserShare
from fairstow.cluster.times import written
from fairstow.spark.applications import Application, Phase
from fairstow.spark.line import Place

_MOST = 2**53 - 1
_LONGEST = 365 * 86_400.0
_LONGEST_NAME, _LONGEST_MESSAGE = 253, 1024
"""Characters that a status holds; what a user asks for or is called has no such bounds."""
_BEGUN = {Reason.ITS_TURN, Reason.BACKFILLED, Reason.WAITED_TOO_LONG}


class Expected(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an application is expected to need, in core-s. due, came: virtual times."""

    work: float = 0.0
    low: float = 0.0
    high: float = 0.0
    due: float | None = None
    came: float | None = None


def waiting(
    place: Place,
    first: int,
    expected: Expected,
    now: float,
    kept: SparkReservation | None = None,
) -> SparkAdmissionStatus:
    """Return the status of one that waits or goes now.

    Args:
        place: where it stands.
        first: milli-CPU that is let go together.
        expected: what it is expected to need.
        now: seconds since 1970.
        kept: the room for its first pods.
    """
    begun = place.reason in _BEGUN
    starts = place.starts if not begun else None
    return SparkAdmissionStatus(
        phase=Phase.ADMITTED.value if begun else Phase.WAITING.value,
        position=None if begun else place.position,
        first_cores=min(ceil(first / 1000), MOST_CORES),
        starts_after=_moment(now, starts[0]) if starts else None,
        starts_before=_moment(now, starts[1]) if starts else None,
        admitted_at=written(int(now)) if begun else None,
        reservation=kept,
        reason=place.reason.value,
        message=message(place),
        **_expected(expected),
    )


def begun(
    application: Application,
    served: float,
    expected: Expected,
    reason: Reason,
    kept: SparkReservation | None = None,
) -> SparkAdmissionStatus:
    """Return the status of one that was let go, runs or has ended."""
    return SparkAdmissionStatus(
        phase=application.phase.value,
        admitted_at=written(application.admitted) if application.admitted else None,
        served_core_seconds=_whole(served),
        reservation=kept,
        reason=reason.value,
        message=reason.sentence,
        **_expected(expected),
    )


def _expected(expected: Expected) -> dict[str, Any]:
    return {
        "estimate_core_seconds": _whole(expected.work),
        "low_core_seconds": _whole(expected.low),
        "high_core_seconds": _whole(expected.high),
        "virtual_start": None if expected.came is None else _whole(expected.came),
        "virtual_finish": None if expected.due is None else _whole(expected.due),
    }


def message(place: Place) -> str:
    """Return what is said of a place, as long as a status holds."""
    return sentence(place)[:_LONGEST_MESSAGE]


def sentence(place: Place) -> str:
    """Return where an application stands, such as "position 3, about 4–6 min; ahead: …"."""
    if place.position is None or place.reason in _BEGUN:
        return place.reason.sentence
    said = f"position {place.position}"
    if place.starts:
        said += f", {_range(*place.starts)}"
    if place.ahead:
        who = ", ".join(f"{count} of {user}'s" for user, count in place.ahead)
        said += f"; ahead, since due earlier: {who}"
    return f"{said}. {place.reason.sentence}"


def _range(low: float, high: float) -> str:
    """Return an interval as people say it."""
    if high == inf or high > _LONGEST:
        return f"not before {_span(low)}" if low else "nobody knows when"
    if high < 60:
        return "within a minute"
    short, long = _span(low), _span(high)
    return f"about {long}" if short == long else f"about {short.split()[0]}–{long}" if (
        short.split()[-1] == long.split()[-1]
    ) else f"about {short} to {long}"  # fmt: skip


def _span(seconds: float) -> str:
    if seconds < 5400:
        return f"{ceil(seconds / 60)} min"
    if seconds < 36 * 3600:
        return f"{ceil(seconds / 3600)} h"
    return f"{ceil(seconds / 86_400)} d"


def _moment(now: float, after: float) -> str | None:
    return None if after > _LONGEST else written(int(now + after))


def _whole(amount: float) -> int:
    return min(ceil(amount), _MOST) if amount != inf else _MOST


def weight_of(spec: SparkQueueSpec, user: str, groups: Iterable[str]) -> int:
    """Return a user's weight: their own, else the largest of their groups', else the default."""
    for share in spec.users:
        if share.name == user:
            return share.weight
    theirs = set(groups)
    found = [share.weight for share in spec.groups if share.name in theirs]
    return max(found, default=spec.default_weight)


def shares(
    applications: Iterable[Application], cores: Mapping[str, int], weights: Mapping[str, int]
) -> tuple[UserShare, ...]:
    """Return who has what. Args: cores: milli-CPU by application; weights: by user."""
    waiting: dict[str, int] = {}
    running: dict[str, int] = {}
    milli: dict[str, int] = {}
    for each in applications:
        if each.phase is Phase.ENDED:
            continue
        table = waiting if each.phase is Phase.WAITING else running
        table[each.user] = table.get(each.user, 0) + 1
        milli[each.user] = milli.get(each.user, 0) + cores.get(each.id, 0)
    users = sorted(milli, key=lambda user: (-milli[user], -waiting.get(user, 0), user))
    used = max(sum(milli.values()), 1)
    total = max(sum(weights.get(user, 1) for user in users), 1)
    return tuple(
        UserShare(
            name=user[:_LONGEST_NAME],
            weight=weights.get(user, 1),
            waiting=waiting.get(user, 0),
            running=running.get(user, 0),
            cores=ceil(milli[user] / 1000),
            share_permille=1000 * milli[user] // used,
            entitled_permille=1000 * weights.get(user, 1) // total,
        )
        for user in users[:MOST_USERS_SHOWN]
    )
