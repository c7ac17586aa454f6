"""Whether the operator lives: every loop takes turns.

Covered: loops that take turns, fail, hang and wait for the Lease; clocks are the test's. Not
covered: the port that says so (tests/kube/test_admin.py), the running operator
(e2e/test_health.py).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from controllers import pace
from controllers.health import LONGEST_TURN, Turns
from controllers.pace import Pace
from controllers.packing.objects import Objects
from controllers.packing.parts import Parts
from fairstow.cluster.errors import InputError
from fairstow.cluster.live import LiveCluster


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_that_finishes_no_turn_for_long_is_stuck() -> None:
    clock = Clock()
    turns = Turns(clock)
    assert turns.stuck() == ""
    turns.finished("plans")
    turns.finished("pools")
    clock.now = LONGEST_TURN
    turns.finished("pools")
    assert turns.stuck() == ""
    clock.now += 1
    assert turns.stuck() == "the loop plans hasn't finished a turn for 601 s"
    turns.finished("plans")
    assert turns.stuck() == ""


def test_loops_that_wait_for_the_lease_are_well() -> None:
    clock = Clock()
    turns = Turns(clock)
    clock.now = 10 * LONGEST_TURN
    assert turns.stuck() == ""


def test_a_turn_that_fails_is_finished_and_one_that_hangs_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "_AFTER_FAILURE", 0.0)
    clock = Clock()
    turns = Turns(clock)
    hang = asyncio.Event()

    async def turn() -> int | None:
        clock.now += LONGEST_TURN - 1
        if clock.now > 2 * LONGEST_TURN:
            hang.set()
            await asyncio.Event().wait()
        raise InputError("cluster", "isn't there")

    async def scenario() -> None:
        own = Parts(LiveCluster(), Objects(), cast(Any, None), cast(Any, None), turns=turns)
        paced = Pace(own, least=0.0)
        task = asyncio.create_task(paced.run("plans", turn))
        await hang.wait()
        assert turns.stuck() == ""  # two turns have failed, the third is under way
        clock.now += 2
        assert "the loop plans hasn't finished" in turns.stuck()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
