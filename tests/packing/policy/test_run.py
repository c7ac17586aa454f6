"""What a run asks the planner, and what becomes of its answer.

Covered: every reason for not making a plan, each with the cluster that gives it; that plans keep to
the pool, its limits and what may be tried; narrower questions. The planner is the real one. Not
covered: search quality (tests/packing), triggers and statuses (beside this).
"""

from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.api import PackingPlan, PackingPolicy, Reason
from fairstow.cluster.times import written
from fairstow.packing.planner import decide, inline
from fairstow.packing.policy.pool_status import survey
from fairstow.packing.policy.run import Case, Found, Question, Skip, Verdict, answer, ask
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import clusters, snapshot
from tests.packing.policy.objects import NOON, past, policy, pool

LABELS: Json = {"nodeSelector": {"matchLabels": {"pool": "a100"}}}


def in_pool(item: Json) -> Json:
    item["metadata"]["labels"]["pool"] = "a100"
    return item


def waits(item: Json, since: int = NOON - 600) -> Json:
    """A pod that the scheduler couldn't place."""
    item["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/2 nodes are available",
            "lastTransitionTime": written(since),
        }
    ]
    return item


NODES = [in_pool(node("a", gpu=4)), in_pool(node("b", gpu=4))]
SMALL = [pod(f"small-{i}", on, gpu=2, owner=f"ReplicaSet/s{i}") for i, on in enumerate("ab")]
BIG = waits(pod("big", gpu=4, owner="ReplicaSet/big", namespace="team-b"))
STUCK = [*NODES, *SMALL, BIG]


def case(
    objects: list[Json], *plans: PackingPlan, by: PackingPolicy | None = None, now: int = NOON
) -> Case:
    seen = snapshot(objects)
    return Case(by or policy(), survey(pool(**LABELS), seen), seen, plans, now)


def run(given_case: Case) -> Verdict:
    asked: Verdict | Question = ask(given_case)
    while isinstance(asked, Question):
        request = replace(asked.request, effort=1)
        asked = answer(given_case, asked, decide(request, inline(monotonic), monotonic))
    return asked


def skipped(objects: list[Json], *plans: PackingPlan, **spec: Any) -> Skip:
    verdict = run(case(objects, *plans, by=policy(**spec)))
    assert isinstance(verdict, Skip), verdict
    return verdict


def test_a_stuck_pod_gets_a_plan() -> None:
    verdict = run(case(STUCK))
    assert isinstance(verdict, Found)
    spec = verdict.plan.spec
    assert ([p.name for p in spec.placements], len(spec.moves)) == (["big"], 1)
    assert (spec.pool, spec.budgets) == ("a100", "Unknown")
    assert verdict.message.endswith("places 1 pod with 1 move and 0 evictions")


def test_suspended() -> None:
    assert skipped(STUCK, suspend=True).reason is Reason.SUSPENDED


@pytest.mark.parametrize(
    "plan",
    [
        past("p", made=NOON - 60, placed=[("x", "elsewhere")]),
        past("p", made=NOON - 60, done=0, placed=[("x", "a")], by="other", pool="other",
             approval="Approved"),
    ],
)  # fmt: skip
def test_one_plan_at_a_time(plan: PackingPlan) -> None:
    skip = skipped(STUCK, plan)
    assert (skip.reason, skip.message) == (Reason.PLAN_UNFINISHED, "plan p isn't finished")


def test_plans_that_do_not_matter_here() -> None:
    elsewhere = past("p", made=NOON - 60, done=0, placed=[("x", "z")], by="o", pool="o")
    over = past("q", made=NOON - 60, ended=("Stale", NOON - 30))
    assert isinstance(run(case(STUCK, elsewhere, over)), Found)


def test_a_pod_that_another_plan_places_is_left_to_it() -> None:
    other = past("p", made=NOON - 60, placed=[("team-b", "z")], by="o", pool="o")
    body = other.to_object()
    body["spec"]["placements"][0]["uid"] = BIG["metadata"]["uid"]
    body["spec"]["steps"][0]["bind"][0]["uid"] = BIG["metadata"]["uid"]
    asked = ask(case(STUCK, PackingPlan.model_validate(body)))
    assert isinstance(asked, Question)
    assert asked.request.scope is not None
    assert asked.request.scope.untried == {BIG["metadata"]["uid"]: "that another plan places"}


def test_failed_plans_make_it_wait_longer_and_longer() -> None:
    def failed(*ends: int) -> list[PackingPlan]:
        return [
            past(f"p{at}", made=NOON - at - 50, done=0, moves=[("team-a", "y", "z")],
                 ended=("Stale", NOON - at), approval="Approved")
            for at in ends
        ]  # fmt: skip

    for ends, pause in (([50], 60), ([100, 300], 120), ([800, 2000, 3000, 4000, 5000], 900)):
        skip = skipped(STUCK, *failed(*ends), coolDown="0s")
        assert (skip.reason, skip.retry_at) == (Reason.BACKING_OFF, NOON - ends[0] + pause)
    assert isinstance(run(case(STUCK, *failed(60), by=policy(coolDown="0s"))), Found)


def test_a_plan_that_a_person_stopped_is_no_failure() -> None:
    body = past("p", made=NOON - 60, done=0, moves=[("team-a", "y", "z")],
                ended=("Stale", NOON - 30), approval="Approved").to_object()  # fmt: skip
    body["spec"]["abort"] = {"by": "ada"}
    verdict = run(case(STUCK, PackingPlan.model_validate(body), by=policy(coolDown="0s")))
    assert isinstance(verdict, Found)


def test_a_refused_plan_is_not_made_again_for_a_day() -> None:
    def refused(at: int, uid: str) -> PackingPlan:
        body = past("p", made=at, placed=[("team-b", "a")], approval="Rejected").to_object()
        body["spec"]["placements"][0]["uid"] = uid
        return PackingPlan.model_validate(body)

    big = BIG["metadata"]["uid"]
    assert skipped(STUCK, refused(NOON - 80_000, big)).reason is Reason.PLAN_REPEATED
    assert isinstance(run(case(STUCK, refused(NOON - 90_000, big))), Found)
    assert isinstance(run(case(STUCK, refused(NOON - 60, "another"))), Found)


def test_nobody_waits() -> None:
    assert skipped([*NODES, *SMALL]).reason is Reason.NOTHING_PENDING
    huge = waits(pod("huge", gpu=8, owner="ReplicaSet/big"))
    skip = skipped([*NODES, *SMALL, huge])
    assert skip.reason is Reason.NOTHING_PENDING
    assert "1 TooLarge" in skip.message


def test_what_fits_is_left_to_the_scheduler() -> None:
    assert skipped([*NODES, BIG]).reason is Reason.FITS_NOW


def test_what_the_scheduler_has_not_tried_is_not_planned() -> None:
    fresh = pod("fresh", gpu=4, owner="ReplicaSet/new")
    three = [*NODES, in_pool(node("c", gpu=4))]
    verdict = run(case([*three, *SMALL, fresh, BIG]))
    assert isinstance(verdict, Skip)
    assert verdict.reason is Reason.FITS_NOW
    assert verdict.message.startswith("team-b/big fit")


def test_the_gain_must_be_worth_it() -> None:
    skip = skipped(STUCK, minimumGainPermille=1001)
    assert skip.reason is Reason.GAIN_TOO_SMALL
    assert "places 1 pod for 1 move or eviction: 1000 per 1000" in skip.message


def test_proved_and_cooling_down() -> None:
    stay = [pod(f"s-{n}", n, gpu=2, owner="") for n in "ab"]
    assert skipped([*NODES, *stay, BIG]).reason is Reason.PROVED_OPTIMAL
    plan = past("p", made=NOON - 300, moves=[("team-a", "z", "a"), ("team-a", "z", "b")], done=2,
                ended=("Succeeded", NOON - 300))  # fmt: skip
    body = plan.to_object()
    for move, name in zip(body["spec"]["moves"], ("s0", "s1"), strict=True):
        move["owner"] = f"ReplicaSet/{name}"
    skip = skipped(STUCK, PackingPlan.model_validate(body), coolDown="15m")
    assert (skip.reason, skip.retry_at) == (Reason.COOLING_DOWN, NOON + 600)


def test_an_hour_has_its_limit() -> None:
    spent = past("p", made=NOON - 1000, moves=[("x", "y", "z")] * 2, done=2,
                 ended=("Succeeded", NOON - 600))  # fmt: skip
    skip = skipped(STUCK, spent, limits={"maxMovesPerHour": 2})
    assert (skip.reason, skip.retry_at) == (Reason.LIMIT_REACHED, NOON + 3000)
    assert isinstance(run(case(STUCK, spent, by=policy(limits={"maxMovesPerHour": 3}))), Found)
    assert skipped(STUCK, limits={"maxMovesPerPlan": 0}).reason is Reason.LIMIT_REACHED


@pytest.mark.parametrize("space", ["team-a", "team-b"])
def test_a_namespace_has_its_limit(space: str) -> None:
    """team-a suffers, team-b gains."""
    victim, gaining = ("team-a", "x") if space == "team-a" else ("x", "team-b")
    spent = past("p", made=NOON - 1000, moves=[(victim, "y", "z")], placed=[(gaining, "y")], done=2,
                 ended=("Succeeded", NOON - 600))  # fmt: skip
    skip = skipped(STUCK, spent, limits={"maxMovesPerNamespacePerHour": 1})
    assert (skip.reason, skip.retry_at) == (Reason.LIMIT_REACHED, NOON + 3000)
    two = policy(limits={"maxMovesPerNamespacePerHour": 2})
    assert isinstance(run(case(STUCK, spent, by=two)), Found)


def test_a_plan_that_is_too_much_for_a_namespace_gets_smaller() -> None:
    nodes = [in_pool(node(n, gpu=4)) for n in "abcd"]
    small = [pod(f"s{n}{i}", n, gpu=1, owner="ReplicaSet/s") for n in "abcd" for i in range(2)]
    bigs = [waits(pod(f"big-{i}", gpu=4, owner="ReplicaSet/big")) for i in range(2)]
    everything = [*nodes, *small, *bigs]
    whole = run(case(everything))
    assert isinstance(whole, Found)
    assert len(whole.plan.spec.moves) == 4
    less = run(case(everything, by=policy(limits={"maxMovesPerNamespacePerHour": 3})))
    assert isinstance(less, Found)
    assert len(less.plan.spec.moves) == 2
    none = skipped(everything, limits={"maxMovesPerNamespacePerHour": 1})
    assert none.reason is Reason.LIMIT_REACHED


def test_the_last_try_leaves_those_namespaces_alone() -> None:
    one = policy(limits={"maxMovesPerNamespacePerHour": 1})
    nodes = [in_pool(node(n, gpu=4)) for n in "ab"]
    small = [pod(f"s{n}{i}", n, gpu=1, owner="ReplicaSet/s") for n in "ab" for i in range(2)]
    given_case = case([*nodes, *small, BIG], by=one)
    asked = ask(given_case)
    assert isinstance(asked, Question)
    decision = decide(replace(asked.request, effort=1), inline(monotonic), monotonic)
    narrow = answer(given_case, replace(asked, tries=2), decision)
    assert isinstance(narrow, Question)
    assert narrow.request.scope is not None
    assert narrow.request.scope.spared == {"team-a"}
    assert [*narrow.request.scope.untried] == [BIG["metadata"]["uid"]]
    last = answer(given_case, replace(narrow, tries=3), decision)
    assert isinstance(last, Skip)
    assert last.reason is Reason.LIMIT_REACHED


def test_what_a_recent_plan_did_is_not_undone() -> None:
    moved = past("p", made=NOON - 1000, moves=[("team-a", "b", "a")], done=1,
                 ended=("Succeeded", NOON - 900))  # fmt: skip
    body = moved.to_object()
    body["spec"]["moves"][0]["owner"] = "ReplicaSet/s0"
    stay = pod("small-1", "b", gpu=2, owner="")
    again = skipped([*NODES, SMALL[0], stay, BIG], PackingPlan.model_validate(body), coolDown="1s")
    assert again.reason is Reason.PLAN_UNDOES


def test_nodes_outside_the_pool_stay_as_they_are() -> None:
    elsewhere = [node("out", gpu=4), pod("there", "out", gpu=2, owner="ReplicaSet/t")]
    asked = ask(case([*STUCK, *elsewhere]))
    assert isinstance(asked, Question)
    assert asked.request.scope is not None
    assert asked.request.scope.nodes == {"a", "b"}


@settings(max_examples=30, deadline=None)
@given(objects=clusters(), moves=st.integers(0, 4), hour=st.integers(0, 4), own=st.integers(0, 4))
def test_no_plan_exceeds_its_limits_or_leaves_its_pool(
    objects: list[Json], moves: int, hour: int, own: int
) -> None:
    for item in objects:
        if item["kind"] == "Node" and item["metadata"]["name"] != "n1":
            in_pool(item)
        elif item["kind"] == "Pod" and not item["spec"].get("nodeName"):
            waits(item)
    limits = {"maxMovesPerPlan": moves, "maxMovesPerHour": max(hour, own),
              "maxMovesPerNamespacePerHour": own}  # fmt: skip
    verdict = run(case(objects, by=policy(limits=limits)))
    if isinstance(verdict, Found):
        spec = verdict.plan.spec
        assert 0 < len(spec.moves) <= min(moves, max(hour, own), own)
        nodes = {m.to for m in spec.moves} | {p.node for p in spec.placements}
        assert "n1" not in nodes | {m.from_ for m in spec.moves}
