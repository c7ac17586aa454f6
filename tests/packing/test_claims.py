"""Waiting pods with claims in the planner: targets, limits, and what arrivals share.

Covered: random small clusters in which nothing moves against every order of every assignment, and
random storage of all kinds against the checker; each rule once by hand; what isn't tried, and how
that is said. Not covered: the filters themselves (tests/cluster/test_state_volumes.py, e2e).
"""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.packing.claims import Attach
from fairstow.packing.model import Decision, Proof
from tests.cluster.random_clusters import cluster as random_cluster
from tests.cluster.random_pods import Uses
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import never_contradicted, snapshot
from tests.packing.test_between import best, names
from tests.packing.test_checker_volumes import (
    DRIVER,
    DRIVER_OBJECT,
    ZONE,
    claim,
    csi_node,
    item,
    late,
    only_in,
    volume,
)
from tests.packing.test_planner import plan

slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def using(name: str, on: str = "", *claims: str, **spec: Any) -> Json:
    """A pod of one GPU with volumes of claims."""
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    return pod(name, on, volumes=volumes, **{"gpu": 1} | spec)


def scratch(name: str, on: str = "") -> list[Json]:
    """A pod with an ephemeral volume, and the claim made for it."""
    made = pod(name, on, gpu=1, volumes=[{"name": "tmp", "ephemeral": {}}])
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": made["metadata"]["uid"]}
    own = claim(f"{name}-tmp", None)
    own["metadata"]["ownerReferences"] = [owner | {"controller": True}]
    return [made, own]


def world(*others: Json, limit: int | None = None, nodes: str = "ab", gpu: int = 4) -> list[Json]:
    """Nodes with a CSI driver, each in a zone of its name, a class that waits, and the rest."""
    made = [node(name, gpu=gpu) for name in nodes]
    for each in made:
        each["metadata"]["labels"][ZONE] = f"z{each['metadata']['name']}"
    return [*made, *(csi_node(n, limit) for n in nodes), DRIVER_OBJECT, late(), *others]


def disks(*claims: str, **spec: Any) -> list[Json]:
    """Bound claims with their volumes."""
    return [
        made
        for name in claims
        for made in (claim(name, f"pv-{name}", **spec), volume(f"pv-{name}"))
    ]


@st.composite
def clusters(draw: st.DrawFn) -> list[Json]:
    """Two nodes, a few claims in several states, a running pod or two, up to four waiting."""
    names = ["one", "two", "three"]
    objects = [node(n, gpu=draw(st.integers(1, 3))) for n in "ab"]
    for each in objects:
        each["metadata"]["labels"][ZONE] = f"z{each['metadata']['name']}"
    objects += [csi_node(n, draw(st.sampled_from((1, 2, 3, None)))) for n in "ab"]
    objects += [DRIVER_OBJECT, late()]
    for name in names:
        mode = draw(st.sampled_from(("ReadWriteMany", "ReadWriteMany", "ReadWriteOncePod")))
        bound = draw(st.booleans())
        objects.append(claim(name, f"pv-{name}" if bound else None, accessModes=[mode]))
        if bound:
            where: Json = draw(st.sampled_from(({}, {}, {"nodeAffinity": only_in("za")})))
            objects.append(volume(f"pv-{name}", **where))
    if draw(st.booleans()):
        source = {"persistentVolumeName": f"pv-{draw(st.sampled_from(names))}"}
        spec = {"attacher": DRIVER, "nodeName": draw(st.sampled_from("ab")), "source": source}
        objects.append(item("VolumeAttachment", "left", spec=spec))
    for i in range(draw(st.integers(0, 2))):
        objects.append(
            using(f"run-{i}", draw(st.sampled_from("ab")), draw(st.sampled_from(names)), gpu=0)
        )
    for i in range(draw(st.integers(1, 4))):
        priority = draw(st.sampled_from((0, 100)))
        if draw(st.integers(0, 3)) == 0:
            objects += scratch(f"wait-{i}")
        else:
            some = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
            objects.append(using(f"wait-{i}", "", *some, priority=priority))
    return objects


@slow
@given(clusters())
def test_a_proof_is_never_contradicted_and_every_step_is_legal(objects: list[Json]) -> None:
    never_contradicted(plan(objects), best(snapshot(objects)))


@pytest.mark.parametrize("seed", range(30))
def test_plans_with_random_storage_are_legal(seed: int) -> None:
    made = random_cluster(seed, Uses.VOLUMES | Uses.ROOM)
    rng = random.Random(seed)
    for each in made.pods.values():
        each["spec"]["priority"] = rng.choice((0, 100))
    plan([*made.objects])


def test_a_claim_decides_where_its_pod_goes() -> None:
    there = volume("pv-data", nodeAffinity=only_in("zb"))
    decision = plan(world(using("p", "", "data"), claim(), there))
    assert names(decision) == ["p b"]
    assert all(t.proof is Proof.OPTIMAL for t in decision.tiers)


def test_small_pods_move_so_that_one_fits_beside_its_volume() -> None:
    there = volume("pv-data", nodeAffinity=only_in("zb"))
    small = [pod(f"s{i}", "b", gpu=1) for i in range(2)]
    decision = plan(world(using("p", "", "data", gpu=3), *small, claim(), there))
    assert names(decision) == ["p b"]
    assert len(decision.moves) == 1


@pytest.mark.parametrize(("limit", "fit"), [(None, 4), (3, 4), (2, 4), (1, 2)])
def test_a_node_attaches_only_so_many_volumes(limit: int | None, fit: int) -> None:
    pods = [using(f"p{c}", "", c) for c in "wxyz"]
    decision = plan(world(*pods, *disks(*"wxyz"), limit=limit))
    assert len(decision.placements) == fit
    assert all(t.proof is Proof.OPTIMAL for t in decision.tiers)


def test_a_volume_that_pods_share_is_attached_once() -> None:
    pods = [using(f"p{i}", "", "x") for i in range(3)]
    shared = disks("x", accessModes=["ReadWriteMany"])
    assert len(plan(world(*pods, *shared, limit=1, nodes="a")).placements) == 3


def test_a_volume_that_is_there_needs_no_further_attachment() -> None:
    there = using("there", "a", "x", gpu=0)
    shared = disks("x", accessModes=["ReadWriteMany"])
    decision = plan(world(there, using("p", "", "x"), *shared, limit=1, nodes="a"))
    assert names(decision) == ["p a"]


def test_every_ephemeral_volume_counts() -> None:
    pods = [made for i in range(3) for made in scratch(f"p{i}")]
    decision = plan(world(*pods, limit=2, nodes="a"))
    assert len(decision.placements) == 2
    assert decision.tiers[0].proof is Proof.OPTIMAL


def test_a_claim_for_one_pod_serves_one() -> None:
    pods = [using(f"p{i}", "", "x", labels={"app": str(i)}) for i in range(2)]
    decision = plan(world(*pods, *disks("x", accessModes=["ReadWriteOncePod"])))
    assert len(decision.placements) == 1
    assert decision.tiers[0].proof is Proof.OPTIMAL


def test_pods_that_wait_for_one_volume_to_be_made_go_to_one_node() -> None:
    pods = [using(f"p{i}", "", "x") for i in range(3)]
    decision = plan(world(*pods, claim("x", None), gpu=2))
    assert len(decision.placements) == 2
    assert len({p.node for p in decision.placements}) == 1
    assert decision.tiers[0].proof is Proof.OPTIMAL


def test_an_ephemeral_volume_that_is_there_makes_its_pod_another() -> None:
    (one, made), (two, late_one) = scratch("one"), scratch("two")
    made["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    made["spec"]["volumeName"] = "pv-one"
    there = volume("pv-one", nodeAffinity=only_in("zb"))
    objects = world(one, made, two, late_one, there, gpu=1)
    assert names(plan(objects)) == ["one b", "two a"]


@pytest.mark.parametrize(
    "found",
    [
        [],
        [claim("x", None), late() | {"volumeBindingMode": "Immediate"}],
        [claim("x", "pv-x") | {"status": {"phase": "Lost"}}],
    ],
)
def test_a_claim_that_nothing_binds_keeps_its_pod_waiting(found: list[Json]) -> None:
    others = [o for o in world() if o["kind"] != "StorageClass"]
    other = [claim("other", None), volume("pv-other")]
    decision = plan([*others, *other, *(found or [late()]), using("p", "", "x")])
    assert not decision.placements
    assert decision.tiers[0].proof is Proof.OPTIMAL


def told(decision: Decision) -> list[str]:
    return [s for s in decision.not_considered if s.startswith("1 pending pod")]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"StorageClass": late(provisioner="kubernetes.io/no-provisioner")}, "choosing volumes"),
        ({"CSIDriver": item("CSIDriver", DRIVER, spec={"storageCapacity": True})}, "capacity"),
        ({"StorageClass": None}, "the input tells no StorageClass"),
        ({"CSINode": None}, "the input tells no CSINode"),
        ({"PersistentVolumeClaim": None}, "the input tells no PersistentVolumeClaim"),
    ],
)
def test_what_cannot_be_judged_is_not_tried_and_said_so(
    changed: dict[str, Json | None], reason: str
) -> None:
    objects = [o for o in world(claim("x", None)) if o["kind"] not in changed]
    given_instead = [made for made in changed.values() if made is not None]
    decision = plan([*objects, *given_instead, using("p", "", "x")])
    assert not decision.placements
    (said,) = told(decision)
    assert reason in said
    assert decision.tiers[0].left_out == 1


def test_a_volume_attached_for_nobody_leaves_it_open_whether_a_second_pod_fits() -> None:
    """It counts twice for who comes first, and once for the rest: nothing is proved."""
    shared = disks("x", accessModes=["ReadWriteMany"])
    left = item("VolumeAttachment", "left", spec={
        "attacher": DRIVER, "nodeName": "a", "source": {"persistentVolumeName": "pv-x"}
    })  # fmt: skip
    pods = [using("light", "", "x"), using("heavy", "", "new", "x")]
    objects = world(*pods, claim("new", None), *shared, left, limit=2, nodes="a")
    decision = plan(objects)
    assert best(snapshot(objects)) == (2,)
    assert names(decision) == ["light a"]
    assert decision.tiers[0].left_out == 1
    assert "still attached to a for nobody" in told(decision)[0]


def test_volumes_that_pods_share_come_in_one_order() -> None:
    disks = frozenset(("driver", f"disk-{i}") for i in range(20))
    rule = Attach({0: 0}, {0: disks}, {0: {}}, {0: 1}, {0: frozenset()})
    assert list(rule.new(0)) == sorted(disks)
