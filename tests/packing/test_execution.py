"""Carrying a plan out, turn by turn, in a small cluster that lives (`live_world`).

Covered: every plan of the planner succeeds where nobody interferes, whatever node the scheduler
prefers; nothing is evicted without approval, window, reservations or against a budget; crashes
between any two turns; pauses; what makes a plan stale; competitors for reserved room; pods that
come back elsewhere or not at all. Not covered: the API server (e2e/execution).
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fairstow.api import Approval, PackingPlan, Reason
from fairstow.api.plan_parts import PLAN_MAX_ENTRIES, Abort
from fairstow.cluster.model import Pod
from fairstow.packing.execution.progress import known
from fairstow.packing.execution.turn import Ask, Enforcement, Gate, decide
from fairstow.packing.history import closed
from fairstow.packing.model import Request
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide as plan_for
from fairstow.packing.planner import inline
from fairstow.packing.reservations import (
    Hold,
    PlanHolds,
    Reservations,
    SnapshotWorld,
    Verdict,
    World,
    arrived,
    holds_of,
)
from tests.packing.checker_clusters import Json, beating, budget, node, pod
from tests.packing.clusters import clusters, snapshot
from tests.packing.live_world import KEPT, OPEN, LiveWorld

SOME = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def clock() -> float:
    return 0.0


def planned(objects: list[Json], **limits: int) -> PackingPlan:
    request = Request(snapshot(objects), effort=1, **limits)  # type: ignore[arg-type]
    return to_plan(plan_for(request, inline(clock), clock, 1))


def approved(plan: PackingPlan) -> PackingPlan:
    approval = Approval(decision="Approved", by="jane")
    spec = plan.spec.model_copy(update={"approval": approval, "budgets": "Known"})
    return plan.model_copy(update={"spec": spec})


def stuck() -> list[Json]:
    """Two nodes of 4 with 2 free each, and a pod that wants 4."""
    return [
        beating(node("a", gpu=4)),
        beating(node("b", gpu=4)),
        pod("one", "a", gpu=2),
        pod("two", "b", gpu=2),
        pod("big", gpu=4, priority=100, owner="ReplicaSet/big"),
    ]


def swap() -> list[Json]:
    """Two full nodes: only if the two change places is there room for a third."""
    return [
        beating(node("a", gpu=4)),
        beating(node("b", gpu=3)),
        pod("small", "a", gpu=2, owner="ReplicaSet/small"),
        pod("large", "b", gpu=3, owner="ReplicaSet/large"),
        pod("next", gpu=1, priority=100, owner="ReplicaSet/next", nodeSelector={"host": "b"}),
    ]


@given(clusters(), st.randoms(use_true_random=False))
@SOME
def test_every_plan_succeeds_where_nobody_interferes(objects: list[Json], dice) -> None:  # type: ignore[no-untyped-def]
    for item in objects:  # pods of one workload are alike
        if item["kind"] == "Pod" and (owners := item["metadata"]["ownerReferences"]):
            kind = sorted(item["spec"].get("nodeSelector", {}).values()), item["spec"]["priority"]
            owners[0]["name"] = f"web-{kind[1]}-{''.join(kind[0])}"
    plan = planned(objects, max_evictions=2)
    assume(plan.spec.steps)
    world = LiveWorld(objects, approved(plan), dice.choice)
    world.run()
    assert world.reason() == Reason.SUCCEEDED, world.plan.status
    asked = {m.uid for m in plan.spec.moves} | {e.uid for e in plan.spec.evictions}
    assert set(world.evicted) == asked
    assert len(world.evicted) == len(asked)
    running = {p["metadata"]["uid"] for p in world.pods() if "nodeName" in p["spec"]}
    assert {entry.uid for entry in plan.spec.placements} <= running


def test_a_crash_between_any_two_turns_changes_nothing() -> None:
    """The state machine has no memory of its own: each turn of this world is a new operator's."""
    world = LiveWorld(stuck(), approved(planned(stuck())))
    seen = []
    for _ in range(40):
        ask = Ask(world.plan, world.snapshot, world.now, OPEN, KEPT)
        first, second = decide(ask), decide(ask)
        assert first == second
        seen.append(first)
        world.turn()
        world.terminate()
        world.schedule()
    assert world.evicted == ["uid-team-a-one"]
    assert world.reason() == Reason.SUCCEEDED
    assert any(turn.evict for turn in seen)


def test_a_turn_on_an_unchanged_world_changes_nothing() -> None:
    world = LiveWorld(stuck(), approved(planned(stuck())))
    unkept = Enforcement(expected=True, missing=("extender-0",))
    turns = [world.turn(enforcement=unkept) for _ in range(10)]
    assert turns[-1].settled
    assert not turns[-1].evict
    assert not world.evicted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("unapproved", Reason.WAITING_FOR_APPROVAL),
        ("shut", Reason.SUSPENDED),
        ("unkept", Reason.RESERVING),
        ("rejected", Reason.REJECTED),
        ("aborted", Reason.ABORTED),
    ],
)
def test_nothing_is_evicted_unless_everybody_agrees(change: str, reason: Reason) -> None:
    plan = approved(planned(stuck()))
    spec, gate, enforcement = plan.spec, OPEN, KEPT
    if change == "unapproved":
        spec = spec.model_copy(update={"approval": None})
    if change == "rejected":
        spec = spec.model_copy(update={"approval": Approval(decision="Rejected", by="jane")})
    if change == "aborted":
        spec = spec.model_copy(update={"abort": Abort(by="jane")})
    if change == "shut":
        gate = Gate((Reason.SUSPENDED, "suspended"))
    if change == "unkept":
        enforcement = Enforcement(expected=True, missing=("extender-1",))
    world = LiveWorld(stuck(), plan.model_copy(update={"spec": spec}))
    for _ in range(6):
        world.turn(gate, enforcement)
        world.now += 10
    assert not world.evicted
    assert world.reason() == reason


def test_without_an_extender_it_is_best_effort() -> None:
    world = LiveWorld(stuck(), approved(planned(stuck())))
    for _ in range(4):
        world.turn(enforcement=Enforcement(expected=False))
    assert world.evicted
    assert world.reason("Reserved") == Reason.BEST_EFFORT


def test_a_budget_that_allows_nothing_now_is_waited_for() -> None:
    objects = stuck()
    objects[2]["metadata"]["labels"] = objects[3]["metadata"]["labels"] = {"app": "x"}
    plan = approved(planned([*objects, budget("x", {"app": "x"}, 1)]))
    world = LiveWorld([*objects, budget("x", {"app": "x"}, 0)], plan)
    for _ in range(5):
        world.turn()
    assert world.reason() == Reason.BUDGET_EXHAUSTED
    assert not world.evicted
    world.objects[-1]["status"]["disruptionsAllowed"] = 1
    world.run()
    assert world.reason() == Reason.SUCCEEDED


def test_a_step_that_takes_too_long_ends_the_plan() -> None:
    world = LiveWorld(stuck(), approved(planned(stuck())))
    for _ in range(4):
        world.turn()
    assert world.evicted  # it never ends terminating
    world.now += 601
    world.turn()
    assert world.reason("Stale") == Reason.STEP_TIMED_OUT
    assert "still terminating" in str(world.plan.status)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (("node", "b"), None, Reason.NODE_GONE),
        (("pod", "big"), None, Reason.POD_GONE),
        (("pod", "one"), None, Reason.POD_GONE),
        (("cordon", "b"), None, Reason.NODE_CHANGED),
        (("protect", "one"), None, Reason.POD_PROTECTED),
        (("fill", "b"), None, Reason.NODE_CHANGED),
    ],
)
def test_what_makes_a_plan_stale(field: tuple[str, str], value: None, reason: Reason) -> None:
    world = LiveWorld(stuck(), approved(planned(stuck())))
    kind, name = field
    named = {o["metadata"]["name"]: o for o in world.objects}
    moved = world.plan.spec.moves[0]
    if name == "one":
        name = moved.name
    if name == "b":
        name = moved.to
    if kind == "node":
        world.objects = [
            o
            for o in world.objects
            if o["metadata"]["name"] != name and o["spec"].get("nodeName") != name
        ]
    if kind == "pod":
        world.objects.remove(named[name])
    if kind == "cordon":
        named[name]["spec"]["unschedulable"] = True
    if kind == "protect":
        named[name]["metadata"]["annotations"]["fairstow.dev/do-not-disrupt"] = "true"
    if kind == "fill":
        world.objects.append(pod("thief", name, gpu=1, owner="ReplicaSet/thief"))
    world.turn()
    assert world.reason("Stale") == reason
    assert world.reason("Validated") == reason
    assert not world.evicted


def test_changes_elsewhere_do_not_matter() -> None:
    objects = [*stuck(), beating(node("c")), pod("far", "c", owner="ReplicaSet/far")]
    objects[4]["spec"]["nodeSelector"] = {"host": "a"}
    plan = approved(planned(objects))
    world = LiveWorld([*objects, pod("new", "c", gpu=2, owner="ReplicaSet/new")], plan)
    world.run()
    assert world.reason() == Reason.SUCCEEDED


def test_nobody_steals_reserved_room() -> None:
    """Competitors of one GPU arrive at every moment; all of them wait or go elsewhere."""
    world = LiveWorld(stuck(), approved(planned(stuck())))
    for index in range(60):
        if closed(world.plan):
            break
        world.objects.insert(0, pod(f"thief-{index}", gpu=1, owner="ReplicaSet/thief"))
        world.turn()
        world.schedule()
        world.terminate()
        world.schedule()
        if index == 0:  # before the plan reserved, they could take what they liked
            taken = [o for o in world.pods() if o["metadata"]["name"].startswith("thief")]
            world.objects = [o for o in world.objects if o not in taken]
        world.now += 5
    assert world.reason() == Reason.SUCCEEDED


def test_without_reservations_they_would_steal_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(_self: Reservations, _pod: Pod, nodes: list[str], _world: World) -> Verdict:
        return Verdict(nodes)

    monkeypatch.setattr(Reservations, "verdict", everything)
    with pytest.raises(AssertionError):
        test_nobody_steals_reserved_room()


def test_a_swap_of_two_full_nodes() -> None:
    plan = approved(planned(swap()))
    assert max(len(step.evict) for step in plan.spec.steps) == 2
    world = LiveWorld(swap(), plan)
    world.run()
    assert world.reason() == Reason.SUCCEEDED


def test_a_pause_keeps_no_room_and_ends_between_steps() -> None:
    world = LiveWorld(stuck(), approved(planned(stuck())))
    world.turn()
    assert world.reason("Executing") == Reason.EXECUTING
    shut = Gate((Reason.SUSPENDED, "suspended"))
    world.turn(shut)
    assert world.plan.status is not None
    assert world.plan.status.step is None
    assert world.reason("Executing") == Reason.SUSPENDED
    world.run()
    assert world.reason() == Reason.SUCCEEDED


def test_a_step_under_way_is_finished_before_a_pause() -> None:
    world = LiveWorld(stuck(), approved(planned(stuck())))
    for _ in range(4):
        world.turn()
    assert len(world.evicted) == 1
    shut = Gate((Reason.SUSPENDED, "suspended"))
    world.turn(shut)
    assert world.reason("Executing") == Reason.EXECUTING
    world.terminate()
    world.schedule()
    world.turn(shut)
    assert world.reason("Executing") == Reason.SUSPENDED
    assert world.reason("Reserved") == Reason.SUSPENDED
    assert world.plan.status is not None
    assert world.plan.status.steps_done == 1


def test_no_pause_while_an_eviction_may_not_be_seen_yet() -> None:
    """Its room would be released, and its pod's absence make the plan stale."""
    world = LiveWorld(stuck(), approved(planned(stuck())))
    behind = world.snapshot
    while not world.turn().evict:
        assert len(world.turns) < 9
    plan = world.plan
    shut, uid = Gate((Reason.SUSPENDED, "suspended")), world.evicted[0]
    asked = Ask(plan, behind, world.now, shut, KEPT, None, frozenset([uid]))
    assert decide(asked).settled
    assert not decide(asked).evict
    assert not decide(replace(asked, gate=OPEN)).evict, "once is enough for a while"
    paused = decide(replace(asked, asked=frozenset()))
    assert paused.status.step is None


def test_a_replacement_that_never_comes_is_not_waited_for_long() -> None:
    world = LiveWorld(stuck(), approved(planned(stuck())))
    for _ in range(4):
        world.turn()
    world.terminate()
    world.objects = [o for o in world.objects if not o["metadata"]["name"].startswith("again")]
    for _ in range(3):
        world.turn()
        world.now += 5
    assert world.plan.status is not None
    assert world.plan.status.steps_done == 0
    world.now += 15
    world.run()
    assert world.reason() == Reason.SUCCEEDED


def test_a_replacement_that_asks_for_something_else_ends_the_plan() -> None:
    """The workload was changed meanwhile: nobody else is evicted for a plan that didn't know."""
    world = LiveWorld(stuck(), approved(planned(stuck())))
    for _ in range(4):
        world.turn()
    world.terminate()
    again = next(o for o in world.objects if o["metadata"]["name"].startswith("again"))
    again["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = "3"
    world.run()
    assert world.reason() == Reason.POD_CHANGED
    assert len(world.evicted) == 1


def test_a_replacement_is_given_time_after_its_pod_is_gone() -> None:
    """A StatefulSet recreates its pod only once that is gone: long terminating isn't quiet."""
    world = LiveWorld(stuck(), approved(planned(stuck())))
    for _ in range(4):
        world.turn()
    world.objects = [o for o in world.objects if not o["metadata"]["name"].startswith("again")]
    for _ in range(10):
        world.turn()
        world.now += 5
    world.terminate()
    world.turn()
    assert world.plan.status is not None
    assert world.plan.status.steps_done == 0


def test_progress_is_judged_by_pods_that_are_new() -> None:
    """A pod of the same workload that was on the target node before isn't the moved one."""
    objects = [
        beating(node("a", gpu=4)), beating(node("b", gpu=5)),
        pod("one", "a", gpu=2), pod("two", "b", gpu=2), pod("old", "b", gpu=1),
        pod("big", gpu=4, priority=100, owner="ReplicaSet/big", nodeSelector={"host": "a"}),
    ]  # fmt: skip
    plan = approved(planned(objects))
    world = LiveWorld(objects, plan)
    for _ in range(4):
        world.turn()
    world.terminate()
    turn = world.turn()
    assert world.plan.status is not None
    assert world.plan.status.steps_done == 0
    assert turn.progress is not None
    assert len(turn.progress.awaited) == 1


def test_holds_are_those_of_steps_not_done() -> None:
    plan = planned(stuck())
    assert [hold.node for hold in holds_of(plan).holds] == [
        bind.node for step in plan.spec.steps for bind in step.bind
    ]
    world = LiveWorld(stuck(), approved(plan))
    world.run()
    kept = holds_of(world.plan)
    assert not kept.holds
    room = Reservations([kept]).available("a", SnapshotWorld(world.snapshot))
    assert room == SnapshotWorld(world.snapshot).free("a")


def test_a_step_too_large_for_the_status_ends_the_plan_before_it_begins() -> None:
    """Every pod of a workload that is on a step's node already has to be told from who arrives."""
    many = PLAN_MAX_ENTRIES + 1
    objects = [
        beating(node("a", gpu=4)), beating(node("b", gpu=3, cpu="9000", pods=2 * many)),
        pod("one", "a", gpu=2), pod("big", gpu=4, priority=100, owner="ReplicaSet/big"),
    ]  # fmt: skip
    plan = approved(planned(objects))
    assert [move.to for move in plan.spec.moves] == ["b"]
    crowd = [pod(f"old-{i}", "b", gpu=0) for i in range(many)]
    world = LiveWorld([*objects, *crowd], plan)
    world.turn()
    assert world.reason("Stale") == Reason.STEP_TOO_LARGE
    assert f"have {many} on its nodes" in str(world.plan.status)
    assert not world.reason("Executing")
    assert world.plan.status is not None
    assert world.plan.status.started_at is None, "it counts as never begun"


def test_arrivals_are_counted_in_linear_time() -> None:
    """The extender does it for each pod of a workload, of which a plan may move 2,000."""
    node_count = 50
    objects = [beating(node(f"n{i}", gpu=4)) for i in range(node_count)]
    objects += [pod(f"p{i}", f"n{i}", gpu=2) for i in range(node_count)]
    there = SnapshotWorld(snapshot(objects))
    looked = 0

    class Counting(SnapshotWorld):
        def pods_of(self, beneficiary: str) -> list[Pod]:
            nonlocal looked
            found = list(there.pods_of(beneficiary))
            looked += len(found)
            return found

    first = next(iter(snapshot(objects).pods))
    holds = tuple(
        Hold(f"n{i}", first.workload, first.shape.requests, 0, f"gone-{i}")
        for i in range(node_count)
    )
    plan = PlanHolds("uid", "plan", 0, frozenset(), holds, {})
    world = Counting(snapshot(objects))
    assert len(arrived(plan, world)[0]) == len(known(plan, world)) == node_count
    assert looked == 2 * node_count
