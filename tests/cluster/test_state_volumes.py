"""`State` on volumes: claims, the nodes of volumes, zones, attach limits.

Rule by rule with the smallest cluster that shows it; whether they are the scheduler's is asked in
e2e/test_rules_against_scheduler.py. That local volumes tie a pod down is in test_volumes.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.cluster.rules import Rule
from fairstow.cluster.state import State
from tests.cluster.objects import Object, node, pod, snapshot
from tests.cluster.state_clusters import ZONE, verdicts, zones


def claim(name: str = "data", volume: str = "disk", **spec: Any) -> Object:
    bound = {"pv.kubernetes.io/bind-completed": "yes"} if volume else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "team", "annotations": bound}
        | spec.pop("metadata", {}),
        "spec": {"volumeName": volume, "storageClassName": "fast", **spec},
        "status": {"phase": "Bound"},
    }


def volume(name: str = "disk", labels: Any = None, **spec: Any) -> Object:
    source = {"csi": {"driver": "csi.example.com", "volumeHandle": name}}
    meta = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": source | spec}


def storage(kind: str, name: str, **fields: Any) -> Object:
    version = "storage.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


WAITS = {"provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer"}
DRIVERS = [storage("CSINode", "other", spec={"drivers": []}), storage("CSIDriver", "x", spec={})]


CLASS = storage("StorageClass", "fast", **WAITS)
TRACKED = storage("CSIDriver", "csi.example.com", spec={"storageCapacity": True})
FAST = {"annotations": {"volume.beta.kubernetes.io/storage-class": "fast"}}
BETA_ZONE = "failure-domain.beta.kubernetes.io/zone"


def using(name: str = "new", claim_name: str = "data", **more: Any) -> Object:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}]
    return pod(name, volumes=volumes, **more)


def only_in(zone: str) -> Object:
    expression = {"key": ZONE, "operator": "In", "values": [zone]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


@pytest.mark.parametrize(
    ("objects", "rule"),
    [
        ([claim(), volume()], ""),
        ([], "CLAIM"),
        ([claim()], "CLAIM"),
        ([claim() | {"status": {"phase": "Lost"}}, volume()], "CLAIM"),
        ([claim(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), volume()], "CLAIM"),
        ([claim(metadata={"annotations": {}}), volume()], "CLAIM"),
        ([claim(volume="")], "CLAIM"),
        ([claim(volume=""), storage("StorageClass", "fast", **WAITS)], ""),
        ([claim(volume=""), storage("StorageClass", "fast", provisioner="x")], "CLAIM"),
        ([claim(metadata={"annotations": {}}), storage("StorageClass", "fast", **WAITS)], "CLAIM"),
        ([claim("data", "", storageClassName="none", metadata=FAST), CLASS], ""),
        ([claim(volume=""), CLASS, TRACKED], "NOT_CONSIDERED"),
        ([claim(), volume(nodeAffinity=only_in("y"))], "VOLUME_NODE"),
        ([claim(), volume(nodeAffinity=only_in("x"))], ""),
        ([claim(), volume(labels={ZONE: "y__z"})], "VOLUME_NODE"),
        ([claim(), volume(labels={ZONE: "y__x"})], ""),
        ([claim(), volume(labels={BETA_ZONE: "y"})], "VOLUME_NODE"),
        ([claim(), volume(labels={BETA_ZONE: "x"})], ""),
        ([claim(), volume(labels={"topology.kubernetes.io/region": "r"})], "VOLUME_NODE"),
        ([claim(), volume(labels={ZONE: "y__"})], ""),
        ([claim(), volume(awsElasticBlockStore={"volumeID": "v"})], "NOT_CONSIDERED"),
    ],
)
def test_a_claim_decides_where(objects: list[Object], rule: str) -> None:
    assert verdicts([*zones(a="x"), *DRIVERS, *objects, using()]) == {"a": rule}


def test_zones_of_volumes_mean_nothing_where_nodes_have_none() -> None:
    assert verdicts([*zones(a=""), *DRIVERS, claim(), volume(labels={ZONE: "y"}), using()]) == {
        "a": ""
    }


def test_a_volume_that_is_made_on_arrival_needs_a_node_it_can_be_made_for() -> None:
    term = {"matchLabelExpressions": [{"key": ZONE, "values": ["x"]}]}
    zoned = storage("StorageClass", "fast", **WAITS, allowedTopologies=[term])
    nodes = [*zones(a="x", b="y"), *DRIVERS]
    assert verdicts([*nodes, zoned, claim(volume=""), using()]) == {"a": "", "b": "VOLUME_NODE"}
    note = {"annotations": {"volume.kubernetes.io/selected-node": "b"}}
    anywhere = storage("StorageClass", "fast", **WAITS)
    chosen = claim(volume="", metadata=note)
    assert verdicts([*nodes, anywhere, chosen, using()]) == {"a": "VOLUME_NODE", "b": ""}


def test_pods_that_share_a_volume_to_be_made_go_to_one_node() -> None:
    found = snapshot(
        *zones(a="x", b="y"),
        *DRIVERS,
        storage("StorageClass", "fast", **WAITS),
        claim(volume=""),
        using("one"),
        using("two"),
    )
    state, (a, b), (one, two) = State(found), found.nodes, found.pods
    state.add(one, a)
    assert state.refusal(two, a) is None
    assert [r.rule for r in state.refusals(two, b)] == [Rule.NOT_CONSIDERED]
    state.remove(one)
    assert state.refusal(two, b) is None


def test_a_claim_for_one_pod_serves_one() -> None:
    alone = claim(accessModes=["ReadWriteOncePod"])
    objects = [*zones(a="x", b="y"), *DRIVERS, alone, volume(), using()]
    assert set(verdicts(objects).values()) == {""}
    assert set(verdicts([*objects, using("old", nodeName="a")]).values()) == {"CLAIM"}


def test_a_driver_attaches_only_so_many_volumes_and_one_only_once() -> None:
    limit = {"drivers": [{"name": "csi.example.com", "nodeID": "a", "allocatable": {"count": 1}}]}
    nodes = [*zones(a="x", b="y"), *DRIVERS, storage("CSINode", "a", spec=limit)]
    disks = [claim(), volume(), claim("more", "disk-2"), volume("disk-2")]
    old = using("old", "more", nodeName="a")
    assert verdicts([*nodes, *disks, old, using()]) == {"a": "VOLUME_LIMIT", "b": ""}
    assert verdicts([*nodes, *disks, old, using(claim_name="more")])["a"] == ""
    second = using("second", "third", nodeName="a")  # over the limit already
    over = [*nodes, *disks, claim("third", "disk-3"), volume("disk-3"), old, second]
    assert verdicts([*over, using(claim_name="more")])["a"] == ""
    spec = {"attacher": "csi.example.com", "nodeName": "a"}
    left = storage(
        "VolumeAttachment", "left", spec=spec | {"source": {"persistentVolumeName": "disk-2"}}
    )
    assert verdicts([*nodes, *disks, left, using()])["a"] == "VOLUME_LIMIT"


def test_a_driver_may_have_to_be_installed() -> None:
    must = storage("CSIDriver", "csi.example.com", spec={"preventPodSchedulingIfMissing": True})
    has = {"drivers": [{"name": "csi.example.com", "nodeID": "a"}]}
    objects = [*zones(a="x", b="y"), storage("CSINode", "a", spec=has), claim(), volume(), using()]
    assert verdicts([*objects, must]) == {"a": "", "b": "VOLUME_LIMIT"}
    assert verdicts([*objects, storage("CSIDriver", "csi.example.com")]) == {"a": "", "b": ""}


def test_attach_limits_that_are_not_in_the_input_are_unknown() -> None:
    assert verdicts([node(), claim(), volume(), using()])["node-0"] == "NOT_CONSIDERED"
    shared = volume(csi=None, nfs={"server": "s", "path": "/"})
    assert verdicts([node(), claim(), shared, using()])["node-0"] == ""


def test_an_ephemeral_volumes_claim_belongs_to_its_pod() -> None:
    ephemeral = pod("new", volumes=[{"name": "v", "ephemeral": {}}])
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "new", "controller": True}
    own = claim("new-v", metadata={"ownerReferences": [owner | {"uid": "uid-team-new"}]})
    foreign = claim("new-v", metadata={"ownerReferences": [owner | {"uid": "uid-else"}]})
    bound = {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    for made, rule in ((own, ""), (foreign, "CLAIM")):
        made["metadata"] |= bound
        assert verdicts([node(), *DRIVERS, made, volume(), ephemeral])["node-0"] == rule
