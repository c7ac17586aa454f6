"""What a plan says of itself: shape, references, lists against steps, figures; and hostile input.

Leaves out the rules of arrival (test_checker_filters) and departure (test_checker_departures).
"""

import copy
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from fairstow.packing.checker import CheckError, check
from fairstow.packing.checker.verdict import MAX_VIOLATIONS
from tests.packing.checker_clusters import (
    Json,
    budget,
    node,
    plan,
    pod,
    replays,
    rules_broken,
    step,
    verdict,
)

OLD, NEW, LOW = pod("old", "a", gpu=6), pod("new", gpu=8, priority=10), pod("low", "b", gpu=2)
OBJECTS: list[Json] = [node("a"), node("b"), OLD, NEW, LOW, budget("b", {"x": "y"}, 1)]


def legal() -> Json:
    """A plan with a move, an eviction for good and a placement."""
    return plan(OBJECTS, step([LOW]), step([OLD], [(OLD, "b")]), step(bind=[(NEW, "a")]))


def broken(change: Callable[[Json], Any]) -> set[str]:
    """The rules broken after a change to the legal plan's spec."""
    a_plan = legal()
    change(a_plan["spec"])
    return rules_broken(OBJECTS, a_plan)


def test_the_legal_plan_is_accepted_with_its_figures() -> None:
    found = verdict(OBJECTS, legal())
    assert found.accepted
    assert (found.placements, found.moves, found.evictions, found.cost) == (1, 1, 1, 101)
    assert [(t.priority, t.placed_before, t.placed_after, t.pending) for t in found.tiers] == [
        (10, 0, 1, 0),
        (0, 2, 1, 1),
    ]


def test_empty_lists_may_be_absent_as_in_the_api() -> None:
    a_plan = plan(OBJECTS)
    for key in ("placements", "moves", "evictions", "steps", "notConsidered"):
        del a_plan["spec"][key]
    assert verdict(OBJECTS, a_plan).accepted


@pytest.mark.parametrize(
    "key", ["snapshotHash", "rules", "order", "seed", "window", "cost", "budgets"]
)
@pytest.mark.parametrize("value", [None, [], {}, "?", -1, 1.5, True])
def test_each_field_has_its_type(key: str, value: object) -> None:
    assert broken(lambda spec: spec.update({key: value})) == {"PlanShape"}


def test_integers_beyond_the_api_are_refused() -> None:
    assert broken(lambda spec: spec.update(cost=10**5000)) == {"PlanShape"}
    with pytest.raises(CheckError, match="priority must be an integer of at most 64 bits"):
        verdict([pod("p", priority=10**5000)], legal())


@pytest.mark.parametrize("key", ["tiers", "placements", "moves", "evictions", "steps"])
@pytest.mark.parametrize("value", ["?", {}, [None], [[]], [{}], 3])
def test_each_list_has_its_entries(key: str, value: object) -> None:
    if (key, value) != ("steps", []):
        assert "PlanShape" in broken(lambda spec: spec.update({key: value}))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (("placements", 0, "uid"), "spec.placements[0].uid is missing"),
        (("moves", 0, "from"), "spec.moves[0].from is missing"),
        (("moves", 0, "to"), "spec.moves[0].to is missing"),
        (("steps", 2, "bind", 0, "node"), "spec.steps[2].bind[0].node is missing"),
        (("tiers", 1, "bound"), "spec.tiers[1].bound is missing"),
    ],
)
def test_what_is_missing_is_named(path: tuple[Any, ...], says: str) -> None:
    a_plan = legal()
    entry = a_plan["spec"]
    for key in path[:-1]:
        entry = entry[key]
    del entry[path[-1]]
    assert says in [v.message.removeprefix("plan: ") for v in verdict(OBJECTS, a_plan).violations]


def test_a_wrong_shape_ends_the_check_with_all_its_faults() -> None:
    a_plan = legal()
    a_plan["spec"] |= {"rules": "Mine", "seed": "x", "steps": [{"evict": []}]}
    found = verdict(OBJECTS, a_plan)
    assert len(found.violations) == 3
    assert found.steps_replayed == 0


def test_lists_hold_at_most_two_thousand_entries() -> None:
    assert broken(lambda spec: spec.update(steps=spec["steps"] * 667)) == {"PlanShape"}


def test_only_the_first_violations_are_kept() -> None:
    found = verdict(OBJECTS, {"spec": {"steps": [0] * 500}})
    assert len(found.violations) == MAX_VIOLATIONS
    assert found.omitted > 300


def test_budgets_and_approval() -> None:
    approved = {"approval": {"decision": "Approved", "by": "jane"}}
    known, unknown = plan(OBJECTS, **approved), plan(OBJECTS, budgets="Unknown", **approved)
    assert rules_broken(OBJECTS, known) == set()
    assert rules_broken(OBJECTS, known, budgets_known=False) == {"BudgetsMismatch"}
    assert rules_broken(OBJECTS, unknown, budgets_known=False) == {"NotApprovable"}
    assert rules_broken(OBJECTS, unknown) == {"BudgetsMismatch", "NotApprovable"}
    assert rules_broken(OBJECTS, plan(OBJECTS, rules="Paper", **approved)) == {"NotApprovable"}
    for mark in ({"annotations": {"fairstow.dev/what-if": "a.yaml"}}, {"name": "what-if-1"}):
        supposed = known | {"metadata": known["metadata"] | mark}
        assert rules_broken(OBJECTS, supposed) == {"NotApprovable"}
        assert rules_broken(OBJECTS, plan(OBJECTS) | {"metadata": supposed["metadata"]}) == set()


@pytest.mark.parametrize("decision", ["approved", "APPROVED", "", None, "Approved "])
def test_no_other_word_stands_for_a_decision(decision: str | None) -> None:
    a_plan = plan(OBJECTS, approval={"decision": decision, "by": "jane"})
    assert rules_broken(OBJECTS, a_plan) == {"PlanShape"}


def test_the_pods_are_those_of_the_cluster() -> None:
    changed = copy.deepcopy(OBJECTS)
    changed[2]["metadata"]["uid"] = "another"
    assert "PodRecreated" in rules_broken(changed, legal())
    assert "PodUnknown" in rules_broken([o for o in OBJECTS if o is not OLD], legal())
    assert broken(lambda spec: spec["moves"][0].update({"from": "c"})) == {"PodNotOnNode"}
    assert broken(lambda spec: spec["placements"][0].update(owner="Job/x")) == {"OwnerMismatch"}
    assert broken(lambda spec: spec["placements"][0].update(owner="")) == {"OwnerMismatch"}


@pytest.mark.parametrize("field", ["placements", "moves"])
@pytest.mark.parametrize("change", [{"cpu": "100m"}, {"memory": "1Gi"}, {"pods": "2"}])
def test_the_room_that_is_kept_is_what_pods_ask_for(field: str, change: Json) -> None:
    def alter(spec: Json) -> None:
        spec[field][0]["requests"] |= change

    assert broken(alter) == {"RequestsMismatch"}
    assert broken(lambda spec: spec[field][0].pop("requests")) == {"RequestsMismatch"}


def test_only_pods_that_wait_are_placed() -> None:
    gated, nominated, leaving = pod("p", schedulingGates=[{"name": "g"}]), pod("p"), pod("p")
    nominated["status"]["nominatedNodeName"] = "b"
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    finished = pod("p")
    finished["status"]["phase"] = "Failed"
    for item in (gated, nominated, leaving, finished, pod("p", "b")):
        objects = [node("a"), node("b"), item]
        found = rules_broken(objects, plan(objects, step(bind=[(item, "a")])))
        assert "PodNotPending" in found


def test_only_pods_that_run_are_moved() -> None:
    waiting, finished, nominated = pod("p"), pod("p", "a"), pod("p")
    finished["status"]["phase"] = "Succeeded"
    nominated["status"]["nominatedNodeName"] = "a"
    for item in (waiting, finished, nominated):
        objects = [node("a"), node("b"), item]
        a_plan = plan(objects, step([item], [(item, "b")]))
        a_plan["spec"]["moves"][0]["from"] = "a"
        assert "PodNotOnNode" in rules_broken(objects, a_plan)


def test_a_move_goes_somewhere_else() -> None:
    objects = [node("a"), item := pod("p", "a")]
    a_plan = plan(objects, step([item], [(item, "a")]))
    assert rules_broken(objects, a_plan) == {"MoveToSameNode"}


def test_every_change_is_in_exactly_one_step_and_nothing_else_is() -> None:
    def split_move(spec: Json) -> None:
        move = spec["steps"][1]
        spec["steps"][1:2] = [
            {"evict": move["evict"], "bind": []},
            {"evict": [], "bind": move["bind"]},
        ]

    assert "StepMissing" in broken(lambda spec: spec["steps"].pop())
    assert "StepRepeated" in broken(lambda spec: spec["steps"].append(spec["steps"][-1]))
    assert broken(lambda spec: spec["steps"][1]["evict"].extend(spec["steps"][1]["evict"])) == {
        "StepRepeated"
    }
    assert "StepUnlisted" in broken(lambda spec: spec["placements"].clear())
    assert "StepUnlisted" in broken(lambda spec: spec["evictions"].clear())
    assert broken(split_move) == {"StepRoleMismatch"}
    assert "StepRoleMismatch" in broken(lambda spec: spec["steps"][1]["bind"].clear())
    assert broken(lambda spec: spec["moves"][0].update(to="a2")) == {"StepNodeMismatch"}
    assert "PodListedTwice" in broken(lambda spec: spec["moves"].append(spec["moves"][0]))
    placed_twice = {"node": "b", "owner": "ReplicaSet/web"}
    assert "PodListedTwice" in broken(
        lambda spec: spec["placements"].append(spec["steps"][0]["evict"][0] | placed_twice)
    )


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"placedBefore": 1}, "TierCountMismatch"),
        ({"pending": 1}, "TierCountMismatch"),
        ({"placedAfter": 0, "bound": 0}, "TierCountMismatch"),
        ({"bound": 0}, "BoundTooLow"),
        ({"bound": 2}, "ProofInconsistent"),
        ({"bound": 2, "proof": "Gap"}, "ProofInconsistent"),
        ({"gapPods": 1}, "ProofInconsistent"),
        ({"proof": "Gap"}, "ProofInconsistent"),
        ({"priority": 9}, "TierListMismatch"),
    ],
)
def test_a_tier_says_what_the_replay_gives(change: Json, rule: str) -> None:
    assert broken(lambda spec: spec["tiers"][0].update(change)) == {rule}


def test_a_gap_with_its_size_is_consistent() -> None:
    gap = {"bound": 3, "proof": "Gap", "gapPods": 2}
    assert broken(lambda spec: spec["tiers"][0].update(gap)) == set()


def test_tiers_are_complete_and_highest_first() -> None:
    assert broken(lambda spec: spec["tiers"].reverse()) == {"TierListMismatch"}
    assert broken(lambda spec: spec["tiers"].pop()) == {"TierListMismatch"}
    assert broken(lambda spec: spec["tiers"].append(spec["tiers"][0])) == {"TierListMismatch"}


def test_who_counts_in_a_tier() -> None:
    gated, leaving, done = pod("g", schedulingGates=[{"name": "g"}]), pod("l", "a"), pod("d", "a")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    done["status"]["phase"] = "Succeeded"
    nominated = pod("n")
    nominated["status"]["nominatedNodeName"] = "a"
    objects = [node("a"), gated, leaving, done, nominated, pod("r", "a"), pod("elsewhere", "x")]
    [tier] = verdict(objects, plan(objects)).tiers
    assert (tier.placed_before, tier.placed_after, tier.pending) == (3, 3, 0)


@pytest.mark.parametrize(("rules", "cost"), [("Product", 101), ("Paper", 3)])
def test_the_cost_adds_up(rules: str, cost: int) -> None:
    assert broken(lambda spec: spec.update(rules=rules, cost=cost)) == set()
    assert broken(lambda spec: spec.update(rules=rules, cost=cost + 1)) == {"CostMismatch"}


def test_no_tier_loses_unless_a_higher_one_gains() -> None:
    high, mid, low = pod("h", "a", priority=9), pod("m", priority=5), pod("l", priority=1)
    objects = [node("a"), node("b"), high, mid, low]
    gain_below = plan(objects, step([high], [(mid, "a"), (low, "a")]))
    assert "WorseThanBefore" in rules_broken(objects, gain_below)
    paper = plan(objects, step([high], [(mid, "a")]), rules="Paper")
    assert "WorseThanBefore" in rules_broken(objects, paper)
    assert "WorseThanBefore" not in broken(lambda _: None)


def test_objects_that_cannot_be_read_are_named() -> None:
    twice = copy.deepcopy(OLD)
    twice["spec"]["priority"] = 3
    same_uid = pod("other")
    same_uid["metadata"]["uid"] = OLD["metadata"]["uid"]
    for objects, says in (
        ([3], "object 0 must be an object, not an integer"),
        ([{"metadata": {}}], "object 0 must be a single Kubernetes object"),
        ([{"kind": "PodList", "items": []}], "object 0 must be a single Kubernetes object"),
        ([{"kind": "Pod"}], "object 0, a Pod, has no metadata.name"),
        ([OLD | {"spec": []}], "Pod team-a/old: spec must be an object, not a list"),
        ([pod("p", nodeName=3)], "Pod team-a/p: spec.nodeName must be a string, not an integer"),
        ([OLD, twice], "Pod team-a/old is there twice"),
        ([OLD, same_uid], "Pod team-a/other has the same uid as Pod team-a/old"),
        ({}, "must be given as a list"),
    ):
        with pytest.raises(CheckError, match=says):
            check(objects, legal(), budgets_known=True)  # type: ignore[arg-type]


def test_the_same_object_twice_is_one_object() -> None:
    assert verdict([*OBJECTS, copy.deepcopy(OLD)], legal()).accepted


def test_messages_hold_nothing_a_terminal_would_obey() -> None:
    a_plan = legal()
    a_plan["spec"]["placements"][0]["name"] = "\x1b[31m\n" + "x" * 9999
    violations = verdict(OBJECTS, a_plan).violations
    assert "PodUnknown" in {v.rule for v in violations}
    for text in (t for v in violations for t in (v.message, v.pod, v.node)):
        assert not text or (text.isprintable() and len(text) <= 1000)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(p for key, inner in items for p in paths(inner, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """A copy of a JSON value with another one at a path."""
    if not path:
        return by
    result = copy.deepcopy(value)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = by
    return result


@given(JSON)
def test_any_json_as_the_plan_gets_a_verdict(garbage: Any) -> None:
    assert not verdict(OBJECTS, garbage).accepted


@given(st.data())
def test_a_plan_with_garbage_inside_gets_a_verdict(data: st.DataObject) -> None:
    whole = legal()
    path = data.draw(st.sampled_from(paths(whole)))
    verdict(OBJECTS, replaced(whole, path, data.draw(JSON)))


@given(st.data())
def test_objects_with_garbage_inside_get_a_verdict_or_a_clear_error(data: st.DataObject) -> None:
    objects = [*OBJECTS, pod("more", "a", affinity={}, volumes=[{}], tolerations=[{}])]
    path = data.draw(st.sampled_from(paths(objects)))
    garbled = replaced(objects, path, data.draw(JSON))
    try:
        verdict(garbled, legal())
    except CheckError as error:
        message = str(error)
        event("refused")
    else:
        message = "a verdict"
    assert message.isprintable()
    assert len(message) > 5


def test_the_dump_of_a_trace_has_the_tiers_the_scheduler_left() -> None:
    folder = os.environ.get("FAIRSTOW_DATA")
    dump = Path(folder or "") / "clusters" / "openb-120.json.gz"
    if not folder or not dump.exists():
        pytest.skip("FAIRSTOW_DATA names no folder with clusters/openb-120.json.gz")
    objects = json.loads(gzip.decompress(dump.read_bytes()))["items"]
    found = verdict(objects, plan(objects))
    assert found.accepted
    assert [(t.priority, t.placed_after, t.pending) for t in found.tiers] == [
        (1000, 178, 11),
        (100, 338, 24),
        (0, 149, 16),
    ]


def test_the_helper_that_the_mutations_rely_on_knows_what_fits() -> None:
    assert replays(OBJECTS, legal()["spec"]["steps"])
    assert not replays(OBJECTS, reversed(legal()["spec"]["steps"]))
