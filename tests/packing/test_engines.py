"""Plans that move LLM engines: who may go, what it costs, and that requests are handed over first.

Covered: planner and checker agree on engines of random clusters; the last instance stays and never
are two of a pool away at once; cost by the pool's room; the turn of a plan drains, waits, evicts,
gives up. Not covered: the API server and gateways (e2e/execution).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.api import PackingPlan, Reason
from fairstow.packing.checker import Rule, check
from fairstow.packing.cost import MOST_WORK, work_lost
from fairstow.packing.execution.turn import Ask, Gate, Turn, decide
from fairstow.packing.explain.remedy import plan_fix
from fairstow.packing.history import closed
from fairstow.packing.model import Request
from fairstow.packing.planner import decide as plan_for
from fairstow.packing.planner import inline
from tests.packing.checker_clusters import Json, beating, node, plan, pod, step
from tests.packing.clusters import clusters, snapshot
from tests.packing.engine_objects import FULL, SPARE, drain, engine, pool
from tests.packing.live_world import KEPT, LiveWorld
from tests.packing.test_execution import approved, clock, planned


def stuck(*more: Json) -> list[Json]:
    """Two nodes of 4, an engine of 2 on each; a pod that wants 4 can only have one if it moves."""
    return [
        beating(node("a", gpu=4)),
        beating(node("b", gpu=4)),
        engine("e0", "a", gpu=2),
        engine("e1", "b", gpu=2),
        pod("big", gpu=4, priority=100, owner="ReplicaSet/big"),
        *more,
    ]


def accepted(objects: list[Json], made: PackingPlan) -> bool:
    verdict = check(objects, made.to_object(), budgets_known=False)
    assert not verdict.violations
    return verdict.accepted


def violations(objects: list[Json], made: Json) -> set[str]:
    found = check(objects, made, budgets_known=True).violations
    return {each.rule for each in found}


@pytest.mark.parametrize("status", [SPARE, FULL, {}])
def test_an_engine_is_moved_where_its_pool_can_spare_it(status: Json) -> None:
    objects = stuck(pool(status=status))
    made = planned(objects)
    assert [move.name for move in made.spec.moves] in (["e0"], ["e1"])
    assert made.spec.cost == 1 + (0 if status is SPARE else MOST_WORK)
    assert accepted(objects, made)


@pytest.mark.parametrize(
    "why", [drain("e2"), engine("e2", "b", gpu=0, ready=False)], ids=["draining", "not ready"]
)
def test_no_engine_is_moved_while_another_is_away(why: Json) -> None:
    third = [] if why["kind"] == "Pod" else [engine("e2", "b", gpu=0)]
    objects = stuck(pool(), *third, why)
    assert not planned(objects).spec.moves
    swapped = plan(objects, step([objects[2]], [(objects[2], "b")]))
    assert Rule.ENGINE_NEEDED in violations(objects, swapped)


def test_the_last_instance_stays() -> None:
    objects = [each for each in stuck(pool()) if each["metadata"]["name"] != "e1"]
    objects.append(pod("other", "b", gpu=2, owner="Job/x"))
    assert not planned(objects).spec.moves
    assert Rule.ENGINE_NEEDED in violations(
        objects, plan(objects, step([objects[2]], [(objects[2], "b")]))
    )


def test_two_engines_of_a_pool_never_go_at_once_but_one_after_the_other() -> None:
    both = [
        beating(node("a")),
        node("b"),
        node("c"),
        node("d"),
        engine("e0", "a"),
        engine("e1", "b"),
    ]
    objects = [*both, pool()]
    e0, e1 = both[-2:]
    at_once = plan(objects, step([e0, e1], [(e0, "c"), (e1, "d")]))
    assert Rule.ENGINE_NEEDED in violations(objects, at_once)
    in_turn = plan(objects, step([e0], [(e0, "c")]), step([e1], [(e1, "d")]))
    assert Rule.ENGINE_NEEDED not in violations(objects, in_turn)
    gone = plan(objects, step([e0], []), step([e1], [(e1, "d")]))
    assert Rule.ENGINE_NEEDED in violations(objects, gone)


def test_engines_that_block_each_other_are_not_swapped() -> None:
    """Both would have to go down together."""
    objects = [
        beating(node("a", gpu=4)),
        beating(node("b", gpu=3)),
        engine("small", "a", gpu=2, owner="ReplicaSet/small"),
        engine("large", "b", gpu=3, owner="ReplicaSet/large"),
        pod("next", gpu=1, priority=100, owner="ReplicaSet/next", nodeSelector={"host": "b"}),
    ]
    assert planned(objects).spec.steps
    assert not planned([*objects, pool()]).spec.steps


@given(clusters(), st.sampled_from((SPARE, FULL)), st.booleans())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_the_checker_accepts_every_plan(objects: list[Json], status: Json, drains: bool) -> None:
    """Pods with the label app=a are engines, all Ready."""
    for item in objects:
        if item["kind"] == "Pod" and item["spec"].get("nodeName"):
            item["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    there = [*objects, pool(app="a", status=status), *([drain("run-0")] if drains else [])]
    assert accepted(there, planned(there, max_evictions=2))


def test_an_engine_loses_no_work_however_long_it_has_run() -> None:
    old = engine("e0", "a", gpu=8, owner="StatefulSet/llama", hours=900)
    there = [beating(node("a")), old]
    for objects, lost in ((there, MOST_WORK), ([*there, pool()], 0)):
        found = snapshot(objects)
        assert work_lost(found.pods[0], found) == lost


def test_people_are_told_that_engines_are_drained_first() -> None:
    found = snapshot(stuck(pool()))
    big = next(each for each in found.pods if each.name == "big")
    request = Request(found, effort=1)
    fix = plan_fix(plan_for(request, inline(clock), clock), big, tried=True)
    assert fix is not None
    assert "; LLM engines hand their requests over first: team-a/e" in fix.text


# Carried out


def drained(world: LiveWorld, over: str) -> None:
    """What the serving controller says of the drains that there are."""
    for item in world.objects:
        if item["kind"] == "InstanceDrain":
            status = drain(item["spec"]["podName"], over=over)["status"]
            item["status"] = status


def begin(world: LiveWorld, turn: Turn) -> None:
    for _, each in turn.drain:
        world.objects.append(drain(each.name, plan=world.plan.metadata.name))


def until_drain(world: LiveWorld) -> Turn:
    for _ in range(10):
        turn = world.turn()
        if turn.drain:
            return turn
    raise AssertionError(world.plan.status)


def test_an_engine_is_drained_then_evicted() -> None:
    world = LiveWorld(stuck(pool()), approved(planned(stuck(pool()))))
    turn = until_drain(world)
    [(found, victim)] = turn.drain
    assert (found.ref, victim.node) == ("team-a/llama", world.plan.spec.moves[0].from_)
    assert world.reason() == Reason.HANDING_OVER
    # Nobody made the drain: it is asked for again. Once there is one, it is waited for.
    assert world.turn().drain == turn.drain
    begin(world, turn)
    for _ in range(3):
        waiting = world.turn()
        assert not waiting.drain
        assert not waiting.evict
    drained(world, "Drained")
    assert not world.evicted
    world.run()
    assert world.evicted == [victim.uid]
    assert world.reason() == Reason.SUCCEEDED


def test_an_engine_with_requests_left_is_not_evicted() -> None:
    world = LiveWorld(stuck(pool()), approved(planned(stuck(pool()))))
    begin(world, until_drain(world))
    drained(world, "DeadlineOver")
    for _ in range(3):
        world.turn()
    assert closed(world.plan)
    assert world.reason("Stale") == Reason.ENGINE_BUSY
    assert not world.evicted


def test_a_pool_that_loses_an_instance_meanwhile_is_waited_for() -> None:
    world = LiveWorld(stuck(pool()), approved(planned(stuck(pool()))))
    begin(world, until_drain(world))
    drained(world, "Drained")
    victim = world.plan.spec.moves[0].name
    other = next(o for o in world.pods() if o["metadata"]["name"] in {"e0", "e1"} - {victim})
    other["status"]["conditions"][0]["status"] = "False"
    for _ in range(3):
        assert not world.turn().evict
    assert world.reason() == Reason.ENGINE_NEEDED
    other["status"]["conditions"][0]["status"] = "True"
    world.run()
    assert world.reason() == Reason.SUCCEEDED


def test_a_plan_that_is_paused_or_given_up_asks_for_no_drain() -> None:
    shut = Gate((Reason.SUSPENDED, "policy is suspended"))
    world = LiveWorld(stuck(pool()), approved(planned(stuck(pool()))))
    until_drain(world)
    for _ in range(3):
        assert not world.turn(shut).drain
    assert world.reason("Executing") == Reason.SUSPENDED


def test_what_is_no_engine_is_evicted_as_ever() -> None:
    plain: Any = stuck()
    world = LiveWorld(plain, approved(planned(plain)))
    world.run()
    assert not any(turn.drain for turn in world.turns)
    ask = Ask(world.plan, world.snapshot, world.now, Gate(), KEPT)
    assert not decide(ask).drain
