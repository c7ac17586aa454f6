"""Schedules and maintenance windows: when one fires next, and whether a window is open.

Called by `triggers` for spec.triggers.schedule and by whoever carries plans out for
spec.maintenanceWindows. Moments are seconds since 1970 UTC.

A schedule in a time zone follows its clocks as Debian's cron does (library cronsim): what names an
hour fires once a day, also on the day that has it twice (then in the first) or not at all (then at
the end of the gap); what doesn't name one fires by real time. A window is open from a fire for its
duration, in real time, and windows add up:

    open at t  ⇔  some window's last fire f ≤ t has t < f + duration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from fairstow.api import MaintenanceWindow, duration_milliseconds

_FOLD = 3 * 3600
"""Seconds, more than any time zone's clocks are ever put back by."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether plans may be carried out now.

    Attributes:
        open: now.
        changes_at: when it closes at the earliest, or opens; None for never.
    """

    open: bool
    changes_at: int | None


def problem(schedule: str, zone: str = "UTC") -> str:
    """Say what is wrong with a schedule that has the right form, or with its time zone; or ""."""
    try:
        CronSim(schedule, datetime.now(tz=ZoneInfo(zone)))
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return f"there is no time zone {zone}: write one of the IANA database, as Europe/Berlin"
    except CronSimError as error:
        said = str(error).removeprefix("Bad ")
        return f"{schedule!r} never fires: its {said} doesn't exist"
    return ""


def next_fire(schedule: str, after: int, zone: str = "UTC") -> int | None:
    """Return when a schedule fires next, later than `after`; None for never."""
    # In an hour that comes twice, what fired in the first would come again.
    return next((fire for fire in _fires(schedule, after, zone) if fire > after), None)


def last_fire(schedule: str, at: int, zone: str = "UTC") -> int | None:
    """Return when a schedule fired last, at `at` or before; None for never."""
    fires = _fires(schedule, at + _FOLD, zone, backwards=True)
    return next((fire for fire in fires if fire <= at), None)


def opening(windows: Sequence[MaintenanceWindow], now: int) -> Opening:
    """Return whether some window is open; without windows it always is.

    Windows with a `problem` never open.
    """
    if not windows:
        return Opening(True, None)
    ends, starts = [], []
    for window in windows:
        if problem(window.start, window.time_zone):
            continue
        last = last_fire(window.start, now, window.time_zone)
        end = 0 if last is None else last + duration_milliseconds(window.duration) // 1000
        if end > now:
            ends.append(end)
        following = next_fire(window.start, now, window.time_zone)
        if following is not None:
            starts.append(following)
    if ends:
        return Opening(True, max(ends))
    return Opening(False, min(starts, default=None))


def _fires(schedule: str, start: int, zone: str, *, backwards: bool = False) -> Iterator[int]:
    moment = datetime.fromtimestamp(start, ZoneInfo(zone))
    for fire in CronSim(schedule, moment, reverse=backwards):
        yield int(fire.timestamp())
