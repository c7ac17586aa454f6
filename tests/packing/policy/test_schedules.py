"""Schedules and maintenance windows against a walk over every minute, through clock changes.

Covered: next and last fire in random zones and months, across years and clock changes in both
directions, windows that are open now and when that changes, what never fires. Not covered: the
cron notation itself, which cronsim's own tests and the API's pattern cover.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.api import MaintenanceWindow
from fairstow.packing.policy.schedules import Opening, last_fire, next_fire, opening, problem

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
SCHEDULES = st.sampled_from(
    ("0 2 * * *", "30 2 * * *", "45 1 * * SUN", "30 1,3 * * *", "0 0 1 1 *", "15 22 * * MON-FRI")
)
CHANGES = (  # a day or two around each: gaps, folds, a turn of the year
    datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 4, 5, tzinfo=UTC),
    datetime(2026, 10, 4, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 12, 31, 12, tzinfo=UTC),
)


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


MOMENTS = st.builds(
    lambda day, minutes: int((day + timedelta(minutes=minutes)).timestamp()),
    st.sampled_from(CHANGES),
    st.integers(-1500, 1500),
)


@settings(max_examples=300, deadline=None)
@given(schedule=SCHEDULES, zone=st.sampled_from(ZONES), moment=MOMENTS)
def test_last_and_next_fire_leave_none_between_them(schedule: str, zone: str, moment: int) -> None:
    last, following = last_fire(schedule, moment, zone), next_fire(schedule, moment, zone)
    assert last is not None
    assert following is not None
    assert last <= moment < following
    # Walking forward from the last comes to the next.
    assert next_fire(schedule, last, zone) == following
    assert last_fire(schedule, following, zone) == following
    assert last_fire(schedule, following - 1, zone) == last


@settings(max_examples=100, deadline=None)
@given(zone=st.sampled_from(ZONES), moment=MOMENTS)
def test_a_schedule_that_names_an_hour_fires_once_a_day(zone: str, moment: int) -> None:
    fires, when = [], moment
    for _ in range(4):
        when = next_fire("30 2 * * *", when, zone) or 0
        fires.append(datetime.fromtimestamp(when, ZoneInfo(zone)).date())
    assert {later - day for day, later in pairwise(fires)} == {timedelta(days=1)}


@pytest.mark.parametrize(
    ("schedule", "after", "fires"),
    [
        ("30 2 * * *", "2026-03-29T00:00", "2026-03-29T03:00"),  # 2:30 isn't there that night
        ("30 2 * * *", "2026-10-25T00:00", "2026-10-25T02:30"),  # the first of two
        ("0 0 1 1 *", "2026-06-01T00:00", "2027-01-01T00:00"),
        ("0 12 29 2 *", "2026-06-01T00:00", "2028-02-29T12:00"),
        ("59 23 31 12 *", "2026-12-31T23:59", "2027-12-31T23:59"),
    ],
)
def test_next_fire_in_berlin(schedule: str, after: str, fires: str) -> None:
    zone = "Europe/Berlin"
    assert next_fire(schedule, at(after, zone), zone) == at(fires, zone)


def test_in_an_hour_that_comes_twice_it_does_not_fire_twice() -> None:
    once = at("2026-10-25T00:45")  # Berlin has 2:45 now and an hour later
    first = next_fire("45 2 * * *", at("2026-10-24T22:00"), "Europe/Berlin")
    assert first == once
    quarter_past_again, following = at("2026-10-25T01:15"), at("2026-10-26T01:45")
    assert next_fire("45 2 * * *", quarter_past_again, "Europe/Berlin") == following
    assert last_fire("45 2 * * *", quarter_past_again, "Europe/Berlin") == once


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "0 0 31 4,6 *", "0 0 * XYZ *"])
def test_what_never_fires_is_said(schedule: str) -> None:
    assert "never fires" in problem(schedule)


def test_a_time_zone_that_does_not_exist_is_said() -> None:
    assert "no time zone Mars/Olympus" in problem("0 0 * * *", "Mars/Olympus")
    assert problem("0 0 * * *", "Europe/Berlin") == ""


def window(start: str, duration: str, zone: str = "Europe/Berlin") -> MaintenanceWindow:
    return MaintenanceWindow(start=start, duration=duration, time_zone=zone)


def test_without_windows_it_is_always_open() -> None:
    assert opening([], 0).open
    assert opening([], 0).changes_at is None


def test_a_window_that_makes_no_sense_never_opens() -> None:
    never = [window("0 0 30 2 *", "6h"), window("0 0 * * *", "6h", "Mars/Olympus")]
    assert opening(never, 0) == Opening(open=False, changes_at=None)


def test_a_window_opens_and_closes() -> None:
    nights = [window("0 22 * * *", "6h")]
    before, midnight = at("2026-06-01T19:00"), at("2026-06-01T22:00")
    assert not opening(nights, before).open
    assert opening(nights, before).changes_at == at("2026-06-01T20:00")
    assert opening(nights, midnight).open
    assert opening(nights, midnight).changes_at == at("2026-06-02T02:00")
    assert not opening(nights, at("2026-06-02T02:00")).open


def test_a_window_is_as_long_as_it_says_when_the_clocks_change() -> None:
    nights = [window("0 0 * * *", "4h")]
    for day in ("2026-03-29", "2026-10-25"):
        opened = at(f"{day}T00:00", "Europe/Berlin")
        assert opening(nights, opened + 4 * 3600 - 1).open
        assert not opening(nights, opened + 4 * 3600).open


@settings(max_examples=200, deadline=None)
@given(
    windows=st.lists(
        st.builds(
            window,
            SCHEDULES,
            st.sampled_from(("1m", "90m", "6h", "168h")),
            st.sampled_from(ZONES),
        ),
        min_size=1,
        max_size=3,
    ),
    moment=MOMENTS,
)
def test_an_opening_lasts_until_it_says(windows: list[MaintenanceWindow], moment: int) -> None:
    now = opening(windows, moment)
    assert now.changes_at is not None
    assert now.changes_at > moment
    middle = (moment + now.changes_at) // 2
    assert opening(windows, middle).open == now.open
    assert opening(windows, now.changes_at - 1).open == now.open
    if not now.open:
        assert opening(windows, now.changes_at).open
