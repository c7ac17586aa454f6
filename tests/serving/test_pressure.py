"""The pool's pressure: its three marks, its bounds, engines that don't tell their memory.

Not covered: that a gateway counts rightly (tests/gateway/test_ledger.py).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.serving.pressure import Busy, pressure


def busy(needed: int, capacity: int = 100, **more: int | bool) -> Busy:
    return Busy(capacity, needed, int(more.get("running", 1)), int(more.get("waiting", 0)))


@pytest.mark.parametrize(
    ("needed", "queue", "found"),
    [(0, [], 0.0), (50, [], 0.0), (100, [], 0.5), (120, [10, 20], 1.0), (100, [900], 1.0)],
)
def test_memory_that_is_taken_and_waited_for(needed: int, queue: list[int], found: float) -> None:
    assert pressure([busy(needed)], queue) == pytest.approx(found)
    assert pressure([busy(needed), busy(needed)], queue * 2) == pytest.approx(found)


def test_requests_on_an_instance_that_drains_need_room_on_the_others() -> None:
    leaving = Busy(100, 60, 3, 0, serves=False)
    assert pressure([busy(40), leaving], []) == pytest.approx(0.5)


def test_engines_that_do_not_tell_their_memory_are_measured_once_requests_wait() -> None:
    unknown = busy(0, capacity=0, running=4)
    assert pressure([unknown], []) == 0.0
    assert pressure([busy(0, capacity=0, running=4, waiting=1)], []) == pytest.approx(0.75)
    assert pressure([unknown, busy(90)], [1]) == pytest.approx(0.7)


def test_nothing_serves() -> None:
    assert pressure([], []) == 0.0
    assert pressure([], [5]) == 1.0


INSTANCES = st.builds(
    Busy,
    capacity=st.integers(0, 1000),
    needed=st.integers(0, 5000),
    running=st.integers(0, 50),
    waiting=st.integers(0, 50),
    serves=st.booleans(),
)


@given(st.lists(INSTANCES, max_size=4), st.lists(st.integers(1, 500), max_size=4))
def test_it_is_a_share_and_a_request_more_never_lowers_it(
    there: list[Busy], queue: list[int]
) -> None:
    now = pressure(there, queue)
    assert 0 <= now <= pressure(there, [*queue, 1]) <= 1
