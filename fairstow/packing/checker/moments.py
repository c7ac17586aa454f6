"""Times and durations as Kubernetes writes them: read with the checker's own code."""

import re
from datetime import UTC, datetime, timedelta

from fairstow.packing.checker.fields import Fields

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
_MOMENT = re.compile(rf"(\d{{4}}-\d\d-\d\dT{_CLOCK}:[0-5]\d)(?:\.\d+)?(Z|[+-]{_CLOCK})", re.ASCII)
_SPAN = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?(?:(\d{1,5})ms)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""From the year 0001 to the year 9999, in UTC."""


def moment(text: str) -> int | None:
    """Return an RFC 3339 time in whole seconds since 1970, or None for any other text."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    try:
        local = datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))
    except ValueError:
        return None
    found = (local - _EPOCH) // timedelta(seconds=1)
    return found if _FIRST <= found <= _LAST else None


def read_moment(fields: Fields, key: str) -> int | None:
    """Return a field that holds a time, None if it is absent or empty.

    Raises:
        CheckError: it holds something else.
    """
    text = fields.text(key)
    found = moment(text)
    if text and found is None:
        raise fields.fail(key, "must be an RFC 3339 time")
    return found


def read_span(fields: Fields, key: str) -> int:
    """Return a duration such as 1h30m in milliseconds, 0 if it is absent.

    Raises:
        CheckError: it holds something else.
    """
    match = _SPAN.fullmatch(fields.text(key))
    if match is None or (fields.has(key) and not match[0]):
        raise fields.fail(key, "must be a duration such as 10m")
    hours, minutes, seconds, rest = (int(part or 0) for part in match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest
