"""Moments and durations as Kubernetes writes them; moments are seconds since 1970 UTC.

Called by `project` for the times of objects and by the planner for times that people declare in
annotations. The grammar is stated here in full, so that what counts as a time hangs on no parser.
"""

import re
from calendar import timegm
from datetime import date
from functools import lru_cache

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.[0-9]+)?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)

_FIRST, _LAST = timegm((1, 1, 1, 0, 0, 0)), timegm((9999, 12, 31, 23, 59, 59))


@lru_cache(maxsize=1024)  # a cluster's times repeat: heartbeats, pods started together
def seconds(text: str) -> int | None:
    """Return a time such as `2026-03-01T12:00:00Z`, its fraction cut off; None for other text."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    try:
        date(year, month, day)
    except ValueError:
        return None
    sign, ahead_hours, ahead_minutes = match.groups()[6:]
    ahead = 3600 * int(ahead_hours) + 60 * int(ahead_minutes) if sign else 0
    local = timegm((year, month, day, hour, minute, second))
    utc = local - ahead if sign != "-" else local + ahead
    return utc if _FIRST <= utc <= _LAST else None


def written(moment: int) -> str:
    """Write seconds since 1970, of the years 0001 to 9999, as a time in UTC."""
    days, rest = divmod(moment, 86_400)
    day = date.fromordinal(date(1970, 1, 1).toordinal() + days)
    return f"{day.isoformat()}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"


def duration(span: float) -> str:
    """Write seconds as a Kubernetes duration of whole numbers: 10s, 800ms, 1m30s."""
    left = max(1, round(span * 1000))
    said = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        said += f"{count}{unit}" if count else ""
    return said
