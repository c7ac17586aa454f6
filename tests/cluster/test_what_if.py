"""Pods of manifests beside those of a cluster: expanded, defaulted and refused as in a cluster.

Covers each kind that makes pods, what admission fills in, and every error. Leaves out what the
program says of them (tests/cli) and whether the API server agrees (no server here).
"""

from typing import Any

import pytest

from fairstow.cluster.errors import InputError
from fairstow.cluster.items import Item
from fairstow.cluster.manifests import MARK
from fairstow.cluster.model import Pod
from fairstow.cluster.project import build
from fairstow.cluster.what_if import MOST_PODS, NewPods
from tests.cluster.objects import GPU, Object, items, listed, namespace, node, pod, priority_class

CONTAINER = {"name": "main", "resources": {"limits": {"cpu": "2", GPU: "1"}}}


def spec(**more: Any) -> Object:
    return {"containers": [CONTAINER], **more}


def manifest(kind: str = "Pod", name: str = "new", /, **changes: Any) -> Object:
    """A manifest of a kind; `changes` go into the pod's spec, but for those named here."""
    own: Object = {k: changes.pop(k) for k in ("replicas", "parallelism", "completions", "suspend",
           "selector", "volumeClaimTemplates") if k in changes}  # fmt: skip
    metadata = changes.pop("metadata", {"name": name, "namespace": "team"})
    labels = changes.pop("labels", {"app": "new"})
    if kind == "Pod":
        version, inner = "v1", spec(**changes)
        metadata = metadata | {"labels": labels}
    else:
        job = kind in ("Job", "CronJob")
        version = "batch/v1" if job else "v1" if kind == "ReplicationController" else "apps/v1"
        inner = {"template": {"metadata": {"labels": labels}, "spec": spec(**changes)}, **own}
        if job:
            inner["template"]["spec"].setdefault("restartPolicy", "Never")
        elif kind != "ReplicationController":
            inner.setdefault("selector", {"matchLabels": labels})
        inner = {"jobTemplate": {"spec": inner}} if kind == "CronJob" else inner
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": inner}


def tried(*manifests: Object, cluster: tuple[Object, ...] = ()) -> tuple[NewPods, tuple[Pod, ...]]:
    """The new pods of manifests beside a cluster, as the snapshot holds them."""
    new = NewPods(items(*manifests))
    there = list(items(node(), *cluster))
    for item in there:
        new.see(item)
    added: list[Item] = list(new.items())
    snapshot = build([*there, *added])
    return new, tuple(p for p in snapshot.pods if p.uid in new.uids)


def one(*manifests: Object, cluster: tuple[Object, ...] = ()) -> Pod:
    _, (found,) = tried(*manifests, cluster=cluster)
    return found


def refused(*manifests: Object, cluster: tuple[Object, ...] = ()) -> str:
    with pytest.raises(InputError) as caught:
        tried(*manifests, cluster=cluster)
    return str(caught.value)


@pytest.mark.parametrize(
    ("made", "names", "owner"),
    [
        (manifest("Pod"), ["new"], "None"),
        (manifest("Deployment", replicas=2), ["new-what-if-0", "new-what-if-1"],
         "ReplicaSet/new-what-if"),
        (manifest("Deployment"), ["new-what-if-0"], "ReplicaSet/new-what-if"),
        (manifest("ReplicaSet", replicas=1), ["new-what-if-0"], "ReplicaSet/new"),
        (manifest("ReplicationController"), ["new-what-if-0"], "ReplicationController/new"),
        (manifest("StatefulSet", replicas=2), ["new-0", "new-1"], "StatefulSet/new"),
        (manifest("Job", parallelism=3, completions=2), ["new-what-if-0", "new-what-if-1"],
         "Job/new"),
        (manifest("Job"), ["new-what-if-0"], "Job/new"),
        (manifest("CronJob", parallelism=1), ["new-what-if-0"], "Job/new-what-if"),
    ],
)  # fmt: skip
def test_each_kind_is_expanded_as_its_controller_would(
    made: Object, names: list[str], owner: str
) -> None:
    _, pods = tried(made)
    assert [p.name for p in pods] == names
    assert {str(p.owner) for p in pods} == {owner}
    assert all(p.pending and p.uid.startswith(MARK) for p in pods)
    assert all(dict(p.shape.requests)[GPU] == 1 for p in pods), "limits are requests"


def test_a_list_and_a_namespace_left_out() -> None:
    listing = listed([manifest(metadata={"name": "a"}), manifest(metadata={"name": "b"})])
    from fairstow.cluster.items import flatten, item

    new = NewPods(flatten(item("test", 0, listing)))
    assert [i.decode(dict[str, Any])["metadata"]["namespace"] for i in new.items()] == [
        "default",
        "default",
    ]


def test_equal_input_gives_equal_pods() -> None:
    assert tried(manifest("Job", parallelism=3))[1] == tried(manifest("Job", parallelism=3))[1]


def test_generated_names_may_begin_alike() -> None:
    made = manifest(metadata={"generateName": "run-"})
    _, pods = tried(made, made)
    assert [p.name for p in pods] == ["run-what-if-0", "run-what-if-1"]


def test_what_a_manifest_says_of_a_life_it_has_not_begun_is_dropped() -> None:
    made = manifest() | {"status": {"phase": "Succeeded", "nominatedNodeName": "node-0"}}
    made["metadata"] |= {"uid": "real", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert one(made).pending


@pytest.mark.parametrize(
    ("classes", "given", "priority", "preempts"),
    [
        ((), {}, 0, True),
        ((priority_class("prod", 1000),), {"priorityClassName": "prod"}, 1000, True),
        ((priority_class("prod", 1000) | {"preemptionPolicy": "Never"},),
         {"priorityClassName": "prod"}, 1000, False),
        ((priority_class("usual", 7) | {"globalDefault": True},
          priority_class("low", 5) | {"globalDefault": True}), {}, 5, True),
        ((), {"priorityClassName": "system-node-critical"}, 2_000_001_000, True),
        ((priority_class("prod", 1000),), {"priorityClassName": "prod", "priority": 1000}, 1000,
         True),
    ],
)  # fmt: skip
def test_priority_is_that_of_its_class(
    classes: tuple[Object, ...], given: Object, priority: int, preempts: bool
) -> None:
    shape = one(manifest(**given), cluster=classes).shape
    assert (shape.priority, shape.preempts) == (priority, preempts)


def test_a_class_may_come_with_the_manifests() -> None:
    made = manifest(priorityClassName="mine")
    assert one(priority_class("mine", 3), made).shape.priority == 3


def test_the_api_servers_tolerations_are_added_unless_there() -> None:
    added = {t.key for t in one(manifest()).shape.tolerations}
    assert added == {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
    everything = [{"operator": "Exists"}]
    assert len(one(manifest(tolerations=everything)).shape.tolerations) == 1


@pytest.mark.parametrize(
    ("limits", "container", "expected"),
    [
        ({"cpu": "4"}, {}, 4000),
        ({"cpu": "4"}, {"requests": {"cpu": "1"}}, 1000),
        ({"memory": "1Gi"}, {"requests": {"cpu": "1"}}, 1000),
    ],
)
def test_pod_level_limits_are_requests_of_what_no_container_asks_for(
    limits: Object, container: Object, expected: int
) -> None:
    made = manifest(resources={"limits": limits})
    made["spec"]["containers"] = [{"name": "main", "resources": container}]
    assert dict(one(made).shape.requests)["cpu"] == expected


def test_label_keys_are_merged_into_affinity() -> None:
    term = {
        "labelSelector": {"matchLabels": {"app": "new"}},
        "topologyKey": "zone",
        "matchLabelKeys": ["pod-template-hash"],
    }
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    found = one(manifest("Deployment", affinity={"podAntiAffinity": required}))
    (read,) = found.shape.anti_affinity
    assert read.selector is not None
    assert [r.key for r in read.selector.requirements] == ["app", "pod-template-hash"]


def test_claim_templates_become_claims_only_where_claims_are_known() -> None:
    made = manifest(
        "StatefulSet",
        volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {"storageClassName": "s"}}],
    )
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "other", "namespace": "team"}, "spec": {},
    }  # fmt: skip
    assert [c.name for c in one(made).shape.claims] == ["data-new-0"]
    for cluster, kinds in (((), ["Pod"]), ((claim,), ["Pod", "PersistentVolumeClaim"])):
        new = NewPods(items(made))
        for item in items(*cluster):
            new.see(item)
        assert [i.kind for i in new.items()] == kinds


def test_a_gang_is_as_large_as_its_pod_group_says_where_pod_groups_are_known() -> None:
    def group(name: str, least: int) -> Object:
        return {
            "apiVersion": "scheduling.x-k8s.io/v1alpha1",
            "kind": "PodGroup",
            "metadata": {"name": name, "namespace": "team"},
            "spec": {"minMember": least},
        }

    made = manifest("Job", parallelism=3, labels={"scheduling.x-k8s.io/pod-group": "mine"})
    for cluster, sizes in (((), {}), ((group("other", 2),), {"team/other": 2, "team/mine": 3})):
        new = NewPods(items(made, group("mine", 3)))
        there = list(items(node(), *cluster))
        for item in there:
            new.see(item)
        assert build([*there, *new.items()]).gang_sizes == sizes


def test_what_stands_beside_workloads_is_passed_over_and_said() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    new, _ = tried(manifest(), service, manifest("Job", "later", suspend=True))
    assert "1 Service" in " ".join(new.notes)
    assert "later is suspended" in " ".join(new.notes)


def gpus(requests: object, limits: object) -> Object:
    return {"containers": [{"name": "m", "resources": {"requests": requests, "limits": limits}}]}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}}, "field kind: v1 Node"),
        ({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "x"}},
         "PyTorchJob makes no pods"),
        ({"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "metadata": {"name": "x"}},
         "batch.volcano.sh/v1alpha1 Job makes no pods"),
        ({"metadata": {"name": "x"}}, "field kind: missing"),
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}, "asks for no pods"),
        (manifest("Job", parallelism=0), "asks for no pods"),
        (manifest("Job", parallelism=MOST_PODS + 1), "at most 5,000"),
        (manifest("Job", parallelism=-1), "field spec.parallelism"),
        (manifest(containers=[]), "field spec.containers: empty"),
        (manifest("Job", containers=[]), "field spec.template.spec.containers: empty"),
        (manifest("CronJob", containers=[]),
         "field spec.jobTemplate.spec.template.spec.containers: empty"),
        (manifest(containers=None), "field spec.containers"),
        (manifest(nodeName="node-0"), "field spec.nodeName: set"),
        (manifest(metadata={}), "field metadata.name: missing"),
        (manifest(metadata={"name": "No Name"}), "field metadata.name"),
        (manifest(**gpus({"cpu": "4x"}, {})), "requests.cpu: '4x' is not a quantity"),
        (manifest(**gpus({"cpu": "-1"}, {})), "is negative"),
        (manifest(**gpus({GPU: "1"}, {})), "needs a limit, and an equal one"),
        (manifest(**gpus({GPU: "1"}, {GPU: "2"})), "needs a limit, and an equal one"),
        (manifest(**gpus({}, {GPU: "500m"})), "isn't a whole number"),
        (manifest(**gpus({}, {"gpu": "1"})), "there is no such resource"),
        (manifest(**gpus({"cpu": "3"}, {"cpu": "2"})), "more than its limit"),
        (manifest(overhead={"cpu": "?"}), "field spec.overhead.cpu"),
        (manifest(resources={"limits": {GPU: "1"}}), "spec.resources.limits.nvidia.com/gpu"),
        (manifest(priorityClassName="gone"), "there is no PriorityClass gone"),
        (manifest(priority=5), "field spec.priority: 5 isn't that of"),
        (manifest(preemptionPolicy="Never"), "field spec.preemptionPolicy: Never isn't"),
        (manifest("Deployment", selector={"matchLabels": {"app": "else"}}), "field spec.selector"),
        (manifest("Deployment", selector=None), "field spec.selector"),
        (manifest("Deployment", selector=7), "field spec.selector"),
        (manifest("Job", restartPolicy="Always"), "restartPolicy: must be OnFailure or Never"),
        (manifest("Job", template=7) | {"spec": {}}, "field spec: object missing"),
    ],
)  # fmt: skip
def test_what_the_api_server_would_refuse_is_named(made: Object, says: str) -> None:
    assert says in refused(made)


@pytest.mark.parametrize(
    ("made", "there"),
    [
        (manifest("Pod"), pod("new")),
        (manifest("Pod"), pod("new", status={"phase": "Succeeded"})),
        (manifest("StatefulSet", replicas=2), pod("new-1")),
        (manifest("ReplicaSet"), {"apiVersion": "apps/v1", "kind": "ReplicaSet",
                                  "metadata": {"name": "new", "namespace": "team"}}),
        (manifest("Deployment"),
         {"apiVersion": "apps/v1", "kind": "ReplicaSet",
          "metadata": {"name": "new-5d9", "namespace": "team", "ownerReferences": [
              {"apiVersion": "apps/v1", "kind": "Deployment", "name": "new", "uid": "u"}]}}),
        (manifest("Job"), pod("x", owner=("Job", "new"))),
        (priority_class("prod", 5), priority_class("prod", 6)),
    ],
)  # fmt: skip
def test_a_name_that_is_taken(made: Object, there: Object) -> None:
    manifests = (made,) if made["kind"] != "PriorityClass" else (made, manifest())
    assert "exists already" in refused(*manifests, cluster=(there,))


def test_the_same_manifest_twice() -> None:
    assert "exists already" in refused(manifest("Job"), manifest("Job"))
    tried(manifest("Job"), manifest("Job", metadata={"name": "new", "namespace": "other"}))


def test_an_unknown_class_is_told_from_unknown_classes() -> None:
    made = manifest(priorityClassName="gone")
    assert "there are: prod" in refused(made, cluster=(priority_class("prod", 1),))
    assert "holds no PriorityClasses at all" in refused(made, cluster=(namespace(),))
