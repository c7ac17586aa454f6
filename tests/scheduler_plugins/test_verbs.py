"""What the scheduler is answered, given a cluster and plans: filter, prioritize, preempt.

Covered: pass-through without plans, also byte by byte; room kept from others, CPU alone too;
steering, one pod per hold, also while the watch lags; two competitors in a row; gangs; the
operator's death; expiry; vetoes; scores; bodies that aren't the scheduler's. Not covered: the rule
who may take what case by case (tests/packing/test_reservations.py), the wire (test_protocol.py),
real schedulers (e2e/test_extender.py).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cluster.kinds import NODE, POD
from scheduler_plugins.index import LEASE, PLAN, POLICY, Index
from scheduler_plugins.plugins.reserve import GRACE_SECONDS
from scheduler_plugins.plugins.steer import EXPIRY_SECONDS, PATIENCE_SECONDS, SAMPLE
from scheduler_plugins.protocol import BadRequestError
from scheduler_plugins.verbs import Verbs
from tests.cluster.objects import GPU, Object, node, pod
from tests.scheduler_plugins.plans import Arrival, Plan, lease, policy

OPERATOR = "fairstow-system/fairstow-operator"
LATER = "2026-01-01T00:00:10Z"
EPOCH = 1767225600.0
"""When the Lease of `plans.lease` was renewed, in seconds."""
NODES = ["a", "b", "c"]
WHOLE = {"cpu": "8", GPU: "4"}
"""All there is on a node."""


class World:
    """An extender with three nodes, its operator alive, and a clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.index = Index(OPERATOR, clock=lambda: self.now, wall=lambda: EPOCH)
        self.verbs = Verbs(self.index)
        self.handlers = self.verbs.handlers
        for name in NODES:
            self.index.live.upsert(NODE, node(name))
        self.index.operator.upsert(LEASE, lease())

    def call(self, verb: str, content: Object) -> Any:
        return json.loads(self.handlers[b"/" + verb.encode()](json.dumps(content).encode()))

    def filter(self, wanted: Object, nodes: list[str] | None = None) -> list[str]:
        answer = self.call("filter", {"Pod": wanted, "NodeNames": nodes or NODES})
        names: list[str] = answer["NodeNames"]
        assert {*names, *answer["FailedAndUnresolvableNodes"]} == {*(nodes or NODES)}
        return names

    def bind(self, wanted: Object, where: str) -> None:
        bound = wanted | {"spec": wanted["spec"] | {"nodeName": where}}
        self.index.live.upsert(POD, bound)

    def enforce(self, *steps: tuple[Arrival, ...], **more: Any) -> Plan:
        plan = Plan("plan-1", steps, **more)
        self.index.plans.upsert(PLAN, plan.to_object())
        return plan


@pytest.fixture
def world() -> World:
    return World()


def placed(name: str = "big", where: str = "a", requests: dict[str, str] = WHOLE) -> Arrival:
    return Arrival("team", name, f"uid-team-{name}", where, requests, "ReplicaSet/big")


def of_big(name: str, requests: dict[str, str] = WHOLE) -> Object:
    return pod(name, requests=requests, owner=("ReplicaSet", "big"))


def other(name: str = "other", **requests: str) -> Object:
    return pod(name, requests=requests or {"cpu": "1"}, owner=("ReplicaSet", "other"))


# Without plans


@given(st.lists(st.text("abc-.", min_size=1), max_size=5))
def test_without_plans_every_node_passes(names: list[str]) -> None:
    world = World()
    answer = world.call("filter", {"Pod": other(), "NodeNames": names})
    assert answer["NodeNames"] == names
    assert not answer["FailedNodes"]
    assert not answer["Error"]


# Reserve


def test_kept_room_is_kept_from_others_and_from_those_who_want_no_gpu(world: World) -> None:
    world.enforce((placed(),))
    assert world.filter(other("gpu", **{GPU: "1"})) == ["b", "c"]
    assert world.filter(other("cpu", cpu="1")) == ["b", "c"]


def test_what_is_over_is_for_all(world: World) -> None:
    world.enforce((placed(requests={"cpu": "2", GPU: "4"}),))
    assert world.filter(other("cpu", cpu="6")) == ["a", "b", "c"]
    assert world.filter(other("cpu", cpu="7")) == ["b", "c"]


def test_refusals_say_why_and_are_counted(world: World) -> None:
    world.enforce((placed(),))
    answer = world.call("filter", {"Pod": other(), "NodeNames": NODES})
    assert answer["FailedAndUnresolvableNodes"] == {"a": "its free room is kept for plan plan-1"}


def test_two_competitors_in_a_row_cannot_both_have_what_is_over(world: World) -> None:
    world.enforce((placed(requests={"cpu": "4", GPU: "4"}),))
    first, second = other("first", cpu="4"), other("second", cpu="4")
    assert world.filter(first, ["a"]) == ["a"]
    assert world.filter(second, ["a"]) == []  # the first may be on its way there
    world.bind(first, "b")
    assert world.filter(second, ["a"]) == ["a"]


def test_a_pod_that_is_asked_about_again_did_not_bind(world: World) -> None:
    world.enforce((placed(requests={"cpu": "4", GPU: "4"}),))
    assert world.filter(other("first", cpu="4"), ["a"]) == ["a"]
    assert world.filter(other("first", cpu="4"), ["a"]) == ["a"]


def test_of_a_pod_that_nothing_is_heard_of_nothing_is_assumed_for_long(world: World) -> None:
    world.enforce((placed(requests={"cpu": "4", GPU: "4"}),))
    world.filter(other("first", cpu="4"), ["a"])
    world.now += EXPIRY_SECONDS - 1
    assert world.filter(other("second", cpu="4"), ["a"]) == []
    world.now += 2
    assert world.filter(other("second", cpu="4"), ["a"]) == ["a"]


def test_a_deleted_pod_is_not_on_its_way(world: World) -> None:
    world.enforce((placed(requests={"cpu": "4", GPU: "4"}),))
    first = other("first", cpu="4")
    world.index.live.upsert(POD, first)
    world.filter(first, ["a"])
    world.index.live.delete(POD, first)
    assert world.filter(other("second", cpu="4"), ["a"]) == ["a"]


def test_with_the_operator_dead_nothing_is_kept(world: World) -> None:
    world.enforce((placed(),))
    world.now += 15 + GRACE_SECONDS
    assert world.filter(other()) == ["b", "c"]
    world.now += 1
    assert world.filter(other()) == NODES
    world.index.operator.upsert(LEASE, lease(renewed=LATER))
    assert world.filter(other()) == ["b", "c"]


def test_an_operator_that_died_before_we_started_is_dead(world: World) -> None:
    world.enforce((placed(),))
    world.index.operator.delete(LEASE, lease())
    world.index.operator.upsert(LEASE, lease(renewed="2025-12-31T23:00:00Z"))
    assert world.filter(other()) == NODES


def test_a_plan_that_is_over_keeps_nothing(world: World) -> None:
    plan = world.enforce((placed(),))
    world.index.plans.upsert(PLAN, plan.to_object() | {"status": plan.status(executing=False)})
    assert world.filter(other()) == NODES


def test_a_plan_that_cannot_be_read_keeps_nothing_and_is_not_acknowledged(world: World) -> None:
    plan = world.enforce((placed(),)).to_object()
    assert [*world.index.enforced] == ["uid-of-the-plan@2026-01-01T00:00:00Z"]
    plan["spec"]["steps"] = "nonsense"
    world.index.plans.upsert(PLAN, plan)
    assert not world.index.enforced
    assert world.filter(other()) == NODES


# Steer


def test_a_beneficiary_goes_to_its_node(world: World) -> None:
    world.enforce((placed(where="b"),))
    assert world.filter(of_big("big")) == ["b"]


def test_each_hold_takes_one_pod(world: World) -> None:
    world.enforce((placed("one", "a"), placed("two", "b")))
    first, second, third = of_big("x"), of_big("y"), of_big("z")
    assert [world.filter(first), world.filter(second)] == [["a"], ["b"]]
    assert world.filter(third) == ["c"]
    world.bind(first, "a")  # the watch catches up
    assert world.filter(third) == ["c"]
    assert world.filter(second) == ["b"]  # asked again, so it still has its hold


def test_two_holds_on_one_node_take_two_pods(world: World) -> None:
    half = {"cpu": "4", GPU: "2"}
    world.enforce((placed("one", "a", half), placed("two", "a", half)))
    assert world.filter(of_big("x", half)) == ["a"]
    assert world.filter(of_big("y", half)) == ["a"]
    assert world.filter(of_big("z", half)) == ["b", "c"]


def test_a_bare_pod_is_known_by_its_name(world: World) -> None:
    world.enforce((Arrival("team", "bare", "uid-team-bare", "c", WHOLE),))
    assert world.filter(pod("bare", requests=WHOLE, owner=None)) == ["c"]
    assert world.filter(pod("bore", requests=WHOLE, owner=None)) == ["a", "b"]


def test_a_pod_nominated_to_its_node_does_not_stand_in_its_own_way(world: World) -> None:
    world.enforce((placed(where="b"),))
    hinted = of_big("big") | {"status": {"nominatedNodeName": "b"}}
    world.index.live.upsert(POD, hinted)
    assert world.filter(hinted) == ["b"]
    assert world.filter(other()) == ["a", "c"]


def member(name: str) -> Object:
    labels = {"scheduling.x-k8s.io/pod-group": "ring"}
    return pod(name, requests=WHOLE, owner=("ReplicaSet", "big"), labels=labels)


def test_a_gang_waits_until_there_is_room_for_all_of_it(world: World) -> None:
    in_the_way = other("old", cpu="1")
    world.bind(in_the_way, "b")
    members = [member("m0"), member("m1")]
    for each in members:
        world.index.live.upsert(POD, each)
    world.enforce((placed("m0", "a"), placed("m1", "b")))
    assert world.filter(members[0]) == []
    assert world.filter(members[1]) == []
    world.index.live.delete(POD, in_the_way)
    assert world.filter(members[0]) == ["a"]
    assert world.filter(members[1]) == ["b"]


def test_a_pod_whose_node_the_scheduler_did_not_look_at_waits_for_its_turn(world: World) -> None:
    looked_at = [f"n{i}" for i in range(SAMPLE)]
    for name in looked_at:
        world.index.live.upsert(NODE, node(name))
    world.enforce((placed(where="b"),))
    assert world.filter(of_big("big"), looked_at) == []
    assert world.filter(of_big("big"), [*looked_at[1:], "b"]) == ["b"]
    assert world.filter(other(), looked_at) == looked_at
    # With fewer, all have been looked at: its node isn't feasible.
    assert world.filter(of_big("big"), looked_at[1:]) == looked_at[1:]
    world.now += PATIENCE_SECONDS
    assert world.filter(of_big("big"), looked_at) == looked_at


def test_a_pod_is_not_held_back_for_a_node_without_room(world: World) -> None:
    looked_at = [f"n{i}" for i in range(SAMPLE)]
    for name in looked_at:
        world.index.live.upsert(NODE, node(name))
    world.bind(other("old", cpu="1"), "b")
    world.enforce((placed(where="b"),))
    assert world.filter(of_big("big"), looked_at) == looked_at


# Prioritize


def scores(world: World, wanted: Object) -> dict[str, int]:
    answer = world.call("prioritize", {"Pod": wanted, "NodeNames": NODES})
    return {each["Host"]: each["Score"] for each in answer}


def test_without_typical_pods_no_node_is_better(world: World) -> None:
    assert scores(world, other(**{GPU: "1"})) == {}


def test_a_small_pod_goes_where_it_breaks_no_hole_that_large_ones_need(world: World) -> None:
    for i in range(3):
        world.index.live.upsert(POD, of_big(f"wait-{i}"))
    world.bind(other("small", cpu="1", **{GPU: "1"}), "b")
    world.index.rooms.learn()
    assert scores(world, other("new", cpu="1", **{GPU: "1"})) == {"b": 10}


# Preempt

VICTIMS = {"a": {"Pods": [{"UID": "uid-team-old"}], "NumPDBViolations": 0}}


def preempting(world: World, wanted: Object) -> Any:
    return world.call("preempt", {"Pod": wanted, "NodeNameToMetaVictims": VICTIMS})[
        "NodeNameToMetaVictims"
    ]


def test_only_the_pod_that_an_automatic_plan_serves_may_not_preempt(world: World) -> None:
    world.enforce((placed(),), policy="gpu")
    world.index.policies.upsert(POLICY, policy("gpu", "Auto"))
    assert preempting(world, of_big("big")) == {}
    assert preempting(world, other()) == VICTIMS


@pytest.mark.parametrize(
    ("by", "mode", "suspend"),
    [("gpu", "Recommend", False), ("gpu", "Auto", True), ("", "Auto", False), ("x", "Auto", False)],
)
def test_there_is_no_veto_but_in_mode_auto(world: World, by: str, mode: str, suspend: bool) -> None:
    world.enforce((placed(),), policy=by)
    world.index.policies.upsert(POLICY, policy("gpu", mode, suspend=suspend))
    assert preempting(world, of_big("big")) == VICTIMS


def test_there_is_no_veto_with_the_operator_dead(world: World) -> None:
    world.enforce((placed(),), policy="gpu")
    world.index.policies.upsert(POLICY, policy("gpu", "Auto"))
    world.now += 15 + GRACE_SECONDS + 1
    assert preempting(world, of_big("big")) == VICTIMS


# What isn't the scheduler's

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["Pod", "NodeNames", "metadata", "spec", "uid", "name", "x"]), inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("verb", ["filter", "prioritize", "preempt"])
@given(body=ANY.map(json.dumps).map(str.encode) | st.binary(max_size=30))
def test_what_is_not_the_schedulers_is_refused_with_a_sentence(verb: str, body: bytes) -> None:
    world = World()
    world.enforce((placed(),), policy="gpu")
    world.index.policies.upsert(POLICY, policy("gpu", "Auto"))
    world.index.live.upsert(POD, of_big("big"))
    world.index.rooms.learn()
    with pytest.raises(BadRequestError, match=r"The body isn't what kube-scheduler sends"):
        world.handlers[b"/" + verb.encode()](body)


def test_a_body_nested_too_deep_is_refused(world: World) -> None:
    deep = b'{"Pod":' * 100_000
    with pytest.raises(BadRequestError):
        world.handlers[b"/filter"](deep)
