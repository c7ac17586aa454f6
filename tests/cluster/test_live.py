"""A cluster kept up to date event by event is the one that is read anew; nothing is left of pods.

Oracle: `project.Builder(live=True)` on the objects that are there after the same random events.
Besides: room and lists of pods per node and owner, what is assumed, malformed objects, sharing.
Where the events come from is covered in tests/kube/test_reflector.py and e2e/test_watch.py.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cluster.errors import InputError
from fairstow.cluster.items import Item
from fairstow.cluster.kinds import NODE, POD, READ, Kind
from fairstow.cluster.live import LiveCluster
from fairstow.cluster.project import Builder
from fairstow.cluster.snapshot import Snapshot
from tests.cluster import random_clusters
from tests.cluster.objects import Object, budget, job, namespace, node, pod, priority_class
from tests.cluster.random_pods import Uses

TIMES = ("2026-01-01T00:00:00Z", "2026-02-01T10:00:00Z", "2026-03-01T00:00:00.5Z")
KINDS = {(k.name, k.api_version): k for k in READ}
GANG_KINDS = [k for k in READ if k.name == "PodGroup"]


def kind_of(obj: Object) -> Kind:
    return KINDS[obj["kind"], obj["apiVersion"]]


def name_of(obj: Object) -> str:
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


@dataclass
class Both:
    """A live cluster and the objects it should hold."""

    live: LiveCluster = field(default_factory=LiveCluster)
    objects: dict[tuple[Kind, str], Object] = field(default_factory=dict)

    def upsert(self, obj: Object) -> None:
        self.objects[kind_of(obj), name_of(obj)] = obj
        self.live.upsert(kind_of(obj), raw(obj))

    def delete(self, obj: Object) -> None:
        del self.objects[kind_of(obj), name_of(obj)]
        self.live.delete(kind_of(obj), raw(obj))

    def replace(self, kind: Kind, objects: list[Object]) -> None:
        for key in [k for k in self.objects if k[0] == kind]:
            del self.objects[key]
        self.objects |= {(kind, name_of(o)): o for o in objects}
        self.live.replace(kind, [raw(o) for o in objects])

    def of(self, kind: Kind) -> list[Object]:
        return [obj for (k, _), obj in self.objects.items() if k == kind]

    def anew(self) -> Snapshot:
        builder = Builder(live=True)
        for kind in READ:
            for index, obj in enumerate(self.of(kind)):
                builder.add(Item("cluster", index, kind.name, raw(obj), kind.api_version))
            nothing: Object = {"items": []}
            builder.add(Item("cluster", 0, f"{kind.name}List", nothing, kind.api_version))
        return builder.build()


def raw(obj: Object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(obj))


def listed(*objects: Object) -> Both:
    """A cluster of which every kind was listed once."""
    both = Both()
    for kind in READ:
        both.replace(kind, [o for o in objects if kind_of(o) == kind])
    return both


def everything(rng: random.Random) -> list[Object]:
    """Objects of every kind, some of them close to each other."""
    made = random_clusters.cluster(rng.randrange(1 << 30), ~Uses(0), nodes=4, pods=10).objects
    made += [job("train"), job("batch", tolerant=False), budget(), budget("other", "red")]
    made += [priority_class("low", 5), priority_class("bulk", 5), namespace("team", a="b")]
    for kind in GANG_KINDS:
        for name, least in (("gang", 2), ("other", None)):
            meta = {"name": name, "namespace": "team"}
            spec = {} if least is None else {"minMember": least + len(kind.api_version) % 3}
            made.append(
                {"apiVersion": kind.api_version, "kind": "PodGroup", "metadata": meta, "spec": spec}
            )
    known = [o for o in made if (o["kind"], o["apiVersion"]) in KINDS]
    return [dated(rng, o) for o in known]


def dated(rng: random.Random, obj: Object) -> Object:
    obj["metadata"].setdefault("creationTimestamp", rng.choice(TIMES))
    return obj


def changed(rng: random.Random, obj: Object, nodes: list[str]) -> Object:
    """The object a moment later."""
    new = copy.deepcopy(obj)
    meta, spec, status = new["metadata"], new.setdefault("spec", {}), new.setdefault("status", {})
    meta["labels"] = {"app": rng.choice(("web", "db"))}
    if new["kind"] == "Node":
        if rng.random() < 0.3:
            status.pop("allocatable", None)
            status.pop("capacity", None)
        status["conditions"] = [
            {"type": "Ready", "status": rng.choice(("True", "False")), "lastHeartbeatTime": t}
            for t in rng.sample(TIMES, 1)
        ]
    if new["kind"] == "Pod":
        if rng.random() < 0.4 and not spec.get("nodeName"):
            spec["nodeName"] = rng.choice([*nodes, "gone"])
        if rng.random() < 0.2:
            meta["deletionTimestamp"] = TIMES[0]
        status["phase"] = rng.choice(("Pending", "Running", "Running", "Succeeded", "Failed"))
        status["startTime"] = rng.choice(TIMES)
        status["nominatedNodeName"] = rng.choice(("", "gone", *nodes))
        if rng.random() < 0.2:
            meta["uid"] = f"again-{rng.randrange(1 << 40)}"  # deleted and made anew, unseen
    if new["kind"] == "PodDisruptionBudget":
        status["disruptionsAllowed"] = rng.randrange(3)
    return new


def step(rng: random.Random, both: Both, spare: list[Object]) -> None:
    """One random event: added, changed, deleted, or a kind listed again."""
    there = list(both.objects.values())
    nodes = [name_of(o) for o in both.of(NODE)]
    choice = rng.random()
    if choice < 0.25 and spare:
        both.upsert(spare.pop(rng.randrange(len(spare))))
    elif choice < 0.7 and there:
        both.upsert(changed(rng, rng.choice(there), nodes))
    elif choice < 0.9 and there:
        gone = rng.choice(there)
        both.delete(gone)
        spare.append(gone)
    else:
        kind = rng.choice(READ)
        kept = [changed(rng, o, nodes) for o in both.of(kind) if rng.random() < 0.8]
        both.replace(kind, kept)
    pods = [o["metadata"]["uid"] for o in both.of(POD)]
    if pods and rng.random() < 0.2:
        both.live.assume(rng.choice(pods), rng.choice([*nodes, "gone"]))


def agrees(both: Both) -> None:
    """What the live cluster says is what a fresh reading of its objects says."""
    live = both.live
    assert not live.problems
    if not both.of(NODE):
        with pytest.raises(InputError, match="holds no Node"):
            live.snapshot()
        return
    fresh = both.anew()
    assert live.snapshot() == fresh
    assert live.snapshot().hash == fresh.hash
    for uid in list(live._assumed):
        live.forget(uid)
    assert {p.uid for p in live.waiting()} == {p.uid for p in fresh.pending}
    for name, record in fresh.node_by_name.items():
        assert live.used(name) == fresh.used[name]
        assert live.free(name) == fresh.free(record)
        assert {p.uid for p in live.pods_on(name)} == {p.uid for p in fresh.pods_on[name]}
    for one in fresh.pods:
        same = {p.uid for p in fresh.pods if p.workload == one.workload}
        found = list(live.pods_of(one.workload))
        assert same == {p.uid for p in found if not p.node or p.node in fresh.node_by_name}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 40), st.integers(1, 40))
def test_events_one_by_one_give_what_a_fresh_reading_gives(seed: int, events: int) -> None:
    rng = random.Random(seed)
    objects = everything(rng)
    rng.shuffle(objects)
    there = len(objects) * 2 // 3
    both, spare = listed(*objects[:there]), objects[there:]
    agrees(both)
    for _ in range(events):
        step(rng, both, spare)
    agrees(both)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 40))
def test_nothing_is_left_of_a_cluster_whose_objects_are_gone(seed: int) -> None:
    rng = random.Random(seed)
    objects = everything(rng)
    both = listed(*objects)
    spare: list[Object] = []
    for _ in range(20):
        step(rng, both, spare)
    for kind in READ:
        both.replace(kind, [])
    live = both.live
    indexes: list[Any] = [live.nodes, live._pods, live._assumed, live._on, live._of, live._unbound]
    indexes += [live._used, live._free]
    assert not any([*indexes, len(live._shared), *live._reads.values()])


def free_cpu(live: LiveCluster, name: str) -> int:
    free = live.free(name)
    assert free is not None
    return free["cpu"]


def test_assumed_room_is_held_until_the_watch_shows_the_pod() -> None:
    both = listed(node("a"), node("b"), pod(requests={"cpu": "2"}))
    live, uid = both.live, "uid-team-pod-0"
    assert live.assume(uid, "a")
    assert (free_cpu(live, "a"), free_cpu(live, "b")) == (6000, 8000)
    assert not list(live.waiting())
    assert live.snapshot().pending  # a snapshot is what the watch says
    assert live.assume(uid, "b")
    assert (free_cpu(live, "a"), free_cpu(live, "b")) == (8000, 6000)
    both.upsert(pod(requests={"cpu": "2"}, labels={"changed": "yes"}))
    assert free_cpu(live, "b") == 6000
    both.upsert(pod(requests={"cpu": "2"}, nodeName="a"))
    assert (free_cpu(live, "a"), free_cpu(live, "b")) == (6000, 8000)
    assert not live.assumed
    assert not live.assume(uid, "b")


def test_an_assumption_is_undone_and_ends_with_its_pod() -> None:
    both = listed(node("a"), pod(requests={"cpu": "2"}))
    live, uid = both.live, "uid-team-pod-0"
    live.assume(uid, "a")
    live.forget(uid)
    live.forget(uid)
    assert free_cpu(live, "a") == 8000
    assert [p.uid for p in live.waiting()] == [uid]
    live.assume(uid, "a")
    both.delete(pod())
    assert free_cpu(live, "a") == 8000
    assert not live.assume("nobody", "a")
    assert not live.assumed


@pytest.mark.parametrize("damage", [{"priority": "high"}, {"containers": None}, {"volumes": [3]}])
def test_a_malformed_object_is_left_out_and_named_until_it_is_mended(damage: Object) -> None:
    both = listed(node("node-0"), pod(nodeName="node-0"), pod("other", nodeName="node-0"))
    live = both.live
    broken = pod(nodeName="node-0")
    broken["spec"] |= damage
    live.upsert(POD, raw(broken))
    assert list(live.problems) == [("pods", "team/pod-0")]
    assert next(iter(damage)) in live.problems["pods", "team/pod-0"]
    assert [p.name for p in live.snapshot().pods] == ["other"]
    assert live.used("node-0")["cpu"] == 1000
    both.upsert(pod(nodeName="node-0"))
    agrees(both)


@pytest.mark.parametrize("damage", [{"metadata": 3}, {"metadata": {}}, {}, {"metadata": None}])
def test_an_object_without_a_name_is_counted(damage: Object) -> None:
    live = listed(node("node-0")).live
    live.upsert(POD, raw(damage))
    assert list(live.problems) == [("pods", "")]
    live.delete(POD, raw(damage))
    live.replace(POD, [])
    assert not live.problems


def test_a_malformed_object_that_goes_is_forgotten() -> None:
    live = listed(node("node-0")).live
    live.upsert(POD, raw(pod(priority="high")))
    live.delete(POD, raw(pod(priority="high")))
    assert not live.problems


def test_a_kind_is_known_once_it_was_listed() -> None:
    live = LiveCluster()
    live.upsert(NODE, raw(node("node-0")))
    assert live.snapshot().known == frozenset()
    live.retain(NODE, {"node-0"})
    assert live.snapshot().known == {"Node"}
    live.upsert(POD, raw(pod(nodeName="node-0")))
    live.retain(POD, {"team/pod-0"})
    live.unknown(POD)
    assert live.known == {"Node"}
    assert not live.snapshot().pods


def test_equal_pods_share_their_parts() -> None:
    live = listed(node("node-0")).live
    for index in range(3):
        live.upsert(POD, raw(pod(f"pod-{index}", labels={"app": "web"}, nodeName="node-0")))
    first, second, third = live.pods_on("node-0")
    assert first.shape is second.shape is third.shape
    assert first.labels is third.labels
    assert first.owner is third.owner
    assert first.node is third.node


def test_listeners_hear_of_every_change() -> None:
    live = LiveCluster()
    heard: list[tuple[str, str]] = []
    live.listeners.append(lambda kind, name: heard.append((kind.name, name)))
    live.upsert(NODE, raw(node("a")))
    live.upsert(NODE, raw(node("b")))
    live.delete(NODE, raw(node("a")))
    live.retain(NODE, set())
    assert heard == [("Node", "a"), ("Node", "b"), ("Node", "a"), ("Node", "b")]
