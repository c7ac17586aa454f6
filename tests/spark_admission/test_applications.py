"""What the controller reads of the cluster: applications, their sizes, what they used; and room.

Covered: whose pods are whose, those that the webhook missed, restarts; Spark's settings; usage over
restarts of ours. Not covered: the API server (e2e/spark_admission).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fairstow.cluster.model import Node, Shape
from fairstow.spark.applications import (
    Application,
    Phase,
    SparkApp,
    applications,
    read_app,
    template,
)
from fairstow.spark.names import ADMITTED, EXECUTORS, LASTING, OWN_SUSPEND, PARENT, QUEUE, USER
from fairstow.spark.pods import SparkPod, read_pod
from fairstow.spark.room import Room
from fairstow.spark.sizes import of_application, of_arguments, of_driver, properties
from fairstow.spark.usage import Usage
from tests.spark_admission.submissions import driver as submitted_driver

QUEUES = {"team": "analytics"}
OLD = {USER: "ana", QUEUE: "analytics"}
ANA = OLD | {EXECUTORS: "recorded"}


def pod(name: str, **fields: Any) -> SparkPod:
    known: dict[str, Any] = {"driver": True, "app": name, "cores": 1000, "uid": f"uid-{name}"}
    return SparkPod(namespace="team", name=name, **(known | fields))


def executor(name: str, owner: str, **fields: Any) -> SparkPod:
    seen = {"fairstow.dev/spark-driver": f"uid-{owner}"}
    return pod(name, driver=False, owners=(f"uid-{owner}",), **{"marks": seen} | fields)


def read(*pods: SparkPod, apps: tuple[SparkApp, ...] = ()) -> dict[str, Application]:
    return {app.name: app for app in applications(pods, apps, QUEUES)}


def test_a_driver_and_its_executors_are_one_application() -> None:
    found = read(
        pod("etl", marks=ANA, node="n", phase="Running"),
        executor("etl-1", "etl", node="n", cores=2000),
        executor("etl-2", "etl"),
        pod("other", marks=ANA | {LASTING: "true"}, gated=True),
    )
    assert found["etl"].phase is Phase.RUNNING
    assert found["etl"].milli == 3000
    assert found["other"].phase is Phase.WAITING
    assert found["other"].lasting


def test_executors_that_outlive_their_driver_count() -> None:
    over = pod("etl", marks=ANA, node="n", phase="Succeeded")
    app = SparkApp(namespace="team", name="op", uid="uid-op", marks=ANA, state="FAILED")
    run = pod("op-driver", marks=ANA | {PARENT: "SparkApplication/op"}, phase="Failed")
    left = [executor(f"{each}-1", each, node="n", phase="Running") for each in ("etl", "op-driver")]
    found = read(over, run, *left, apps=(app,))
    assert {each.phase for each in found.values()} == {Phase.RUNNING}
    assert all(each.milli == 1000 and each.ending for each in found.values())
    assert {each.phase for each in read(over, run, apps=(app,)).values()} == {Phase.ENDED}


def test_what_nobody_queued_is_counted_and_charged_to_its_namespace() -> None:
    found = read(pod("direct", phase="Running"), executor("book-1", "nobody", app="notebook"))
    assert all(app.missed and app.user == "missed:team" for app in found.values())
    assert len(found) == 2
    assert applications([pod("direct")], (), {}) == ()


def test_executors_that_the_webhook_should_have_seen_are_nobodys() -> None:
    """Those that ran when executors began to be seen, and later ones, stay their driver's."""
    new, old = pod("new", marks=ANA, node="n"), pod("old", marks=OLD, node="n")
    unseen = [executor(f"{each}-1", each, app="x", marks={}, node="n") for each in ("new", "old")]
    found = read(new, old, *unseen)
    assert (found["new"].milli, found["old"].milli) == (1000, 2000)
    assert (found["new-1"].missed, found["new-1"].user) == (True, "missed:team")


@pytest.mark.parametrize("hook", [{"exec": {"command": ["decom.sh"]}}, None])
def test_pods_with_hooks_are_read(hook: Any) -> None:
    raw = submitted_driver("etl")
    raw["spec"]["containers"][0]["lifecycle"] = {"preStop": hook}
    assert read_pod(msgspec.Raw(msgspec.json.encode(raw))).decommissions is (hook is not None)


def test_executors_stay_whose_they_were_recorded_to_be_whatever_owners_they_get() -> None:
    drivers = [pod(name, marks=ANA, node="n") for name in ("etl", "other")]
    moved = [executor(f"etl-{number}", "etl", node="n") for number in range(2)]
    moved = [
        replace(each, owners=owners)
        for each, owners in zip(moved, [(), ("uid-other", "uid-etl")], strict=True)
    ]
    found = read(*drivers, *moved)
    assert (found["etl"].milli, found["other"].milli) == (3000, 1000)


MARKS = st.sampled_from([{}, OLD, ANA, ANA | {LASTING: "true"}])


@st.composite
def moments(draw: st.DrawFn) -> list[SparkPod]:
    """Drivers and executors of a few names, each there or not."""
    found = []
    for name in draw(st.sets(st.sampled_from("abcd"))):
        state = {"gated": draw(st.booleans()), "phase": draw(st.sampled_from(["", "Succeeded"]))}
        found.append(pod(name, marks=draw(MARKS), node=draw(st.sampled_from(["", "n"])), **state))
    for number, owner in enumerate(draw(st.lists(st.sampled_from("abcd"), max_size=4))):
        found.append(executor(f"e{number}", owner, node=draw(st.sampled_from(["", "n"]))))
    return found


@given(st.lists(moments(), min_size=2, max_size=4))
def test_what_was_known_before_changes_nothing(turns: list[list[SparkPod]]) -> None:
    known: dict[str, Application] = {}
    for there in turns:
        found = applications(there, (), QUEUES, known)
        assert found == applications(there, (), QUEUES)
        known = {each.id: each for each in found}


def test_what_others_queue_is_left_alone_but_not_what_was_queued_here() -> None:
    left = read(
        pod("theirs", foreign=True, phase="Running"),
        executor("theirs-1", "theirs"),
        executor("alone", "nobody", foreign=True),
    )
    assert left == {}
    kept = read(
        pod("ours", marks=ANA, foreign=True, phase="Running"),
        executor("ours-1", "ours", foreign=True, node="n"),
    )
    assert kept["ours"].milli == 1000


def test_runs_of_a_spark_application_are_its_own() -> None:
    app = SparkApp(namespace="team", name="etl", uid="uid-app", marks=ANA)
    run = pod("etl-driver", marks=ANA | {PARENT: "SparkApplication/etl"}, phase="Running")
    found = read(run, executor("e", "etl-driver"), apps=(app,))
    assert list(found) == ["etl"]
    assert len(found["etl"].pods) == 2
    own = msgspec.structs.replace(app, suspended=True, marks=ANA | {OWN_SUSPEND: "true"})
    assert read(apps=(own,))["etl"].own_suspend
    over = msgspec.structs.replace(app, state="COMPLETED")
    assert read(apps=(over,))["etl"].phase is Phase.ENDED
    stranger = msgspec.structs.replace(app, marks={})
    assert read(apps=(stranger,)) == {}


def test_objects_are_read_as_the_api_server_shows_them() -> None:
    raw = submitted_driver(spark_user="ana") | {"status": {"phase": "Succeeded"}}
    raw["metadata"] |= {
        "namespace": "team",
        "uid": "u",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    raw["spec"] |= {
        "nodeName": "n",
        "volumes": [{"name": "spark-conf-volume-driver", "configMap": {"name": "conf"}}],
    }
    raw["status"] |= {
        "startTime": "2026-01-01T00:01:00Z",
        "containerStatuses": [{"state": {"terminated": {"finishedAt": "2026-01-01T00:02:00Z"}}}],
    }
    found = read_pod(msgspec.Raw(msgspec.json.encode(raw)))
    assert (found.properties, found.arguments[:1], found.cores) == ("conf", ("driver",), 1000)
    assert found.used(1e12) == 60.0
    app = {"metadata": {"name": "etl", "uid": "u", "annotations": {ADMITTED: "x", "b": "y"}}}
    assert read_app(msgspec.Raw(msgspec.json.encode(app))).marks == {ADMITTED: "x"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nightly-report-driver", "nightly-report"),
        ("etl-20260101", "etl"),
        ("spark-pi-3f9a1c0722aa-driver", "spark-pi"),
        ("7", "7"),
        ("level-2-report", "level-2-report"),
        ("etl-20260101-0815-driver", "etl"),
        ("1" * 60 + "z", "1" * 60 + "z"),
    ],
)
def test_runs_of_one_template_have_one_name(name: str, expected: str) -> None:
    assert template(name) == expected


def test_settings_are_read_as_java_writes_them() -> None:
    text = "#Java properties\nspark.executor.cores=4\nspark.jars=local\\:///a\\=b.jar\n\na:b\n"
    assert properties(text) == {
        "spark.executor.cores": "4",
        "spark.jars": "local:///a=b.jar",
        "a": "b",
    }
    assert of_arguments(["driver", "--conf", "a=b=c", "--class", "X"]) == {"a": "b=c"}


def test_sizes_follow_sparks_settings() -> None:
    plain = of_driver(1000, {})
    assert (plain.first, plain.most, plain.first_milli) == (2, 2, 3000)
    assert plain.executor_memory == (1024 + 384) << 20
    dynamic = of_driver(
        500,
        {
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.maxExecutors": "9",
            "spark.executor.cores": "4",
            "spark.kubernetes.executor.request.cores": "2500m",
            "spark.executor.memory": "10g",
        },
    )
    assert (dynamic.first, dynamic.most, dynamic.executor_milli) == (1, 9, 2500)
    assert dynamic.executor_memory == 11 << 30
    odd = of_driver(0, {"spark.executor.instances": "many", "spark.executor.memory": "?"})
    assert odd.first == 2
    vast = of_driver(0, {"spark.executor.memory": "999999999999p"})
    assert vast.executor_memory < 2**63


def test_the_size_of_a_spark_application() -> None:
    spec = {
        "type": "Python",
        "driver": {"coreRequest": "500m", "memory": "1g"},
        "executor": {"cores": 2, "memory": "2g"},
        "dynamicAllocation": {"enabled": True, "minExecutors": 3},
    }
    size = of_application(spec)
    assert (size.driver_milli, size.executor_milli, size.first) == (500, 2000, 3)
    assert size.executor_memory == int((2 << 30) * 1.4)


def test_usage_counts_pods_that_are_gone_once() -> None:
    usage = Usage()
    one, two = (
        executor("e1", "d", started=0, node="n"),
        executor("e2", "d", started=0, node="n", cores=2000),
    )
    driver = pod("d", marks=ANA, phase="Running")
    usage.look(10, read(driver, one, two).values())
    assert usage.of("uid-d") == 30
    usage.look(20, read(driver, two).values())
    assert usage.of("uid-d") == 20 + 40
    usage.look(30, read(driver, two).values())
    assert usage.of("uid-d") == 20 + 60
    successor = Usage()
    successor.resume("uid-d", 80.0)
    successor.look(40, read(driver, two).values())
    assert successor.of("uid-d") == 80
    successor.look(50, read(driver, two).values())
    assert successor.of("uid-d") == 100
    usage.look(60, ())
    assert usage.of("uid-d") == 0


@pytest.mark.parametrize("name", ["../../secrets/x", "a?b", "x/", ""])
def test_settings_are_read_of_configmaps_alone(name: str) -> None:
    """A volume may name anything; the controller asks for it by its path."""
    raw = submitted_driver()
    volume = {"name": "spark-conf-volume-driver", "configMap": {"name": name}}
    raw["spec"]["volumes"] = [volume]
    assert read_pod(msgspec.Raw(msgspec.json.encode(raw))).properties == ""


def shape(cpu: int, **more: Any) -> Shape:
    plain: dict[str, Any] = {
        "node_selector": (), "node_affinity": None, "tolerations": (), "anti_affinity": (),
        "unmodelled": (), "local_storage": "", "priority": 0, "preempts": True, "scheduler": "",
    }  # fmt: skip
    return Shape(requests=(("cpu", cpu), ("pods", 1)), **(plain | more))


def test_room_is_for_all_pods_or_for_none() -> None:
    nodes = [
        Node(name, {"disk": name}, (), {"cpu": 4000, "pods": 10}, unschedulable=False, closed="")
        for name in ("a", "b")
    ]
    free = {"a": {"cpu": 3000, "pods": 5}, "b": {"cpu": 1000, "pods": 5}}
    room = Room(nodes, free.get)
    assert not room.take(((shape(1000), 1), (shape(2000), 2)))
    assert room.take(((shape(1000), 1), (shape(2000), 1)))
    assert room.take(((shape(1000), 1),))
    assert not room.take(((shape(1000), 1),))
    assert free["a"]["cpu"] == 3000
    assert room.ever(((shape(4000), 1),))
    assert not room.ever(((shape(4001), 1),))
    assert not room.ever(((shape(1, node_selector=(("disk", "c"),)), 1),))
    assert room.ever(((shape(1000), 2), (shape(2000), 3)))
    assert not room.ever(((shape(1000), 1), (shape(2000), 4)))
    assert not room.take(((shape(0), 10**15),))
    assert room.take(((shape(0), 6),))
