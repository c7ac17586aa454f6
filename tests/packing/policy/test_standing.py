"""Who may act: overlaps, who keeps room, conditions; and what is shown and kept afterwards.

Covered: that the acting policies share no node whatever there is, each way in which room can't be
kept, conditions and their times, plan objects, early outcomes, plans taken up after a crash, which
plans are deleted. Not covered: the API server's part (e2e/test_policies.py).
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.api import PackingPlan, PackingPolicy, Reason
from fairstow.packing.policy.enforcement import unenforced
from fairstow.packing.policy.overlap import overlaps
from fairstow.packing.policy.report import (
    Outcome,
    adopted,
    early,
    plan_object,
    policy_status,
    same,
)
from fairstow.packing.policy.retention import deletable
from fairstow.packing.policy.run import Skip
from fairstow.packing.policy.standing import Standing, conditions
from fairstow.packing.policy.triggers import Cause, Due
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import snapshot
from tests.packing.policy.objects import NOON, past, policy


@given(
    pools=st.dictionaries(
        st.sampled_from("pqrs"), st.frozensets(st.sampled_from("abcde")), max_size=4
    ),
    policies=st.lists(
        st.tuples(st.sampled_from("pqrs"), st.integers(0, 3), st.booleans()), max_size=6
    ),
)
def test_no_two_that_act_share_a_node(
    pools: dict[str, frozenset[str]], policies: list[tuple[str, int, bool]]
) -> None:
    made = [
        policy(f"policy-{i}", on=on, made=NOON + age, suspend=off)
        for i, (on, age, off) in enumerate(policies)
    ]
    barred = overlaps(made, pools)
    acting = {p.metadata.name: p for p in made if p.metadata.name not in barred}

    def nodes(each: PackingPolicy) -> frozenset[str]:
        return pools.get(each.spec.pool_ref.name, frozenset())

    for name, one in acting.items():
        for other in acting.values():
            assert one is other or not nodes(one) & nodes(other), name
            assert one is other or one.spec.pool_ref.name != other.spec.pool_ref.name
    by_name = {p.metadata.name: p for p in made}
    for name, older in barred.items():
        younger = by_name[name]
        assert older in acting
        assert (by_name[older].metadata.creation_timestamp or "", older) < (
            younger.metadata.creation_timestamp or "",
            name,
        )


TAINT = {"key": "gpu", "value": "", "effect": "NoSchedule"}
TOLERATES: Json = {"tolerations": [{"key": "gpu", "operator": "Exists"}]}
TAINTED = node("t", taints=[TAINT])


def said(*objects: Json, enforced: str = "fairstow") -> str:
    seen = snapshot(list(objects))
    pool_nodes = [n for n in seen.nodes if n.name != "outside"]
    return unenforced(seen, pool_nodes, frozenset(enforced.split()))


def test_room_is_kept_where_everybody_passes_the_filter() -> None:
    mine = pod("mine", "t", schedulerName="fairstow", **TOLERATES)
    waits = pod("waits", schedulerName="fairstow", **TOLERATES)
    daemon = pod("daemon", "t", owner="DaemonSet/d", **TOLERATES)
    elsewhere = pod("else", "outside", **TOLERATES)
    kept_out = pod("out")
    fine = [TAINTED, node("outside"), mine, waits, daemon, elsewhere, kept_out]
    assert said(*fine) == ""
    assert said(node("bare"), pod("any", "bare"), enforced="default-scheduler fairstow") == ""


@pytest.mark.parametrize(
    ("objects", "enforced", "why"),
    [
        ([TAINTED], "", "no scheduler has Fairstow's filter attached"),
        ([TAINTED, node("bare")], "fairstow", "bare has no NoSchedule taint"),
        ([TAINTED, pod("p", "t")], "fairstow", "pod team-a/p uses default-scheduler"),
        ([TAINTED, pod("p", **TOLERATES)], "fairstow", "pod team-a/p uses default-scheduler"),
        ([TAINTED, pod("p", "t", schedulerName="volcano")], "fairstow", "uses volcano"),
        (
            [node("t", taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])],
            "fairstow",
            "t has no NoSchedule taint",
        ),
    ],
)
def test_room_is_not_kept(objects: list[Json], enforced: str, why: str) -> None:
    assert why in said(*objects, enforced=enforced)


def shown(given_policy: PackingPolicy, standing: Standing, now: int = NOON) -> dict[str, Any]:
    return {c.type: (c.status, c.reason) for c in conditions(given_policy, standing, now)}


def test_conditions() -> None:
    fine = policy()
    assert shown(fine, Standing(True)) == {
        "Ready": ("True", "PolicyReady"),
        "PolicyOverlap": ("False", "PolicyReady"),
        "Held": ("False", "NotHeld"),
        "ReservationNotEnforced": ("False", "ReservationEnforced"),
    }
    assert shown(fine, Standing(False))["Ready"] == ("False", "PoolNotFound")
    overlapping = shown(fine, Standing(True, older="first"))
    assert overlapping["Ready"] == ("False", "PolicyOverlap")
    assert overlapping["PolicyOverlap"] == ("True", "PolicyOverlap")
    limited = shown(fine, Standing(True, held=(Reason.LIMIT_REACHED, "used up")))
    assert (limited["Held"], limited["Ready"][0]) == (("True", "LimitReached"), "True")
    best_effort = shown(fine, Standing(True, unenforced="why"))
    assert best_effort["ReservationNotEnforced"] == ("True", "ReservationNotEnforced")
    never = policy(maintenanceWindows=[{"start": "0 0 30 2 *", "duration": "1h"}])
    assert shown(never, Standing(True))["Ready"] == ("False", "ScheduleInvalid")
    assert not Standing(True).may_act(never)
    assert Standing(True).may_act(fine)


def test_a_status_says_nothing_new_while_nothing_changes() -> None:
    first = policy_status(policy(), Standing(True), NOON)
    again = policy().model_copy(update={"status": first})
    assert policy_status(again, Standing(True), NOON + 60) == first
    changed = policy_status(again, Standing(False), NOON + 60)
    times = {c.type: c.last_transition_time for c in changed.conditions}
    assert times["Ready"] == "2026-03-01T12:01:00Z"
    assert times["PolicyOverlap"] == "2026-03-01T12:00:00Z"


def test_a_run_is_shown_with_the_request_it_answers() -> None:
    asked = policy(annotations={"fairstow.dev/run-requested-at": "now"})
    status = policy_status(asked, Standing(True), NOON, Outcome(Reason.PLAN_CREATED, "m", "p-1"))
    assert status.last_run is not None
    assert (status.last_run.reason, status.last_run.time) == ("PlanCreated", "2026-03-01T12:00:00Z")
    assert (status.last_plan, status.last_handled_request) == ("p-1", "now")
    then = asked.model_copy(update={"status": status})
    none = policy_status(then, Standing(True), NOON + 9, Outcome(Reason.NO_BETTER_PLAN, "m"))
    assert none.last_plan == "p-1"


def test_who_asked_is_answered_before_the_planner_is() -> None:
    skip = Skip(Reason.PLAN_UNFINISHED, "plan p isn't finished")
    assert early(Due(frozenset({Cause.UNSCHEDULABLE}), None), skip) is None
    both = frozenset({Cause.UNSCHEDULABLE, Cause.REQUESTED})
    assert early(Due(both, None), skip) == Outcome(skip.reason, skip.message)


def test_a_plan_whose_maker_was_killed_is_taken_up() -> None:
    plan = past("plan-1", made=NOON - 10)
    found = adopted(policy(), [plan])
    assert found is not None
    assert (found.reason, found.plan) == (Reason.PLAN_CREATED, "plan-1")
    known = policy(status={"lastPlan": "plan-1"})
    later = policy(status={"lastRun": {"time": "2026-03-01T12:00:00Z", "reason": "X"}})
    assert adopted(known, [plan]) is None
    assert adopted(later, [plan]) is None
    assert adopted(policy(), []) is None


def test_the_object_of_a_plan() -> None:
    given_policy = policy(limits={"stepTimeout": "5m"})
    body = plan_object(past("plan-1", made=NOON), given_policy, "operator")
    parsed = PackingPlan.model_validate(body)
    assert (parsed.spec.policy, parsed.spec.step_timeout) == ("pack", "5m")
    assert parsed.spec.approval is not None
    assert parsed.spec.approval.by == "operator"
    assert body["metadata"]["labels"]["fairstow.dev/pool"] == "a100"
    assert body["metadata"]["ownerReferences"][0]["uid"] == "uid-pack"
    assert "approval" not in plan_object(past("plan-1", made=NOON), given_policy)["spec"]


def test_old_plans_are_deleted_that_nobody_reads_any_more() -> None:
    week = 7 * 86_400
    move = [("team", "a", "b")]
    stale = [past(f"s{i}", made=NOON - 5000 - i, ended=("Stale", NOON - 4000)) for i in range(25)]
    acted = past("acted", made=NOON - 9000, moves=move, done=1, ended=("Succeeded", NOON - 8000))
    aged = past("aged", made=NOON - week - 9000, moves=move, done=1,
                ended=("Succeeded", NOON - week))  # fmt: skip
    going = past("going", made=NOON - week - 9999, moves=move, done=0)
    persons = past("person", made=NOON - 9 * week, ended=("Stale", NOON - 9 * week))
    body = persons.to_object()
    del body["spec"]["policy"]
    plans = [*stale, acted, aged, going, PackingPlan.model_validate(body)]
    gone = {plan.metadata.name for plan in deletable(plans, NOON)}
    assert gone == {*(f"s{i}" for i in range(20, 25)), "aged"}
    assert deletable([acted, aged, going], NOON) == []


def test_a_plan_that_is_there_already_is_told_from_another_of_its_name() -> None:
    plan = past("plan-1", made=NOON, moves=[("team", "a", "b")])
    made = plan_object(plan, policy())
    there = json.loads(json.dumps(made))
    decided = there["spec"] | {"approval": {"decision": "Approved", "by": "jane"}}
    assert same(made, there)
    assert same(plan_object(plan, policy(), "operator"), there)
    assert same(made, there | {"spec": decided, "status": {"stepsDone": 1}})
    assert not same(made, there | {"spec": {k: v for k, v in decided.items() if k != "policy"}})
    other = plan_object(past("plan-1", made=NOON, moves=[("team", "a", "c")]), policy())
    assert not same(made, other)
