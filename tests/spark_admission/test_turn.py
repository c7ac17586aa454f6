"""Whole turns of the Spark controller, against a stand-in for the API server that applies patches.

Covered: an application from its gate to its charge, one that somebody else changed meanwhile, a
successor that knows what its predecessor knew, room that is kept for first pods. Not covered: a
real one (e2e/spark_admission).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from controllers.health import Turns
from controllers.spark.keeping import Keeper
from controllers.spark.objects import ADMISSION, NAMESPACE, SPARK_QUEUE, Admission, SparkObjects
from controllers.spark.queues import SparkLoop
from fairstow.api import PackingPlan
from fairstow.cluster.kinds import NODE, POD
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.problems import ApiError
from fairstow.spark.names import DRIVER_UID, GATE, USER
from tests.scheduler_plugins.plans import Arrival, Plan

Json = dict[str, Any]
NODE_OBJECT: Json = {
    "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {},
    "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "pods": "110"},
               "conditions": [{"type": "Ready", "status": "True"}]},
}  # fmt: skip


def driver(name: str, user: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "team", "uid": f"uid-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"spark-role": "driver", "spark-app-selector": name},
            "annotations": {USER: user, "fairstow.dev/spark-queue": "q"},
        },
        "spec": {
            "containers": [{"name": "d", "resources": {"requests": {"cpu": "1"}}}],
            "schedulingGates": [{"name": GATE}],
        },
        "status": {"phase": "Pending"},
    }  # fmt: skip


class Scene:
    """One queue of three cores, an API server, and a controller that watches it."""

    def __init__(self, *pods: Json) -> None:
        self.pods = {pod["metadata"]["name"]: pod for pod in pods}
        self.told: dict[str, Json] = {}
        self.at_release: dict[str, Json] = {}
        self.admissions: dict[str, Admission] = {}
        self.events: list[tuple[str, str]] = []
        self.maps: dict[str, Json] = {}
        self.settings: dict[str, str] = {}
        self.refuses = 0
        self.deleted = False
        self.plans: tuple[PackingPlan, ...] = ()
        self.spec: Json = {"cores": 3}
        self.now = 1_767_225_600.0
        self.begin()

    def begin(self) -> None:
        """Start a controller."""
        api = cast(Api, self)
        self.cluster, self.objects = LiveCluster(), SparkObjects(api, lambda: self.plans)
        self.objects._admissions.found = self.admissions
        for each in self.objects.reflectors:
            each.synced.set()
        record = SimpleNamespace(record=lambda about, why, *_, **__: self.say(about.name, why))
        self.loop = SparkLoop(
            api, self.cluster, self.objects, Keeper(api, "fairstow-system"),
            recorder=cast(Any, record), fresh=lambda: True, clock=lambda: self.now, turns=Turns(),
        )  # fmt: skip

    def say(self, name: str, why: str) -> None:
        self.events.append((name, why))

    def turn(self) -> None:
        self.cluster.upsert(NODE, NODE_OBJECT)
        labels = {"fairstow.dev/spark-queue": "q"}
        queue = {"metadata": {"name": "q"}, "spec": self.spec}
        store = self.objects._store
        store.upsert(NAMESPACE, raw({"metadata": {"name": "team", "labels": labels}}))
        if self.deleted:
            store.delete(SPARK_QUEUE, raw(queue))
        else:
            store.upsert(SPARK_QUEUE, raw(queue))
        for pod in self.pods.values():
            self.cluster.upsert(POD, pod)
            self.objects._pods.upsert(POD, raw(pod))
        asyncio.run(self.loop.turn())

    def gated(self) -> set[str]:
        return {name for name, pod in self.pods.items() if pod["spec"].get("schedulingGates")}

    # What the controller asks

    async def list(self, _path: str, _query: Json) -> tuple[tuple[Json, ...], str]:
        return tuple(self.maps.values()), "1"

    async def get(self, path: str) -> Json:
        name = path.rpartition("/")[2]
        if "/pods/" in path:
            return self.pods[name]
        if name not in self.settings:
            raise ApiError(404, "no settings", "NotFound")
        return {"data": {"spark.properties": self.settings[name]}}

    async def patch(self, path: str, body: Sequence[Json], _type: str) -> None:
        if self.refuses:
            raise ApiError(self.refuses, "no", "")
        pod = self.pods[path.rpartition("/")[2]]
        for mark in (each for each in body if "spark-admitted-at" in each["path"]):
            self.at_release[pod["metadata"]["name"]] = self.told[pod["metadata"]["name"]]
            pod["metadata"]["annotations"]["fairstow.dev/spark-admitted-at"] = mark["value"]
        pod["spec"]["schedulingGates"] = []

    async def create(self, path: str, obj: Json) -> None:
        if path.endswith("/configmaps"):
            self.maps[obj["metadata"]["name"]] = obj

    async def replace(self, _path: str, obj: Json) -> None:
        self.maps[obj["metadata"]["name"]] = obj

    async def apply(self, obj: Json, *_: Any, **__: Any) -> None:
        name = obj["metadata"]["name"].partition("-uid-")[0]
        self.told[name] = obj["status"]
        if obj["kind"] == "SparkAdmission":
            spec = {"uid": f"uid-{name}"}
            seen = {"metadata": obj["metadata"] | {"uid": name}, "spec": spec}
            self.objects._admissions.upsert(ADMISSION, raw(seen | {"status": obj["status"]}))


def raw(obj: Json) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(obj).encode())


def test_from_its_gate_to_its_charge() -> None:
    scene = Scene(driver("ana", "ana"), driver("bob", "bob"))
    scene.now += 61  # nobody made their settings: Spark's defaults, three cores together
    scene.turn()
    assert scene.gated() == {"bob"}
    assert scene.told["ana"]["phase"] == "Admitted"
    assert scene.told["bob"]["reason"] == "WaitsForCores"
    assert ("ana", "ItsTurn") in scene.events
    scene.turn()
    assert scene.gated() == {"bob"}, "room is kept for ana's executors"
    scene.pods["ana"]["spec"]["nodeName"] = "n"
    scene.pods["ana"]["status"] = {"phase": "Succeeded", "startTime": "2026-01-01T00:01:01Z"}
    scene.now += 100
    scene.turn()
    assert scene.gated() == set()
    scene.turn()
    assert scene.told["q"]["running"] == 1


def test_what_is_not_as_it_was_seen_is_not_said_to_go() -> None:
    scene = Scene(driver("ana", "ana"))
    scene.refuses = 422
    scene.now += 61
    scene.turn()
    assert scene.gated() == {"ana"}
    assert ("ana", "ItsTurn") not in scene.events
    scene.refuses = 0
    scene.turn()
    assert scene.gated() == set()


@pytest.mark.parametrize("status", [400, 403])
def test_a_namespace_that_isnt_permitted_is_said(status: int) -> None:
    scene = Scene(driver("ana", "ana"))
    scene.refuses = status
    scene.now += 61
    scene.turn()
    scene.turn()
    assert scene.told["ana"]["reason"] == "NotPermitted"


def test_a_successor_goes_on_where_its_predecessor_was() -> None:
    scene = Scene(driver("ana", "ana"), driver("bob", "bob"))
    scene.now += 61
    scene.turn()
    due = scene.told["bob"]["virtualFinish"]
    scene.begin()
    scene.now += 1
    scene.turn()
    assert scene.told["bob"]["virtualFinish"] == due
    assert scene.gated() == {"bob"}


def test_room_is_kept_from_before_the_release_until_the_pods_have_nodes() -> None:
    scene = Scene(driver("ana", "ana"))
    scene.now += 61
    scene.turn()
    before, after = scene.at_release["ana"], scene.told["ana"]
    assert (before["phase"], before["reason"]) == ("Waiting", "KeepingRoom")
    kept = before["reservation"]
    assert [(each["owner"], each["pods"]) for each in kept["rooms"]] == [
        ("Pod/ana", 1),
        ("Pod/ana", 2),
    ]
    assert kept["until"] == "2026-01-01T00:03:01Z"
    assert after["reservation"] == kept
    scene.begin()  # a successor finds it again
    scene.now += 2
    scene.turn()
    assert scene.told["ana"]["reservation"] == kept
    scene.pods["ana"]["spec"]["nodeName"] = "n"
    for number in range(2):
        scene.pods[f"e{number}"] = executor(f"e{number}", "ana")
    scene.turn()
    assert "reservation" not in scene.told["ana"]


def test_room_is_free_again_when_the_release_fails_or_time_is_over() -> None:
    scene = Scene(driver("ana", "ana"))
    scene.refuses = 422
    scene.now += 61
    scene.turn()
    assert "reservation" in scene.told["ana"]
    scene.objects._store.upsert(SPARK_QUEUE, raw(HELD))
    asyncio.run(scene.loop.turn())
    assert "reservation" not in scene.told["ana"]
    scene.refuses = 0
    scene.turn()
    assert "reservation" in scene.told["ana"]
    scene.now += 121
    scene.turn()
    assert "reservation" not in scene.told["ana"]
    assert ("ana", "PodsLate") in scene.events


def test_what_a_plan_under_way_keeps_is_no_room_for_an_application() -> None:
    scene = Scene(driver("ana", "ana"))
    big = Arrival("team", "big", "uid-big", "n", {"cpu": "7"}, "ReplicaSet/big")  # of eight
    scene.plans = (PackingPlan.model_validate(Plan("p", ((big,),)).to_object()),)
    scene.now += 61
    scene.turn()
    assert scene.gated() == {"ana"}
    assert scene.told["ana"]["reason"] == "WaitsForRoom"
    scene.now += 7200  # its step is long overdue: nothing is kept any more
    scene.turn()
    assert scene.gated() == set()


HELD: Json = {"metadata": {"name": "q"}, "spec": {"cores": 3, "hold": True}}


def executor(name: str, owner: str) -> Json:
    pod = driver(name, owner)
    pod["metadata"]["labels"] = {"spark-role": "executor", "spark-app-selector": owner}
    pod["metadata"]["annotations"] = {DRIVER_UID: f"uid-{owner}"}
    reference = {"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": f"uid-{owner}"}
    pod["metadata"]["ownerReferences"] = [reference | {"controller": True}]
    pod["spec"] = {"containers": pod["spec"]["containers"], "nodeName": "n"}
    return pod


def test_who_is_far_from_their_turn_is_told_again_when_that_is_news() -> None:
    scene = Scene(*(driver(f"ana-{number:03}", "ana") for number in range(150)))
    for _ in range(3):  # a hundred are told in a turn
        scene.turn()
    before = scene.told["ana-149"]["position"]
    scene.told.clear()
    scene.turn()
    assert scene.told.keys() <= {"q"}
    for number in range(60):
        gone = raw(scene.pods.pop(f"ana-{number:03}"))
        scene.objects._pods.delete(POD, gone)
    scene.turn()
    assert before - 60 <= scene.told["ana-149"]["position"] < before
