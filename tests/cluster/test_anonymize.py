"""Anonymized clusters decide what the originals decide, and hold none of their names.

Covers all rules of random clusters (each pod and node: the same refusals), who may be moved, the
plan and its proofs, and a search of the output for every text of the input. Leaves out the program
(tests/cli/test_snapshot.py) and what pseudonyms look like.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cluster import dump
from fairstow.cluster.anonymize import Pseudonyms, collect, vocabulary, written
from fairstow.cluster.anonymize.kinds import KINDS
from fairstow.cluster.items import Item
from fairstow.cluster.model import Pod
from fairstow.cluster.movable import Movability
from fairstow.cluster.project import build
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.packing.explain import explain_all
from fairstow.packing.formulate import formulate
from fairstow.packing.model import Request
from fairstow.packing.planner import decide, inline
from tests.cluster.objects import Object, budget, items, job, node, pod, priority_class
from tests.cluster.random_clusters import cluster
from tests.cluster.random_pods import Uses

EXAMPLE = str(Path(__file__).parents[2] / "fairstow" / "cli" / "example.json.gz")
EVERYTHING = ~Uses(0)


def anonymized(given: Iterable[Item]) -> tuple[Pseudonyms, list[Object]]:
    originals = list(given)
    names = Pseudonyms("zqzq")
    for item in originals:
        collect(item, names)
    names.seal()
    return names, [o for item in originals if (o := written(item, names)) is not None]


def both(given: Iterable[Item]) -> tuple[Pseudonyms, Snapshot, Snapshot]:
    originals = list(given)
    names, objects = anonymized(originals)
    return names, build(originals), build(items(*objects))


def assert_alike(names: Pseudonyms, one: Snapshot, other: Snapshot) -> None:
    """The same pods and nodes, judged alike by every rule."""
    assert one.known == other.known
    by_uid = {p.uid: p for p in other.pods}
    assert len(one.pods) == len(other.pods)
    states, movables = (State(one), State(other)), (Movability(one), Movability(other))
    for p in one.pods:
        q = by_uid[names.text("uid", p.uid)]
        assert [getattr(p, a) for a in _FACTS] == [getattr(q, a) for a in _FACTS]
        assert _shape(p, one) == _shape(q, other)
        refusals = [m.refusal(x) for m, x in zip(movables, (p, q), strict=True)]
        assert bool(refusals[0]) == bool(refusals[1]), refusals
        if p.home:
            continue
        for n in one.nodes:
            twin = other.node_by_name[names.text("node", n.name)]
            said = [
                [r.rule for r in state.refusals(x, at)]
                for state, x, at in zip(states, (p, q), (n, twin), strict=True)
            ]
            assert said[0] == said[1], (p.ref, n.name)
    asked, told = (
        sorted(
            (g.priority, g.pending, g.placed, len(g.targets), sorted(g.work.values()))
            for g in formulate(s)[0].groups
        )
        for s in (one, other)
    )
    assert asked == told


def _shape(pod: Pod, of: Snapshot) -> tuple[object, ...]:
    """What of a pod no name is in, and how long it has run."""
    shape = pod.shape
    age = None if pod.started is None or of.taken_at is None else of.taken_at - pod.started
    rules = (shape.tolerations, shape.affinity, shape.anti_affinity, shape.spread, shape.claims)
    amounts = sorted(amount for _, amount in shape.requests)
    facts = (
        shape.priority,
        shape.preempts,
        shape.unmodelled,
        shape.features,
        bool(shape.scheduler),
    )
    return (*facts, bool(shape.local_storage), bool(pod.gang), age, amounts, *map(len, rules))


_FACTS = ("pending", "terminating", "gated", "ready", "mirror")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_every_rule_says_the_same(seed: int) -> None:
    assert_alike(*both(items(*cluster(seed, EVERYTHING).objects)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_no_text_survives_on_random_clusters(seed: int) -> None:
    objects = cluster(seed, EVERYTHING).objects
    assert_nothing_survives(objects, anonymized(items(*objects))[1])


def test_the_plan_of_the_example_is_that_of_the_original() -> None:
    names, one, other = both(dump.read([EXAMPLE]))
    assert_alike(names, one, other)
    told = []

    def rename(role: str, text: str) -> str:
        return names.text(role, text) if snapshot is one else text

    for snapshot in (one, other):
        decision = decide(Request(snapshot), inline(lambda: 0.0), lambda: 0.0)
        explained = explain_all(snapshot, snapshot.pending, decision)
        told.append(
            (
                [(t.priority, t.before, t.after, t.bound, t.left_out) for t in decision.tiers],
                {(rename("uid", p.pod.uid), rename("node", p.node)) for p in decision.placements},
                {(rename("uid", m.pod.uid), rename("node", m.target)) for m in decision.moves},
                decision.cost,
                decision.proved_least_cost,
                sorted((rename("uid", e.pod.uid), e.state) for e in explained),
            )
        )
    assert told[0] == told[1]


def test_nothing_of_the_example_survives() -> None:
    originals = list(dump.read([EXAMPLE]))
    objects = [item.decode(dict[str, Any]) for item in originals]
    assert_nothing_survives(objects, anonymized(originals)[1])


def test_openb_120() -> None:
    data = os.environ.get("FAIRSTOW_DATA")
    path = Path(data or "", "clusters", "openb-120.json.gz")
    if not data or not path.exists():
        pytest.skip("FAIRSTOW_DATA names no folder with clusters/openb-120.json.gz")
    originals = list(dump.read([str(path)]))
    names, objects = anonymized(originals)
    assert_alike(names, build(originals), build(items(*objects)))
    assert_nothing_survives([item.decode(dict[str, Any]) for item in originals], objects)


def assert_nothing_survives(originals: Iterable[Object], objects: Iterable[Object]) -> None:
    """No text of the input is in the output, but for the vocabulary and the API's own words.

    Texts of four and more characters are searched for everywhere, also within others; numbers,
    which pseudonyms have too, as a whole.
    """
    found = {t for t in texts(list(objects)) if not public(t)}
    output = "\n".join(found)
    for text in texts(list(originals)):
        if len(text) >= 4 and not public(text):
            assert text not in (found if text.isdigit() else output), text


def texts(value: Any, path: tuple[str, ...] = ()) -> set[str]:
    """All texts that a user may choose: values, and keys of maps; amounts and kinds aside."""
    if isinstance(value, dict):
        keys = set(value) if path and path[-1] in _MAPS | _AMOUNTS else set()
        return keys.union(*(texts(v, (*path, k)) for k, v in value.items()))
    if isinstance(value, list):
        return set[str]().union(*(texts(v, path) for v in value))
    chosen = isinstance(value, str) and path[-1] != "apiVersion" and not set(path) & _AMOUNTS
    return {value} if chosen else set()


_MAPS = {"labels", "annotations", "matchLabels", "nodeSelector"}
_AMOUNTS = {"requests", "limits", "allocatable", "capacity", "overhead", "allocatedResources"}
_WORDS = """
    Running Pending Succeeded Failed Ready PodScheduled Unschedulable Infeasible PodResizePending
    Exists Equal DoesNotExist NotIn NoSchedule NoExecute PreferNoSchedule DoNotSchedule Never
    ScheduleAnyway Honor Ignore Always PreemptLowerPriority DisruptionTarget Immediate Bound Lost
    WaitForFirstConsumer ReadWriteOnce ReadWriteOncePod ReadWriteMany Memory False Unknown SCTP
    metadata.name RestartAllContainers RestartAllContainersOnContainerExits List
    UserNamespacesHostNetworkSupport VolumeBindMountOptions count 0.0.0.0
"""


def public(text: str) -> bool:
    """Whether a text says nothing of whose cluster it is."""
    known = (vocabulary.KEYS, vocabulary.VALUES, vocabulary.NAMESPACES, vocabulary.SCHEDULERS,
             vocabulary.CLASSES, vocabulary.OWNERS, KINDS, _WORDS.split())  # fmt: skip
    return (
        any(text in words for words in known)
        or any(vocabulary.public_value(key, text) for key in vocabulary.PRODUCTS)
        or vocabulary.public_driver(text)
        or vocabulary.public_resource(text)
    )


SECRET = "hushhush"


def secretive() -> list[Object]:
    """A cluster with a secret in every field that people fill in."""
    made = node(f"{SECRET}-node", labels={f"{SECRET}.io/key": SECRET, "team": SECRET})
    made["metadata"]["annotations"] = {"note": SECRET, f"{SECRET}/x": "y"}
    made["spec"] |= {"providerID": SECRET, "podCIDR": "10.1.2.0/24"}
    made["spec"]["taints"] = [{"key": SECRET, "value": SECRET, "effect": "NoSchedule"}]
    made["status"] |= {
        "addresses": [{"type": "InternalIP", "address": "10.9.8.7"}],
        "images": [{"names": [f"registry.{SECRET}.io/app"]}],
        "nodeInfo": {"machineID": SECRET},
    }
    made["status"]["conditions"][0] |= {"message": SECRET, "reason": SECRET}
    made["status"]["allocatable"] |= {f"{SECRET}.io/fpga": "2"}
    secret = pod(
        f"{SECRET}-pod",
        namespace=f"{SECRET}-ns",
        labels={"app": SECRET, f"{SECRET}/label": "x"},
        annotations={"fairstow.dev/movable": "true", "fairstow.dev/other": SECRET, "note": SECRET},
        owner=("StatefulSet", SECRET),
        schedulerName=SECRET,
        serviceAccountName=SECRET,
        hostname=SECRET,
        priorityClassName=SECRET,
        preemptionPolicy="Never",
        imagePullSecrets=[{"name": SECRET}],
        schedulingGates=[{"name": SECRET}],
        volumes=[
            {"name": SECRET, "configMap": {"name": SECRET}},
            {"name": "x", "csi": {"driver": SECRET, "volumeAttributes": {"a": SECRET}}},
            {"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": SECRET}}},
        ],
    )
    secret["metadata"]["managedFields"] = [{"manager": SECRET}]
    secret["metadata"]["ownerReferences"][0] |= {
        "kind": "Hushhush",
        "apiVersion": f"{SECRET}.io/v1",
    }
    secret["spec"]["containers"][0] |= {
        "name": SECRET,
        "image": f"registry.{SECRET}.io/app@sha256:abcd",
        "command": ["run", SECRET],
        "args": [SECRET],
        "workingDir": f"/{SECRET}",
        "env": [{"name": "PASSWORD", "value": SECRET}],
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "livenessProbe": {"httpGet": {"path": f"/{SECRET}"}},
        "ports": [{"name": SECRET, "containerPort": 80, "hostPort": 80, "hostIP": "10.9.8.7"}],
    }
    secret["status"] = {
        "podIP": "10.9.8.7",
        "message": SECRET,
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                        "message": SECRET}, {"type": f"{SECRET}/gate", "status": "True"}],
        "containerStatuses": [{"name": SECRET, "image": SECRET, "imageID": SECRET}],
    }  # fmt: skip
    hidden = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": {"a": SECRET}
    }  # fmt: skip
    return [
        made,
        secret,
        hidden,
        priority_class(SECRET, 5) | {"description": SECRET},
        budget(SECRET, f"{SECRET}-ns", spec={"selector": {"matchLabels": {"app": SECRET}}}),
        job(SECRET),
        {"apiVersion": f"{SECRET}.io/v1", "kind": "Hushkind", "metadata": {"name": SECRET}},
    ]


def test_a_secret_in_every_field_is_gone() -> None:
    output = json.dumps(anonymized(items(*secretive()))[1])
    assert SECRET not in output.lower()
    for text in ("10.9.8.7", "10.1.2.0", "registry", "PASSWORD", "run", "abcd", "note"):
        assert f'"{text}' not in output


def test_what_decides_is_still_there() -> None:
    names, one, other = both(items(*secretive()))
    assert_alike(names, one, other)
    (p,) = other.pods
    assert [c.claim_of(p.name) for c in p.shape.claims] == [
        names.text("claim", f"{SECRET}-pod-data")
    ]
    assert dict(p.annotations) == {"fairstow.dev/movable": "true"}


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ("nvidia.com/gpu-hushhush", "nvidia.com/gpu"),
        ("nvidia.com/mig-hushhush", "nvidia.com/mig-"),
        ("gpu.intel.com/hushhush", "gpu.intel.com/"),
        ("rdma/hca_hushhush", "example.com/"),
        ("attachable-volumes-csi-disk.hushhush.io", "example.com/"),
    ],
)
def test_what_was_added_to_a_vendors_name_is_gone(given: str, start: str) -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-hushhush"}
    one = node("a", labels=labels, allocatable={"cpu": "4", "pods": "9", given: "8"})
    names, objects = anonymized(items(one))
    assert SECRET not in json.dumps(objects)
    assert names.resource(given).startswith(start), "a GPU still counts as one"


@pytest.mark.parametrize(
    "product",
    ["NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED", "Tesla-T4", "nvidia-h100-mega-80gb",
     "AMD_Instinct_MI300X_OAM", "tpu-v5-lite-podslice",
     "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "NVIDIA-GH200-480GB",
     "NVIDIA-L40S", "nvidia-tesla-v100", "H100"],
)  # fmt: skip
def test_public_products_are_kept(product: str) -> None:
    assert vocabulary.public_value("nvidia.com/gpu.product", product)


def test_a_hostname_is_the_name_of_its_node() -> None:
    _, objects = anonymized(items(node("secret-1")))
    metadata = objects[0]["metadata"]
    assert metadata["labels"]["kubernetes.io/hostname"] == metadata["name"]


@given(st.lists(st.sampled_from(["1", "01", "+1", "-3", "007", "7", "80000", "x", "1e3", ""])))
def test_numbers_that_are_compared_keep_their_order(values: list[str]) -> None:
    names = Pseudonyms("zqzq")
    names.compare("memory")
    for value in values:
        names.value("memory", value)
    names.seal()
    new = {value: names.value("memory", value) for value in values}
    assert len(set(new.values())) == len(new)
    numbers = [v for v in new if v.lstrip("+-").isdigit()]
    for a in numbers:
        for b in numbers:
            assert (int(a) < int(b)) == (int(new[a]) < int(new[b]))


def test_ages_stay_and_dates_go() -> None:
    def at(when: str) -> Object:
        return {"metadata": {"creationTimestamp": when}}

    started = {"startTime": "2026-03-01T10:00:00Z"}
    old = pod("a", nodeName="node-0", status=started, **at("2026-03-01T09:00:00Z"))
    new = pod("b", nodeName="node-0", **at("2026-03-01T12:00:30Z"))
    for each, name in ((old, "a"), (new, "b")):
        each["metadata"] |= {"name": name, "namespace": "team", "uid": f"uid-{name}"}
    _, one, other = both(items(node(), old, new))
    assert one.taken_at is not None
    assert other.taken_at is not None
    ages = [[s.taken_at - (p.started or 0) for p in s.pods] for s in (one, other)]  # type: ignore[operator]
    assert ages[0] == ages[1] == [7230, 0]
    assert "2026" not in json.dumps(anonymized(items(node(), old, new))[1])


def test_each_file_has_words_of_its_own() -> None:
    def name() -> str:
        names = Pseudonyms()
        given = list(items(node("secret-1")))
        collect(given[0], names)
        names.seal()
        content = written(given[0], names)
        assert content is not None
        return str(content["metadata"]["name"])

    assert len({name() for _ in range(5)}) > 1
