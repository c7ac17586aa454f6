"""Volumes of claims, as the checker of plans judges arrivals and departures.

Covers claims and what becomes of them, where their volumes can be had, how many a node attaches,
and kinds that the input lacks. Leaves out in-tree volumes named by the pod (test_checker_filters)
and free capacity, which nobody checks.
"""

from typing import Any

import pytest

from tests.packing.checker_clusters import (
    Json,
    in_zone,
    plan,
    pod,
    rules_broken,
    step,
    verdict,
)

ZONE = "topology.kubernetes.io/zone"
BETA_ZONE = "failure-domain.beta.kubernetes.io/zone"
DRIVER = "csi.example.com"
BOUND = {"pv.kubernetes.io/bind-completed": "yes"}


def item(kind: str, name: str, metadata: Json | None = None, **fields: Any) -> Json:
    """An object; further keywords are its fields."""
    api = "storage.k8s.io/v1"
    version = "v1" if kind.startswith("Persistent") else api
    uid = f"uid-{kind}-{name}"
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "uid": uid} | (metadata or {}),
    } | fields


def claim(name: str = "data", of: str | None = "pv-data", /, **spec: Any) -> Json:
    """A claim of team-a, bound to a volume or, with None, of class "late" and waiting."""
    made = {"accessModes": ["ReadWriteOnce"], "storageClassName": "late"} | spec
    metadata: Json = {"namespace": "team-a", "annotations": dict(BOUND) if of else {}}
    if of:
        made["volumeName"] = of
    return item("PersistentVolumeClaim", name, metadata, spec=made, status={"phase": "Bound"})


def volume(name: str = "pv-data", handle: str = "", **spec: Any) -> Json:
    """A volume of a CSI driver that can be had anywhere."""
    csi = {"driver": DRIVER, "volumeHandle": handle or name}
    return item("PersistentVolume", name, {"labels": {}}, spec={"csi": csi} | spec)


def only_in(*zones: str) -> Json:
    """A volume's node affinity."""
    expression = {"key": ZONE, "operator": "In", "values": list(zones)}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def late(name: str = "late", provisioner: str = DRIVER, **fields: Any) -> Json:
    """A class that makes a volume once its claim's first pod has a node."""
    mode = {"volumeBindingMode": "WaitForFirstConsumer"}
    return item("StorageClass", name, provisioner=provisioner, **mode | fields)


def csi_node(name: str, limit: int | None = None, driver: str = DRIVER) -> Json:
    """What a node's drivers can attach."""
    about: Json = {"name": driver} | ({} if limit is None else {"allocatable": {"count": limit}})
    return item("CSINode", name, spec={"drivers": [about]})


DRIVER_OBJECT = item("CSIDriver", DRIVER, spec={})
NODES = [in_zone("a", "", **{ZONE: "z1"}), in_zone("b", "", **{ZONE: "z2"})]


def using(name: str, on: str = "", *claims: str, **spec: Any) -> Json:
    """A pod with volumes of claims."""
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims or ("data",)]
    return pod(name, on, gpu=0, volumes=volumes, **spec)


def world(*others: Json, limit: int | None = None, driver: Json = DRIVER_OBJECT) -> list[Json]:
    """Nodes a (zone z1) and b (zone z2) with a CSI driver, a late class, and what is given."""
    return [*NODES, csi_node("a", limit), csi_node("b", limit), driver, late(), *others]


def placed(arriving: Json, *others: Json, **about: Any) -> set[str]:
    """The rules broken by a placement on node a."""
    objects = world(*others, arriving, **about)
    return rules_broken(objects, plan(objects, step(bind=[(arriving, "a")])))


def test_a_claim_that_is_bound_goes_where_its_volume_can_be_had() -> None:
    assert placed(using("p"), claim(), volume()) == set()
    assert placed(using("p"), claim(), volume(nodeAffinity=only_in("z1", "z3"))) == set()
    found = placed(using("p"), claim(), volume(nodeAffinity=only_in("z2")))
    assert found == {"VolumeNodeMismatch"}


@pytest.mark.parametrize(
    ("label", "value", "fits"),
    [
        (ZONE, "z1", True),
        (ZONE, "z2", False),
        (ZONE, "z2__z1", True),
        (ZONE, "z2__", True),
        (BETA_ZONE, "z1", True),
        (BETA_ZONE, "z2", False),
        ("topology.kubernetes.io/region", "r1", False),
    ],
)
def test_a_volumes_zone_labels_bind_it_to_its_zone(label: str, value: str, fits: bool) -> None:
    labelled = volume()
    labelled["metadata"]["labels"][label] = value
    found = placed(using("p"), claim(), labelled)
    assert found == (set() if fits else {"VolumeNodeMismatch"})
    plain = [in_zone("c", ""), csi_node("c"), DRIVER_OBJECT, claim(), labelled, using("p")]
    a_plan = plan(plain, step(bind=[(plain[-1], "c")]))
    assert rules_broken(plain, a_plan) == set()


def told(made: Json, **metadata: Any) -> Json:
    """An object with other metadata."""
    return made | {"metadata": made["metadata"] | metadata}


IMMEDIATE = late("now") | {"volumeBindingMode": "Immediate"}


@pytest.mark.parametrize(
    "objects",
    [
        [claim("other"), volume()],
        [claim(), volume("other")],
        [claim("data", None, storageClassName="gone"), volume()],
        [claim("data", None, storageClassName=""), volume()],
        [claim("data", None, storageClassName="now"), volume(), IMMEDIATE],
        [claim("data", None, storageClassName="now"), IMMEDIATE | {"volumeBindingMode": None}],
        [claim("data", None, volumeName="pv-data"), volume()],
        [told(claim(), annotations={}), volume()],
        [claim() | {"status": {"phase": "Lost"}}, volume()],
        [told(claim(), deletionTimestamp="2026-01-01T00:00:00Z"), volume()],
        [told(claim(), namespace="team-b"), volume()],
    ],
)
def test_a_claim_without_a_volume_of_its_own_is_waited_for(objects: list[Json]) -> None:
    assert placed(using("p"), *objects) == {"VolumeNotBound"}


def test_a_late_class_makes_a_volume_where_the_pod_goes_and_says_what_is_not_checked() -> None:
    objects = world(claim("data", None), arriving := using("p"))
    found = verdict(objects, plan(objects, step(bind=[(arriving, "a")])))
    assert found.accepted
    [note] = found.notes
    assert "claim team-a/data gets a new volume of class late" in note
    assert "isn't checked" in note
    objects = world(claim(), volume(), arriving)
    assert verdict(objects, plan(objects, step(bind=[(arriving, "a")]))).notes == ()


@pytest.mark.parametrize(("zones", "fits"), [(["z1"], True), (["z2"], False), ([], False)])
def test_a_late_class_keeps_to_its_topologies(zones: list[str], fits: bool) -> None:
    term = {"matchLabelExpressions": [{"key": ZONE, "values": zones}] if zones else []}
    there = claim("data", None, storageClassName="zoned")
    found = placed(using("p"), there, late("zoned", allowedTopologies=[term]))
    assert found == (set() if fits else {"VolumeNodeMismatch"})


def test_a_volume_being_made_for_a_node_isnt_had_on_another() -> None:
    waiting = claim("data", None)
    for node, broken in (("a", set[str]()), ("b", {"VolumeNodeMismatch"})):
        waiting["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = node
        assert placed(using("p"), waiting) == broken


def test_pods_that_share_a_claim_without_a_volume_go_to_one_node() -> None:
    one, two = using("one"), using("two")
    objects = world(claim("data", None), one, two)
    for second, broken in (("a", set[str]()), ("b", {"VolumeNodeMismatch"})):
        a_plan = plan(objects, step(bind=[(one, "a")]), step(bind=[(two, second)]))
        assert rules_broken(objects, a_plan) == broken


@pytest.mark.parametrize("provisioner", ["kubernetes.io/no-provisioner", "kubernetes.io/gce-pd"])
def test_volumes_found_rather_than_made_are_not_modelled(provisioner: str) -> None:
    there = claim("data", None, storageClassName="local")
    assert placed(using("p"), there, late("local", provisioner)) == {"RuleNotModelled"}


def test_drivers_that_count_their_room_and_in_tree_volumes_are_not_modelled() -> None:
    counting = item("CSIDriver", DRIVER, spec={"storageCapacity": True})
    assert placed(using("p"), claim("data", None), driver=counting) == {"RuleNotModelled"}
    assert placed(using("p"), claim(), volume(), driver=counting) == set()
    disk = item("PersistentVolume", "pv-data", spec={"gcePersistentDisk": {"pdName": "d"}})
    assert placed(using("p"), claim(), disk) == {"RuleNotModelled"}


def test_a_claim_for_one_pod_at_a_time() -> None:
    single = claim(accessModes=["ReadWriteOncePod"])
    assert placed(using("p"), single, volume()) == set()
    assert placed(using("p"), single, volume(), using("q", "b")) == {"VolumeInUse"}
    assert placed(using("p"), claim(), volume(), using("q", "b")) == set()
    assert placed(using("p"), single, volume(), using("q", "b", namespace="team-b")) == set()
    one, two, out = using("one", priority=9), using("two"), using("out", "b")
    objects = world(single, volume(), one, two, out)
    evict, first, second = step([out]), step(bind=[(one, "a")]), step(bind=[(two, "a")])
    assert rules_broken(objects, plan(objects, evict, first)) == set()
    assert rules_broken(objects, plan(objects, first, evict)) == {"VolumeInUse"}
    assert rules_broken(objects, plan(objects, evict, first, second)) == {"VolumeInUse"}


def test_the_claim_of_an_ephemeral_volume_is_not_taken_as_in_the_scheduler() -> None:
    there = ephemeral("there", "b")
    single = owned(claim("there-tmp", accessModes=["ReadWriteOncePod"]), "uid-team-a-there")
    assert placed(using("p", "", "there-tmp"), single, volume(), there) == set()
    arriving, user = ephemeral("p"), using("q", "b", "p-tmp")
    single = owned(claim("p-tmp", accessModes=["ReadWriteOncePod"]), "uid-team-a-p")
    assert placed(arriving, single, volume(), user) == set()


def test_a_moved_pod_takes_its_volume_where_that_can_be_had() -> None:
    moved = using("m", "b")
    for zones, broken in ((("z1", "z2"), set[str]()), (("z2",), {"VolumeNodeMismatch"})):
        for mode in ("ReadWriteOnce", "ReadWriteOncePod"):
            there = [claim(accessModes=[mode]), volume(nodeAffinity=only_in(*zones))]
            objects = world(*there, moved)
            a_plan = plan(objects, step([moved], [(moved, "a")]))
            assert rules_broken(objects, a_plan) == broken


def many(*handles: str, **spec: Any) -> list[Json]:
    """Claims c0, c1, … with volumes of these handles."""
    claims = [claim(f"c{i}", f"pv-{i}") for i in range(len(handles))]
    return [*claims, *(volume(f"pv-{i}", h, **spec) for i, h in enumerate(handles))]


@pytest.mark.parametrize(
    ("handles", "limit", "fits"),
    [
        (("x", "y", "z"), 3, True),
        (("x", "y", "z"), 2, False),
        (("x", "y", "z"), None, True),
        (("x", "y", "y"), 2, True),
        (("x", "x", "y"), 2, True),
        (("x", "x", "x"), 1, True),
        (("x", "x", "y"), 1, False),
    ],
)
def test_a_node_attaches_only_so_many_volumes(
    handles: tuple[str, ...], limit: int | None, fits: bool
) -> None:
    there = using("there", "a", "c0")
    found = placed(using("p", "", "c1", "c2"), *many(*handles), there, limit=limit)
    assert found == (set() if fits else {"VolumeLimitExceeded"})
    elsewhere = using("there", "b", "c0")
    found = placed(using("p", "", "c1"), *many(*handles), elsewhere, limit=1)
    assert found == set()


def test_what_counts_for_an_attach_limit() -> None:
    attachment = item("VolumeAttachment", "va") | {
        "spec": {"attacher": DRIVER, "nodeName": "a", "source": {"persistentVolumeName": "pv-0"}}
    }
    arriving, there = using("p", "", "c1"), using("there", "a", "c0")
    assert placed(arriving, *many("x", "y"), attachment, limit=1) == {"VolumeLimitExceeded"}
    assert placed(arriving, *many("x", "y"), attachment, there, limit=2) == set()
    assert placed(arriving, *many("x", "y"), attachment | {"spec": {}}, limit=1) == set()
    nfs = many("x", "y", csi=None, nfs={"server": "s"})
    assert placed(arriving, *nfs, there, limit=1) == set()
    waiting = claim("c0", None)
    assert placed(arriving, waiting, *many("x", "y")[1:], there, limit=1) == {"VolumeLimitExceeded"}
    disk = pod("disk", "a", gpu=0, volumes=[{"gcePersistentDisk": {"pdName": "d"}}])
    cloud = [csi_node("a", 1, "pd.csi.storage.gke.io"), *many("x", "y")]
    cloud[-1]["spec"]["csi"]["driver"] = "pd.csi.storage.gke.io"
    objects = [NODES[0], DRIVER_OBJECT, *cloud, disk, arriving]
    a_plan = plan(objects, step(bind=[(arriving, "a")]))
    assert rules_broken(objects, a_plan) == {"VolumeLimitExceeded"}
    disk["spec"]["volumes"] = [{"azureDisk": {"diskName": "d"}}]
    assert rules_broken(objects, a_plan) == set()


@pytest.mark.parametrize("source", [{"nfs": {"server": "s"}}, {"cinder": {"volumeID": "v"}}])
def test_attachments_of_volumes_that_are_not_csi_do_not_count(source: Json) -> None:
    attachment = item("VolumeAttachment", "va") | {
        "spec": {"attacher": DRIVER, "nodeName": "a", "source": {"persistentVolumeName": "other"}}
    }
    other = item("PersistentVolume", "other", spec=source)
    assert placed(using("p"), claim(), volume(), attachment, other, limit=1) == set()


def test_a_volume_still_to_be_made_by_an_in_tree_class_counts_for_its_csi_driver() -> None:
    ebs = "ebs.csi.aws.com"
    old = claim("old", None, storageClassName="old")
    mine = volume(csi={"driver": ebs, "volumeHandle": "v"})
    objects = [late("old", "kubernetes.io/aws-ebs"), old, using("there", "a", "old"), mine, claim()]
    arriving = using("p")
    for limit, broken in ((2, set[str]()), (1, {"VolumeLimitExceeded"})):
        everything = [NODES[0], csi_node("a", limit, ebs), DRIVER_OBJECT, *objects, arriving]
        a_plan = plan(everything, step(bind=[(arriving, "a")]))
        assert rules_broken(everything, a_plan) == broken


def test_the_class_may_be_an_annotation_as_it_once_was() -> None:
    old = claim("data", None, storageClassName="gone")
    old["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"] = "late"
    assert placed(using("p"), old) == set()


def test_volumes_of_nominated_pods_count_for_their_priority() -> None:
    arriving, nominated = using("p", "", "c1", priority=5), using("n", "", "c0", priority=5)
    nominated["status"]["nominatedNodeName"] = "a"
    objects = [*many("x", "y"), nominated]
    assert placed(arriving, *objects, limit=2) == set()
    assert placed(arriving, *objects, limit=1) == {"VolumeLimitExceeded"}
    nominated["spec"]["priority"] = 4
    assert placed(arriving, *objects, limit=1) == set()


def test_a_move_frees_what_its_pod_had_attached() -> None:
    there, arriving = using("there", "a", "c0"), using("p", "", "c1")
    objects = world(*many("x", "y"), there, arriving, limit=1)
    move, arrive = step([there], [(there, "b")]), step(bind=[(arriving, "a")])
    assert rules_broken(objects, plan(objects, move, arrive)) == set()
    assert rules_broken(objects, plan(objects, arrive, move)) == {"VolumeLimitExceeded"}


def test_a_node_without_the_driver_takes_its_pods_unless_the_driver_forbids() -> None:
    bare = [NODES[0], csi_node("a", 1, "other"), claim(), volume(), using("p")]
    for strict, broken in ((False, set[str]()), (True, {"VolumeNodeMismatch"})):
        driver = item("CSIDriver", DRIVER, spec={"preventPodSchedulingIfMissing": strict})
        objects = [*bare, driver]
        assert rules_broken(objects, plan(objects, step(bind=[(bare[-1], "a")]))) == broken


def ephemeral(name: str, on: str = "") -> Json:
    """A pod with a generic ephemeral volume."""
    template = {"spec": {"storageClassName": "late"}}
    volumes = [{"name": "tmp", "ephemeral": {"volumeClaimTemplate": template}}]
    return pod(name, on, gpu=0, volumes=volumes)


def owned(made: Json, uid: str) -> Json:
    """A claim that belongs to a pod."""
    made["metadata"]["ownerReferences"] = [{"kind": "Pod", "uid": uid, "controller": True}]
    return made


def test_an_ephemeral_volume_has_a_claim_named_after_pod_and_volume() -> None:
    arriving = ephemeral("p")
    uid = arriving["metadata"]["uid"]
    assert placed(arriving, owned(claim("p-tmp", None), uid)) == set()
    assert placed(arriving, owned(claim("p-tmp", None), "other")) == {"VolumeNotBound"}
    assert placed(arriving, owned(claim("other", None), uid)) == {"VolumeNotBound"}
    child = owned(claim("p-tmp", None), uid)
    child["metadata"]["ownerReferences"][0]["controller"] = False
    assert placed(arriving, child) == {"VolumeNotBound"}
    mine, labelled = owned(claim("p-tmp"), uid), volume()
    assert placed(arriving, mine, volume(nodeAffinity=only_in("z2"))) == {"VolumeNodeMismatch"}
    labelled["metadata"]["labels"][ZONE] = "z2"  # which the scheduler doesn't look at here
    assert placed(arriving, mine, labelled) == set()


def test_a_claim_of_someone_else_where_an_ephemeral_volumes_should_be_stops_the_counting() -> None:
    there, arriving = ephemeral("there", "a"), using("p")
    objects = [claim(), volume(), there, owned(claim("there-tmp", None), "other")]
    assert placed(arriving, *objects) == set()
    assert placed(arriving, *objects, limit=9) == {"VolumeNotBound"}
    nfs = volume(csi=None, nfs={"server": "s"})
    assert placed(arriving, claim(), nfs, *objects[2:], limit=9) == set()
    owned(objects[-1], there["metadata"]["uid"])
    assert placed(arriving, *objects, limit=9) == set()


def test_a_pod_whose_ephemeral_volume_would_be_deleted_with_it_stays() -> None:
    moved = ephemeral("m", "b")
    moved["metadata"]["annotations"]["fairstow.dev/movable"] = "true"
    objects = world(owned(claim("m-tmp"), moved["metadata"]["uid"]), volume(), moved)
    assert rules_broken(objects, plan(objects, step([moved], [(moved, "a")]))) == {"PodNotMovable"}


@pytest.mark.parametrize("source", ["local", "hostPath"])
def test_a_pod_on_a_local_volume_stays(source: str) -> None:
    moved = using("m", "b")
    disk = item("PersistentVolume", "pv-data", spec={source: {"path": "/data"}})
    objects = world(claim(), disk, moved)
    assert rules_broken(objects, plan(objects, step([moved], [(moved, "a")]))) == {"PodNotMovable"}


@pytest.mark.parametrize(
    "kind", ["PersistentVolumeClaim", "PersistentVolume", "StorageClass", "CSINode", "CSIDriver"]
)
def test_a_kind_the_input_lacks_is_unknown_and_not_empty(kind: str) -> None:
    arriving = using("p", "", "data", "new")
    objects = world(claim(), volume(), claim("new", None), arriving)
    a_plan = plan(objects, step(bind=[(arriving, "a")]))
    assert rules_broken(objects, a_plan) == set()
    objects = [o for o in objects if o["kind"] != kind]
    assert rules_broken(objects, a_plan) == {"VolumesUnknown"}
    known = verdict(objects, a_plan, kinds_known=[kind])
    assert "VolumesUnknown" not in {v.rule for v in known.violations}


def test_only_kinds_that_matter_to_the_pod_need_be_known() -> None:
    nfs = volume(csi=None, nfs={"server": "s"})
    objects = [NODES[0], claim(), nfs, arriving := using("p")]
    assert rules_broken(objects, plan(objects, step(bind=[(arriving, "a")]))) == set()
    objects = [NODES[0], arriving := pod("p", volumes=[{"csi": {"driver": DRIVER}}])]
    assert rules_broken(objects, plan(objects, step(bind=[(arriving, "a")]))) == set()


def test_a_pod_whose_claims_nobody_knows_stays() -> None:
    moved = using("m", "b")
    objects = world(moved)
    found = rules_broken(objects, plan(objects, step([moved], [(moved, "a")])))
    assert "PodNotMovable" in found


def test_objects_of_another_api_group_are_something_else() -> None:
    foreign = {"apiVersion": "longhorn.io/v1beta2", "kind": "Node", "metadata": {"name": "a"}}
    assert placed(using("p"), claim(), volume(), foreign) == set()
