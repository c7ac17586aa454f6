"""Running pods with claims in the planner: they move with their volumes, or they stay.

Covered: random small clusters with moves against the whole truth and the checker; where a volume
follows, limits on the way, who is interchangeable; who stays. Not covered: waiting pods alone
(test_claims), the reasons why somebody stays (tests/cluster/test_movable_claims.py).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.packing.formulate import formulate
from fairstow.packing.model import Decision, Proof
from tests.packing.checker_clusters import Json, pod
from tests.packing.clusters import Best, best, snapshot
from tests.packing.clusters import clusters as bare_clusters
from tests.packing.test_checker_volumes import (
    DRIVER_OBJECT,
    ZONE,
    claim,
    csi_node,
    late,
    only_in,
    volume,
)
from tests.packing.test_claims import disks, using, world
from tests.packing.test_planner import placed, plan

slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def moves(decision: Decision) -> list[str]:
    return sorted(f"{m.pod.name} {m.target}" for m in decision.moves)


@st.composite
def clusters(draw: st.DrawFn) -> list[Json]:
    """Nodes in two zones with limits; some pods have a volume, in a zone or anywhere."""
    objects = draw(bare_clusters())
    nodes = [o for o in objects if o["kind"] == "Node"]
    zones = {o["metadata"]["name"]: draw(st.sampled_from(("za", "zb"))) for o in nodes}
    for each in nodes:
        each["metadata"]["labels"][ZONE] = zones[each["metadata"]["name"]]
    objects += [csi_node(o["metadata"]["name"], draw(st.sampled_from((1, 2, None)))) for o in nodes]
    for each in [o for o in objects if o["kind"] == "Pod" and draw(st.booleans())]:
        name, on = each["metadata"]["name"], each["spec"].get("nodeName")
        each["spec"]["volumes"] = [{"name": "d", "persistentVolumeClaim": {"claimName": name}}]
        zone = draw(st.sampled_from(("", zones[on] if on else "za")))
        where = {"nodeAffinity": only_in(zone)} if zone else {}
        objects += [claim(name, f"pv-{name}"), volume(f"pv-{name}", "", **where)]
    return [*objects, DRIVER_OBJECT, late()]


def truth(objects: list[Json]) -> Best:
    """The optimum; volumes attached now count to the end."""
    zones = {
        o["metadata"]["name"]: o["metadata"]["labels"][ZONE] for o in objects if o["kind"] == "Node"
    }
    limits = {
        o["metadata"]["name"]: o["spec"]["drivers"][0].get("allocatable", {}).get("count", 99)
        for o in objects
        if o["kind"] == "CSINode"
    }
    only: dict[str, str] = {}
    for each in [o for o in objects if o["kind"] == "PersistentVolume"]:
        terms = each["spec"].get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms")
        zone = terms[0]["matchExpressions"][0]["values"][0] if terms else ""
        only[each["metadata"]["name"].removeprefix("pv-")] = zone

    def allowed(pods: list[Json], layout: Sequence[str]) -> bool:
        held, new = Counter[str](), Counter[str]()
        for each, on in zip(pods, layout, strict=True):
            name, home = each["metadata"]["name"], each["spec"].get("nodeName", "")
            if name not in only:
                continue
            held[home] += bool(home)
            if on and on != home:
                new[on] += 1
                if only[name] not in ("", zones[on]):
                    return False
        return all(held[n] + count <= limits[n] for n, count in new.items())

    return best(objects, allowed)


@slow
@given(clusters())
def test_the_plan_is_the_optimum_with_everybody_beside_their_volumes(objects: list[Json]) -> None:
    most, decision = truth(objects), plan(objects)
    assert placed(decision) == most.placed
    assert decision.cost == most.cost


def crowded(*others: Json, limit: int | None = None, **spec: Any) -> list[Json]:
    """A pod with a volume on node a is in the way of one that wants all of node a."""
    wide = pod("wide", gpu=4, priority=100, nodeSelector={"host": "a"})
    there = using("p", "a", "x", **spec)
    return world(wide, there, *others, nodes="abc", limit=limit)


def test_a_pod_moves_where_its_volume_can_follow() -> None:
    near = [claim("x", "pv-x"), volume("pv-x", nodeAffinity=only_in("za", "zc"))]
    decision = plan(crowded(*near))
    assert moves(decision) == ["p c"]
    assert all(t.proof is Proof.OPTIMAL for t in decision.tiers)
    bound = [claim("x", "pv-x"), volume("pv-x", nodeAffinity=only_in("za"))]
    assert not plan(crowded(*bound)).steps


def test_a_claim_for_one_pod_goes_with_its_pod() -> None:
    assert len(plan(crowded(*disks("x", accessModes=["ReadWriteOncePod"]))).moves) == 1


@pytest.mark.parametrize(("limit", "target"), [(1, "c"), (2, "b")])
def test_a_volume_follows_where_there_is_an_attachment_left(limit: int, target: str) -> None:
    stays = using("stays", "b", "y", gpu=1, owner="")
    full = pod("full", "c", gpu=4 if limit == 2 else 0, owner="")
    decision = plan(crowded(*disks("x", "y"), stays, full, limit=limit))
    assert moves(decision) == [f"p {target}"]


@pytest.mark.parametrize("source", ["local", "hostPath"])
def test_a_pod_on_a_local_volume_stays(source: str) -> None:
    local = [claim("x", "pv-x"), volume("pv-x", "", csi=None, **{source: {"path": "/disk"}})]
    assert not plan(crowded(*local, annotations={"fairstow.dev/movable": "true"})).steps


def test_a_volume_for_one_node_is_not_torn_from_another_pod() -> None:
    other = using("other", "a", "x", gpu=0, owner="")
    assert not plan(crowded(other, *disks("x"))).steps
    assert plan(crowded(other, *disks("x", accessModes=["ReadWriteMany"]))).steps


@pytest.mark.parametrize(("modes", "goes"), [(["ReadWriteOnce"], 0), (["ReadWriteMany"], 1)])
def test_a_waiting_pod_goes_to_the_node_that_has_its_volume(modes: list[str], goes: int) -> None:
    there = using("there", "b", "x", gpu=0)
    waits = using("p", "", "x", nodeSelector={"host": "a"})
    decision = plan(world(there, waits, *disks("x", accessModes=modes)))
    assert len(decision.placements) == goes
    assert len(plan(world(there, using("p", "", "x"), *disks("x"))).placements) == 1


def two_alike(*claims: Json) -> list[Json]:
    """Two like pods fill node a up to its attach limit; a third pod wants the room of one."""
    alike = [using(f"p{i}", "a", f"d{i}", gpu=2) for i in range(2)]
    wants = pod("wants", gpu=2, priority=100, nodeSelector={"host": "a"})
    return world(*alike, wants, *claims, limit=2)


def test_who_stays_of_its_like_needs_no_attachment_anew() -> None:
    decision = plan(two_alike(*disks("d0", "d1")))
    assert len(decision.moves) == 1
    assert decision.proved_least_cost


@pytest.mark.parametrize("tied", [0, 1])
def test_of_two_alike_the_one_moves_whose_volume_can_follow(tied: int) -> None:
    held = [claim(f"d{tied}", f"pv-d{tied}"), volume(f"pv-d{tied}", nodeAffinity=only_in("za"))]
    assert moves(plan(two_alike(*disks(f"d{1 - tied}"), *held))) == [f"p{1 - tied} b"]


def test_pods_with_a_volume_each_are_interchangeable() -> None:
    each = [using(f"p{i}", "a", f"d{i}") for i in range(4)]
    objects = world(*each, *disks(*(f"d{i}" for i in range(4))), pod("x"), nodes="ab")
    problem, _ = formulate(snapshot(objects))
    assert sorted(g.placed for g in problem.groups) == [0, 4]
