"""Executors that wait, over whole turns of the Spark controller (`Scene` of test_turn.py).

Covered: who keeps them waiting and who doesn't, after a restart too; applications that are over;
a queue that is deleted.
Not covered: who gets how many (test_elastic.py), a real API server
(e2e/spark_admission/test_borrowing.py).
"""

from __future__ import annotations

from typing import Any

import pytest

from controllers.spark.elastic import grace
from fairstow.spark.names import GATE
from fairstow.spark.pods import read_pod
from tests.spark_admission.test_turn import Json, Scene, driver, executor, raw

ADMITTED = {"fairstow.dev/spark-admitted-at": "2026-01-01T00:00:01Z"}


def running(name: str) -> Json:
    pod = driver(name, name)
    pod["metadata"]["annotations"] |= ADMITTED
    pod["spec"] |= {"nodeName": "n", "schedulingGates": []}
    pod["status"] = {"phase": "Running", "startTime": "2026-01-01T00:00:02Z"}
    return pod


def held(name: str, owner: str) -> Json:
    pod = executor(name, owner)
    del pod["spec"]["nodeName"]
    pod["spec"]["schedulingGates"] = [{"name": GATE}]
    return pod


def scene(*pods: Json, **spec: Any) -> Scene:
    made = Scene(running("ana"), executor("e1", "ana"), executor("e2", "ana"), *pods)
    made.spec, made.now = {"cores": 6} | spec, made.now + 600
    return made


def test_an_executor_goes_once_there_are_cores_and_nobody_waits() -> None:
    there = scene(held("e3", "ana"), cores=3)
    there.turn()
    assert there.gated() == {"e3"}
    there.spec = {"cores": 4}
    there.turn()
    assert there.gated() == set()


def pending(name: str, owner: str, created: str) -> Json:
    pod = held(name, owner)
    pod["metadata"]["creationTimestamp"] = created
    pod["spec"]["schedulingGates"] = []
    return pod


def test_executors_that_are_on_their_way_to_nodes_count() -> None:
    there = scene(pending("e3", "ana", "2026-01-01T00:09:30Z"), held("e4", "ana"), cores=4)
    there.turn()
    assert there.told["q"]["holdsExecutors"] is True
    assert there.gated() == {"e4"}
    there.now += 120
    there.turn()
    assert there.gated() == set(), "no node was found for it, so others may try"
    there.turn()
    assert there.told["q"]["holdsExecutors"] is True, "now that one is on its way"


def test_those_of_one_that_never_ends_dont() -> None:
    stream = running("stream")
    stream["metadata"]["annotations"]["fairstow.dev/lasting"] = "true"
    theirs = pending("s1", "stream", "2026-01-01T00:09:30Z")
    there = scene(stream, theirs, held("e3", "ana"), cores=7, reservedCores=3)
    there.turn()
    assert there.gated() == set()


@pytest.mark.parametrize(
    ("own", "stops", "given"), [(None, True, 120), (600, True, 600), (600, False, None)]
)
def test_who_moves_data_has_two_minutes_or_its_own_time_if_that_is_more(
    own: int | None, stops: bool, given: int | None
) -> None:
    pod = executor("e1", "ana")
    pod["spec"]["terminationGracePeriodSeconds"] = own
    if stops:
        pod["spec"]["containers"][0]["lifecycle"] = {"preStop": {"exec": {}}}
    assert grace(read_pod(raw(pod))) == given


def test_one_that_waits_for_cores_goes_before_executors() -> None:
    there = scene(held("e3", "ana"), driver("bob", "bob"), cores=5)
    there.turn()
    assert there.gated() == {"bob", "e3"}
    assert there.told["q"]["holdsExecutors"] is True


def test_one_that_never_ends_and_finds_no_room_keeps_no_executors_waiting() -> None:
    stream = driver("stream", "bob")
    stream["metadata"]["annotations"]["fairstow.dev/lasting"] = "true"
    stream["spec"]["nodeSelector"] = {"there": "none"}
    there = scene(held("e3", "ana"), stream, cores=12, reservedCores=6)
    there.turn()
    assert there.told["stream"]["reason"] == "WaitsForRoom"
    assert there.gated() == {"stream"}
    assert not there.told["q"].get("holdsExecutors")


def test_after_a_restart_it_is_known_what_an_application_began_with() -> None:
    there = scene(held("e3", "ana"), held("e4", "ana"), driver("bob", "bob"), cores=5)
    there.pods["ana"]["spec"]["volumes"] = [
        {"name": "spark-conf-volume-driver", "configMap": {"name": "settings-ana"}}
    ]
    there.settings["settings-ana"] = "spark.executor.instances=3\n"
    there.turn()
    assert there.gated() == {"bob", "e4"}, "the third is one of its first"


def test_an_application_that_is_over_gets_no_more_executors() -> None:
    there = scene(held("e3", "ana"))
    there.pods["ana"]["status"]["phase"] = "Failed"
    for name in ("e1", "e2"):
        there.pods[name]["status"]["phase"] = "Failed"
    there.turn()
    assert there.gated() == {"e3"}


def test_executors_of_a_queue_that_is_deleted_go() -> None:
    there = scene(held("e3", "ana"), held("e4", "ana"), driver("bob", "bob"), cores=3)
    there.turn()
    assert there.gated() == {"e3", "e4", "bob"}
    there.deleted = True
    there.turn()
    assert there.gated() == {"bob"}
    assert there.told["bob"]["reason"] == "QueueNotFound"


def test_of_a_queue_that_is_deleted_nobody_waits_for_ever() -> None:
    stream = driver("stream", "bob")
    stream["metadata"]["annotations"]["fairstow.dev/lasting"] = "true"
    kept = driver("kept", "bob")
    kept["metadata"]["annotations"]["fairstow.dev/hold"] = "true"
    there = scene(driver("bob", "bob"), stream, kept, cores=3, maxWait="240h")
    there.turn()
    there.deleted, there.now = True, there.now + 167 * 3600
    there.turn()
    assert there.gated() == {"bob", "stream", "kept"}
    there.now += 3600
    there.begin()
    there.turn()
    assert there.gated() == {"kept"}, "somebody holds it"
    assert ("bob", "WaitedTooLong") in there.events
