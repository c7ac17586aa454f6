"""Plans whose programs crash, hang or are doubled: operator, extender and scheduler.

Covered: the operator killed half-way, at every change of a plan (`full`), paused, twice there, and
dead for good; the extender gone before a plan and (`full`) during one, with ignorable true and
false. Invariants throughout: only the plan's pods are evicted, each once; none is lost; in the end
nothing is kept. Not covered: crashes between any two lines (tests/packing/test_execution.py has any
two turns), the API server (test_default_scheduler.py).
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from e2e.execution.scene import TARGET
from e2e.execution.work import Work, terminating
from e2e.installed import OPERATOR
from e2e.own_scheduler import EXTENDER, SCHEDULER, strict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.execution.scene import Scene
    from e2e.installed import Installed

pytestmark = pytest.mark.e2e

ACTING = '"event": "acting"'


def moved_twice(scene: Scene, before: set[str]) -> None:
    """Check that a finished plan has moved two of the small pods, lost none and keeps nothing."""
    scene.await_running("big", 1)
    scene.await_running("small", 20)
    assert len(before - scene.uids("small")) == 2
    scene.wait(scene.unclaimed, "the room to be released")


@contextmanager
def dead(programs: Installed) -> Iterator[None]:
    """The operator is killed, and back afterwards."""
    programs.kill()
    try:
        yield
    finally:
        programs.start_operator()


@pytest.mark.full
def test_an_operator_killed_half_way_goes_on_where_it_was(scene: Scene) -> None:
    before = scene.stuck(Work(1, held=True))
    plan = scene.plan()
    scene.approve(plan)
    scene.await_terminating("small")
    with dead(scene.programs):
        scene.let_go()
        scene.await_running("small", 20)
        assert scene.done(plan) == 0
        nodes = scene.get("/api/v1/nodes").values()
        assert any(TARGET in node["metadata"]["labels"] for node in nodes)
    assert scene.finish(plan) == "Succeeded"
    moved_twice(scene, before)


@pytest.mark.full
def test_an_operator_killed_at_every_change_of_a_plan(scene: Scene) -> None:
    """Whenever the plan's status says something new, whoever wrote it is killed."""
    before = scene.stuck()
    plan = scene.plan()
    seen: set[object] = set()

    def state() -> tuple[object, ...]:
        said = (scene.condition(plan, kind) for kind in ("Succeeded", "Executing", "Reserved"))
        return scene.done(plan), *((c.get("status"), c.get("reason")) for c in said)

    seen.add(state())
    scene.approve(plan)
    while not scene.ended(plan):
        scene.wait(lambda: state() not in seen or scene.ended(plan), "a change of the plan")
        seen.add(state())
        with dead(scene.programs):
            pass
    assert scene.ended(plan) == "Succeeded"
    assert len(seen) > 5, seen
    moved_twice(scene, before)


def test_of_two_operators_one_acts_and_the_other_takes_over(scene: Scene) -> None:
    programs, second = scene.programs, f"operator-{scene.namespace}"
    before = scene.stuck(Work(1, held=True))
    plan = scene.plan()  # so the first has the Lease
    programs.start_operator(second)
    try:
        scene.approve(plan)
        scene.await_terminating("small")
        scene.wait(lambda: "waiting for the Lease" in programs.log(second), "the second to be up")
        assert ACTING not in programs.log(second)
        with dead(programs):
            assert scene.finish(plan) == "Succeeded"
            assert ACTING in programs.log(second)
        moved_twice(scene, before)
    finally:
        programs.stop(second)


@pytest.mark.full
def test_a_paused_operator_does_not_act_on_when_another_has_taken_over(scene: Scene) -> None:
    programs, second = scene.programs, f"operator-{scene.namespace}"
    programs.start_operator(second)
    children = programs.own.processes
    try:
        scene.wait(lambda: "waiting for the Lease" in programs.log(second), "the second to be up")
        before = scene.stuck(Work(1, held=True))
        plan = scene.plan()
        scene.approve(plan)
        scene.await_terminating("small")
        said = len(programs.log())
        os.kill(children.pid(OPERATOR), signal.SIGSTOP)
        scene.wait(lambda: ACTING in programs.log(second), "the second to act")
        os.kill(children.pid(OPERATOR), signal.SIGCONT)
        scene.cluster.wait(lambda: "Lease was lost" in programs.log()[said:], "the first to end")
        programs.stop()
        assert scene.finish(plan) == "Succeeded"
        moved_twice(scene, before)
    finally:
        if OPERATOR in children.names:
            programs.stop()
        programs.start_operator()
        programs.stop(second)


@pytest.mark.full
def test_with_the_operator_dead_room_is_free_and_preemption_works(scene: Scene) -> None:
    """Reservations expire with the Lease; whoever comes next finds the plan out of date or done."""
    full, *rest = scene.nodes(8, 8, 8)
    high = {"priorityClassName": scene.priority("high", 1000)}
    scene.place("low", [full], Work(2, metadata={"annotations": {
        "fairstow.dev/do-not-disrupt": "true"}}))  # fmt: skip
    scene.place("middle", [full] * 3, Work(2, spec=high, held=True))
    anchored = {"annotations": {"fairstow.dev/do-not-disrupt": "true"}}
    scene.place("anchor", rest * 3, Work(2, spec=high, metadata=anchored))
    scene.pool()
    scene.policy()
    scene.run("big", 1, Work(4, spec=high))
    plan = scene.await_plan()
    scene.await_terminating("middle")
    scene.let_go()
    scene.wait(lambda: scene.done(plan) == 1, "the first step")
    scene.await_terminating("middle")
    with dead(scene.programs):
        scene.wait(lambda: '"plans":[]' in scene.programs.own.reservations(), "the expiry", 180)
        # The one held still holds its room, so the scheduler evicts the low pod for the big one.
        scene.wait(lambda: scene.where("big"), "stock preemption", 400)
        assert not scene.where("low")
    assert scene.finish(plan)
    scene.await_running("middle", 3)
    scene.await_running("big", 1)
    scene.wait(scene.unclaimed, "the room to be released")


def test_without_the_extender_no_plan_evicts_anybody(scene: Scene) -> None:
    own = scene.programs.own
    before = scene.stuck()
    plan = scene.plan()
    own.processes.kill_one(EXTENDER)
    try:
        scene.approve(plan)
        scene.wait(lambda: "extender-0" in missing(scene, plan), "the reservation to be missing")
        assert scene.uids("small") == before
    finally:
        own.start_extender()
    assert scene.await_end(plan) == "Succeeded"
    moved_twice(scene, before)


@pytest.mark.full
def test_an_extender_that_goes_between_two_steps_stops_the_plan(scene: Scene) -> None:
    own = scene.programs.own
    before = scene.stuck(Work(1, held=True))
    plan = scene.plan()
    scene.approve(plan)
    scene.await_terminating("small")
    own.processes.kill_one(EXTENDER)
    try:
        scene.wait(lambda: "extender-0" in missing(scene, plan), "the reservation to be lost")
        scene.let_go()
        scene.wait(lambda: scene.done(plan) == 1, "the first step")
        scene.await_reason(plan, "Reserving")
        assert not any(map(terminating, scene.pods("small")))
        assert len(before - scene.uids("small")) == 1
    finally:
        own.start_extender()
    assert scene.finish(plan) in {"Succeeded", "NodeChanged"}
    scene.await_running("small", 20)
    scene.wait(scene.unclaimed, "the room to be released")


def missing(scene: Scene, plan: str) -> str:
    """Return which replicas a plan says don't keep its room."""
    found = scene.condition(plan, "Reserved")
    return str(found.get("message", "")) if found.get("status") == "False" else ""


@pytest.mark.full
def test_without_an_extender_that_is_not_ignorable_pods_wait_for_it(scene: Scene) -> None:
    """The moved pod isn't scheduled elsewhere meanwhile: it waits, and gets its place."""
    own = scene.programs.own
    before = scene.stuck(Work(1, held=True))
    plan = scene.plan()
    # Without a scheduler the pod that is made anew has no node yet when the extender goes.
    own.stop(SCHEDULER)
    try:
        scene.approve(plan)
        scene.await_terminating("small")
        own.processes.kill_one(EXTENDER)
        own.start_scheduler(strict(own.attachment))
        scene.wait(lambda: "extender-0" in missing(scene, plan), "the reservation to be lost")
        scene.let_go()
        scene.await_running("small", 19)
        scene.await_reason(plan, "WaitingForPods")
        own.start_extender()
        assert scene.finish(plan) == "Succeeded"
        moved_twice(scene, before)
    finally:
        if EXTENDER not in own.processes.names:
            own.start_extender()
        own.stop(SCHEDULER)
        own.start_scheduler()


@pytest.mark.full
def test_with_the_operator_down_the_scheduler_preempts_as_ever(scene: Scene) -> None:
    names = scene.nodes(4, 4)
    scene.place("low", names * 2, Work(2))
    scene.pool()
    scene.policy()
    high = {"priorityClassName": scene.priority("high", 1000)}
    with dead(scene.programs):
        scene.run("big", 1, Work(4, spec=high))
        scene.await_running("big", 1)
        assert len(scene.where("low")) == 2
