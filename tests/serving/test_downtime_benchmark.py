"""The downtime benchmark's own arithmetic, on times that are made up.

Covered: downtime and slow-down of a turn, slopes and shares, which bounds count for whom. Not
covered: the engines (`python -m benchmarks.downtime`).
"""

from __future__ import annotations

import pytest

from benchmarks.downtime import report
from benchmarks.downtime.turns import Heard, Turn, Way, turn

STEP = 0.05


def heard(*, longest: float, copied: int, slowed: float) -> Heard:
    """Return 32 tokens, so many while it is copied, and 16 after the longest time."""
    times = [STEP * number for number in range(32)]
    asked = times[-1] + 0.001
    for _ in range(copied):
        times.append(times[-1] + STEP * (1 + slowed))
    times.append(times[-1] + longest)
    for _ in range(15):
        times.append(times[-1] + STEP)
    return Heard(times, [], asked)


def test_downtime_is_the_longest_wait_less_a_step() -> None:
    found = turn(Way.PRE_COPY, 1024, 0, heard(longest=0.3, copied=20, slowed=0.02))
    assert (found.downtime_ms, found.step_ms) == (250.0, 50.0)
    assert found.slowed == pytest.approx(0.02)


def test_a_few_tokens_tell_no_slow_down() -> None:
    assert turn(Way.PRE_COPY, 256, 0, heard(longest=0.3, copied=2, slowed=0.5)).slowed is None


def turns(way: Way, fixed: float, each: float, slowed: float | None = None) -> list[Turn]:
    return [
        Turn(str(way), length, number, fixed + each * length, 50.0, slowed=slowed)
        for number in range(3)
        for length in (256, 2048, 8192)
    ]


@pytest.mark.parametrize(
    ("fixed", "each", "slowed", "missing"),
    [
        (20.0, 0.001, 0.02, []),
        (20.0, 0.1, 0.02, ["slope_share", "longest_share", "floor_share"]),
        (20.0, 0.001, 0.04, ["slowed"]),
        (190.0, 0.0, 0.0, ["floor_share"]),
    ],
)
def test_bounds(fixed: float, each: float, slowed: float, missing: list[str]) -> None:
    found = report.summary(
        turns(Way.PRE_COPY, fixed, each, slowed) + turns(Way.RECOMPUTE, 10.0, 0.5)
    )
    assert [said.split(" is ")[0] for said in report.missed({"a10-7b": found})] == [
        f"a10-7b: {bound}" for bound in missing
    ]


def test_what_is_quick_to_recompute_has_no_share_to_meet() -> None:
    found = report.summary(turns(Way.PRE_COPY, 20.0, 0.0) + turns(Way.RECOMPUTE, 10.0, 0.01))
    assert not list(report.missed({"h100-7b": found}))
    assert found["longest_share"] > 0.05


def test_an_engine_that_copies_only_when_stopped_has_no_bounds() -> None:
    found = report.summary(turns(Way.BLOCKING, 20.0, 1.0) + turns(Way.RECOMPUTE, 10.0, 0.5))
    assert not list(report.missed({"llama.cpp": found}))
    assert "blocking copy" in report.table("llama.cpp", found | {"rounds": 3})
