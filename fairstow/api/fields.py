"""The field types that more than one kind uses: names, counts, durations, schedules.

Each carries the bounds the CRD needs; pydantic and the API server enforce the same ones.
"""

import re
from typing import Annotated, Any

from pydantic import Field

from fairstow.api.rules import Rule

_INT32 = {"format": "int32"}
_INT64 = {"format": "int64"}
_INT32_MAX = 2**31 - 1
# Above this, readers that parse JSON numbers as floats (jq, browsers) would round.
_EXACT_MAX = 2**53 - 1

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"

Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0, le=_INT32_MAX, json_schema_extra=_INT32)]
BigCount = Annotated[int, Field(strict=True, ge=0, le=_EXACT_MAX, json_schema_extra=_INT64)]
Permille = Annotated[int, Field(strict=True, ge=0, le=1000, json_schema_extra=_INT32)]

Namespace = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{_LABEL}$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=f"^{_SUBDOMAIN}$")]
# A pool's name is also a label value and a metric label.
PoolName = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{_SUBDOMAIN}$")]
Uid = Annotated[str, Field(min_length=1, max_length=128)]

Timestamp = Annotated[
    str,
    Field(
        min_length=20,
        max_length=35,
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
        r"(Z|[+-][0-9]{2}:[0-9]{2})$",
        json_schema_extra={"format": "date-time"},
    ),
]

_DURATION = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?([0-9]{1,5}ms)?$"
_UNIT_MS = (3_600_000, 60_000, 1_000, 1)


def duration_milliseconds(text: str) -> int:
    """Return a duration such as "1h30m", "90s" or "250ms" in milliseconds.

    The notation is metav1.Duration's with whole numbers and descending units only. Raises
    ValueError for anything else.
    """
    match = re.fullmatch(_DURATION, text)
    if match is None or not text:
        raise ValueError(f"{text!r} is not a duration: write whole numbers with h, m, s, ms")
    parts = (group or "" for group in match.groups())
    return sum(int(part.rstrip("hms") or 0) * ms for part, ms in zip(parts, _UNIT_MS, strict=True))


def duration(field: str, minimum: str, maximum: str) -> Any:
    """Return the Annotated metadata of a duration field; `field` starts the message."""
    low, high = duration_milliseconds(minimum), duration_milliseconds(maximum)

    def holds(text: str) -> bool:
        try:
            return low <= duration_milliseconds(text) <= high
        except ValueError:
            return False

    return Rule(
        cel=(
            f"self.matches('{_DURATION}') && duration(self) >= duration('{minimum}')"
            f" && duration(self) <= duration('{maximum}')"
        ),
        message=f"{field} is a duration from {minimum} to {maximum}, such as 90s or 1h30m",
        holds=holds,
    )


DurationText = Annotated[str, Field(min_length=2, max_length=25)]


def _cron_field(value: str) -> str:
    item = rf"([*]|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


_CRON_VALUES = (
    "[0-5]?[0-9]",  # minute
    "[01]?[0-9]|2[0-3]",  # hour
    "0?[1-9]|[12][0-9]|3[01]",  # day of the month
    "0?[1-9]|1[0-2]|[A-Z]{3}",  # month
    "[0-7]|[A-Z]{3}",  # day of the week
)
_CRON = "^" + " ".join(map(_cron_field, _CRON_VALUES)) + "$"

Schedule = Annotated[
    str,
    Field(min_length=9, max_length=100),
    Rule(
        cel=f"self.matches('{_CRON}')",
        message=(
            "not a schedule: write five fields as in cron, minute hour day-of-month month "
            "day-of-week, such as 0 2 * * MON-FRI"
        ),
        holds=lambda text: re.fullmatch(_CRON, text) is not None,
    ),
]

TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=r"^[A-Za-z]+([-_+/][A-Za-z0-9]+)*$"),
]
