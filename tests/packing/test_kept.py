"""Plans beside room that is kept for pods of Spark applications which aren't there yet.

Covered: which places are open, against any order of pods; that no plan counts on kept room, by an
independent judge (the checker, for which the room is taken by pods); what people are told; a plan
under way whose room was given away; the time at which nothing is kept any more. Not covered: who
writes reservations (tests/spark_admission), a real API server (e2e/spark_admission/test_rooms.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.api import Reason
from fairstow.cluster.items import Item
from fairstow.cluster.kept import filled
from fairstow.cluster.model import KeptRoom, Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.trim import trimmed
from fairstow.packing.checker import check
from fairstow.packing.execution.turn import Enforcement
from fairstow.packing.explain import explain
from fairstow.packing.history import closed
from fairstow.packing.model import Decision, Request
from fairstow.packing.planner import decide, inline
from tests.packing.checker_clusters import Json, ago, beating, node, pod
from tests.packing.clusters import clusters, snapshot
from tests.packing.live_world import LiveWorld
from tests.packing.test_execution import approved, clock, planned

Room = tuple[str, int, int]
"""Node, pods, GPUs of each."""


def admission(*rooms: Room, name: str = "etl", until: float = -1) -> Json:
    """What keeps room for executors. Args: until: hours before now when it ends."""
    kept = [
        {
            "node": where,
            "owner": f"Pod/{name}",
            "pods": pods,
            "requests": {"cpu": "1", "nvidia.com/gpu": str(gpu), "pods": "1"},
        }
        for where, pods, gpu in rooms
    ]
    return {
        "apiVersion": "fairstow.dev/v1alpha1",
        "kind": "SparkAdmission",
        "metadata": {"name": f"{name}-1", "namespace": "team-a"},
        "spec": {"name": name, "uid": f"uid-{name}", "template": name},
        "status": {"phase": "Admitted", "reservation": {"until": ago(until), "rooms": kept}},
    }


def come(*rooms: Room, leaving: bool = False) -> list[Json]:
    """The pods for which it was kept."""
    made: list[Json] = []
    for where, pods, gpu in rooms:
        for _ in range(pods):
            each = pod(f"exec-{where}-{len(made)}", where, gpu=gpu, owner="Pod/etl")
            if leaving:
                each["metadata"]["deletionTimestamp"] = ago(0)
            made.append(each)
    return made


def roomy() -> list[Json]:
    """Two empty nodes of 4, one of them half kept."""
    return [beating(node("a", gpu=4)), beating(node("b", gpu=4)), admission(("a", 1, 2))]


def decided(objects: list[Json]) -> tuple[Snapshot, Decision]:
    found = snapshot(objects)
    return found, decide(Request(found, effort=1), inline(clock), clock)


def test_a_plan_places_nobody_in_kept_room_and_says_so() -> None:
    objects = [*roomy(), pod("one", gpu=4), pod("two", gpu=4)]
    _, decision = decided(objects)
    assert [each.node for each in decision.placements] == ["b"]
    said = "room for 1 pod to come (a), kept for Spark application team-a/etl"
    assert said in decision.not_considered
    assert len(planned(objects[:2] + objects[3:]).spec.placements) == 2


def test_a_plan_moves_nobody_into_kept_room() -> None:
    objects = [*roomy(), pod("small", "b", gpu=3), pod("large", gpu=4)]
    assert not planned(objects).spec.moves
    assert not planned(objects).spec.placements
    objects[2] = admission(("a", 1, 1))
    assert [(each.name, each.to) for each in planned(objects).spec.moves] == [("small", "a")]


@given(
    clusters(),
    st.lists(
        st.tuples(st.sampled_from(("n0", "n1")), st.integers(1, 2), st.integers(0, 2)), max_size=3
    ),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_every_plan_is_legal_where_the_room_is_taken(
    objects: list[Json], rooms: list[Room]
) -> None:
    """For the checker, which knows nothing of kept room, pods are there that count in no tier."""
    made = planned([*objects, admission(*rooms)], max_evictions=2)
    verdict = check([*objects, *come(*rooms, leaving=True)], made.to_object(), budgets_known=False)
    assert not verdict.violations
    assert verdict.accepted


def test_room_is_free_again_as_pods_come_wherever_they_went() -> None:
    rooms = ("a", 2, 1), ("b", 1, 1)
    found = snapshot([*roomy()[:2], admission(*rooms)])
    assert Counter(r.node for rooms in found.kept_on.values() for r in rooms) == {"a": 2, "b": 1}
    found = snapshot([*roomy()[:2], admission(*rooms), *come(("a", 1, 1), ("b", 2, 1))])
    assert not found.kept_on
    leaving = come(("a", 1, 1), leaving=True)
    assert len(snapshot([*roomy()[:2], admission(("a", 1, 1)), *leaving]).kept_on) == 1


def test_nothing_is_kept_after_its_time() -> None:
    there = roomy()[:2]
    assert snapshot([*there, admission(("a", 1, 2), until=0)]).kept_on
    late = snapshot([*there, admission(("a", 1, 2), until=0.1)])
    assert not late.kept_on
    assert late.hash == replace(late, kept=()).hash


def test_snapshots_that_differ_by_kept_room_have_other_hashes() -> None:
    assert snapshot(roomy()).hash != snapshot(roomy()[:2]).hash


def test_a_dump_holds_what_is_kept() -> None:
    item = Item("test", 0, "SparkAdmission", admission(("a", 1, 2)), "fairstow.dev/v1alpha1")
    assert snapshot([*roomy()[:2], trimmed(item)]).kept_on == snapshot(roomy()).kept_on


PLACES = st.lists(
    st.builds(
        KeptRoom,
        node=st.sampled_from("ab"),
        beneficiary=st.sampled_from(("team-a/Pod/x", "team-a/Pod/y")),
        requests=st.sampled_from(((("cpu", 1),), (("cpu", 2),))),
        application=st.just("team-a/etl"),
        until=st.just(0),
        number=st.integers(0, 1),
    ),
    max_size=6,
)
ON = st.sampled_from(("", "a", "b"))


@st.composite
def arrivals(draw: st.DrawFn) -> list[Pod]:
    """Pods of x on nodes or not."""
    found = snapshot([node("a"), node("b"), *(
        pod(f"p{i}", draw(ON), owner=f"Pod/{draw(st.sampled_from('xy'))}")
        for i in range(draw(st.integers(0, 6)))
    )])  # fmt: skip
    return list(found.pods)


@given(PLACES, arrivals(), st.randoms(use_true_random=False))
def test_each_pod_fills_one_place_of_its_own(places: list[KeptRoom], pods: list[Pod], rng) -> None:  # type: ignore[no-untyped-def]
    done, left = filled(places, pods)
    assert Counter(done) + Counter(left) == Counter(places)
    for who in {place.beneficiary for place in places}:
        own = sum(place.beneficiary == who for place in places)
        there = sum(each.workload == who and bool(each.node) for each in pods)
        assert sum(place.beneficiary == who for place in done) == min(own, there)
    rng.shuffle(pods)
    again = filled(places, pods)[1]
    assert Counter(r.beneficiary for r in again) == Counter(r.beneficiary for r in left)


def test_people_are_told_for_whom_room_is_kept() -> None:
    found = snapshot([*roomy(), pod("other", "b", gpu=4), pod("wants", gpu=4)])
    wants = next(each for each in found.pods if each.name == "wants")
    said = explain(found, wants, None).verdict
    assert "it would fit on a, whose room is kept for Spark application team-a/etl" in said
    bare = replace(found, kept=())
    assert "kept for" not in explain(bare, wants, None).verdict


@pytest.mark.parametrize("enforced", [True, False])
def test_a_plan_whose_room_was_given_away_is_given_up(enforced: bool) -> None:
    objects = [*roomy()[:2], pod("small", "b", gpu=3), pod("large", gpu=4, owner="ReplicaSet/l")]
    world = LiveWorld(objects, approved(planned(objects)))
    world.objects.append(admission(("a", 1, 2)))
    for _ in range(3):
        world.turn(enforcement=Enforcement(expected=enforced))
    assert closed(world.plan)
    assert world.reason("Stale") == Reason.NODE_CHANGED
    assert not world.evicted
    stale = [c.message for c in world.plan.status.conditions if c.type == "Stale"]  # type: ignore[union-attr]
    assert "kept for Spark application team-a/etl" in stale[0]
