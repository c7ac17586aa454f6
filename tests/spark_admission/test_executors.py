"""Whose a new executor is, and whether it waits: as /spark/executors and the guard decide.

Not covered: the API server in front of them (e2e/spark_admission).
"""

from __future__ import annotations

from typing import Any

import pytest

from fairstow.api import SparkQueue
from fairstow.spark.executing import admit_executor
from fairstow.spark.guarding import RELEASE, judge, question
from fairstow.spark.names import DRIVER_UID, GATE, QUEUE, SUBMITTER, USER
from tests.spark_admission.submissions import ANA, Json, driver, patched, queue, review

SPARK = {"username": "system:serviceaccount:team:spark", "groups": []}
BOB = {"username": "bob", "groups": []}


def etl(**annotations: str) -> Json:
    """Ana's driver as it was stored."""
    found = driver("etl")
    found["metadata"]["uid"] = "uid-etl"
    found["metadata"]["annotations"] = {USER: "ana@example.com", QUEUE: "analytics", **annotations}
    found["spec"]["serviceAccountName"] = "spark"
    return found


def executor(*, uid: str = "uid-etl", **annotations: str) -> Json:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "etl", "uid": uid, "controller": True}
    return {
        "kind": "Pod",
        "metadata": {
            "name": "etl-exec-1",
            "labels": {"spark-role": "executor"},
            "annotations": annotations,
            "ownerReferences": [reference],
        },
        "spec": {"containers": [{"name": "executor"}]},
    }


def full() -> SparkQueue:
    raw = {"kind": "SparkQueue", "metadata": {"name": "analytics"}, "spec": {"cores": 8}}
    return SparkQueue.model_validate(raw | {"status": {"holdsExecutors": True}})


def admitted(obj: Json, user: Json = SPARK, found: Json | None = None, **more: Any) -> Json:
    whose = etl() if found is None else found
    reply = admit_executor(review(obj, user), whose, more.get("queue", queue()))
    assert not reply.denied
    return patched(obj, reply)


@pytest.mark.parametrize("user", [SPARK, ANA], ids=["its account", "its user"])
def test_who_the_driver_is_makes_its_executors(user: Json) -> None:
    stored = admitted(executor(), user)
    assert stored["metadata"]["annotations"] == {DRIVER_UID: "uid-etl", QUEUE: "analytics"}
    assert "schedulingGates" not in stored["spec"]
    request = review(stored, user)
    assert question(request) is None
    assert not judge(request, None, allowed=False, driver=etl()).denied


def test_so_does_who_submitted_it_for_another() -> None:
    whose = etl(**{SUBMITTER: "airflow"})
    assert (
        DRIVER_UID
        in admitted(executor(), {"username": "airflow"}, whose)["metadata"]["annotations"]
    )


def test_nobody_makes_executors_for_anothers_driver() -> None:
    said = admit_executor(review(executor(), BOB), etl(), queue()).denied
    assert "made by system:serviceaccount:team:spark, but the request was made by 'bob'" in said
    forged = review(executor(**{DRIVER_UID: "uid-etl"}), BOB)
    assert judge(forged, None, allowed=True, driver=etl()).denied


def test_a_claim_without_its_driver_is_refused() -> None:
    forged = executor(uid="another", **{DRIVER_UID: "uid-etl"})
    assert "leave it out" in admit_executor(review(forged, BOB), etl(), queue()).denied
    assert "leave it out" in judge(review(forged, BOB), None, allowed=True, driver=None).denied
    plain = executor(**{DRIVER_UID: "uid-etl"})
    plain["metadata"]["labels"] = {}
    assert judge(review(plain, SPARK), None, allowed=True, driver=etl()).denied


def test_executors_of_what_isnt_queued_are_left_alone() -> None:
    outside = etl()
    outside["metadata"]["annotations"] = {}
    assert admitted(executor(), BOB, outside) == executor()
    assert admit_executor(review(executor(), BOB), None, queue()).patch == ()


def test_they_wait_while_the_queue_has_no_cores_left() -> None:
    assert admitted(executor(), queue=full())["spec"]["schedulingGates"] == [{"name": GATE}]
    lasting = etl(**{"fairstow.dev/lasting": "true"})
    assert "schedulingGates" not in admitted(executor(), SPARK, lasting, queue=full())["spec"]


def test_nobody_lets_them_go_or_changes_whose_they_are() -> None:
    old = admitted(executor(), queue=full())
    free = patched(old, admit_executor(review(executor(), SPARK), etl(), queue()))
    free["spec"].pop("schedulingGates")
    asked = question(review(free, ANA, old=old))
    assert asked is not None
    assert (asked.verb, asked.queue) == (RELEASE, "analytics")
    other = executor(**{QUEUE: "analytics", DRIVER_UID: "another"})
    other["spec"] = old["spec"]
    assert "never changed" in judge(review(other, ANA, old=old), None, allowed=True).denied
