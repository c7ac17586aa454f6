"""Who a new Spark application is, what keeps it waiting, and what its user may not do about it.

Covers the decisions behind /spark/queue and /spark/guard, object in, object out. Not covered: the
API server in front of them (e2e/spark_admission).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairstow.cluster.review import Reply, Request
from fairstow.spark.guarding import judge, question
from fairstow.spark.names import GATE, GROUPS, OWN_SUSPEND, PARENT, QUEUE, SUBMITTER, USER
from fairstow.spark.queueing import queue_up
from fairstow.spark.submitted import parent, submitted, verified
from tests.spark_admission.submissions import (
    ANA,
    ROBOT,
    Json,
    application,
    driver,
    patched,
    queue,
    review,
)

QUEUES = {"analytics": queue(max_cores_per_application=5), "other": queue("other")}
BOB = {"username": "bob", "groups": []}


def queued(obj: Json, user: Json = ANA, *, found: Json | None = None) -> Json:
    """The object as the webhook stores it."""
    request = review(obj, user)
    new = submitted(request, obj)
    owner = verified(new, parent(new), found)
    return patched(obj, queue_up(request, "analytics", QUEUES, owner))


def guarded(request: Request, *rights: str) -> Reply:
    """The guard's answer to somebody with these rights."""
    asked = question(request)
    return judge(request, asked, allowed=asked is not None and asked.verb in rights)


def notes(obj: Json) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations", {})
    return found


def test_a_driver_is_gated_named_and_capped() -> None:
    obj = queued(driver())
    assert obj["spec"]["schedulingGates"] == [{"name": GATE}]
    assert notes(obj)[USER] == "ana@example.com"
    assert json.loads(notes(obj)[GROUPS]) == ["finance"]
    assert notes(obj)[QUEUE] == "analytics"
    arguments = obj["spec"]["containers"][0]["args"]
    conf = ["--conf", "spark.dynamicAllocation.maxExecutors=4"]  # 5 cores, one is the driver's
    assert arguments == ["driver", *conf, "--properties-file", "/opt/spark.properties", "x.py"]
    assert not guarded(review(obj), "use").denied


def test_the_cap_counts_the_cores_that_the_user_names() -> None:
    arguments = queued(driver(executor_cores="2"))["spec"]["containers"][0]["args"]
    assert "spark.dynamicAllocation.maxExecutors=2" in arguments


def test_a_queue_without_limits_leaves_a_drivers_own_number_of_executors() -> None:
    """An argument would win over the properties file, where the user may have written less."""
    arguments = queued(driver(spark_queue="other"))["spec"]["containers"][0]["args"]
    assert "--conf" not in arguments


def test_a_forged_identity_is_replaced_and_said() -> None:
    obj = driver(spark_user="bob")
    reply = queue_up(review(obj), "analytics", QUEUES, None)
    assert notes(patched(obj, reply))[USER] == "ana@example.com"
    assert USER in reply.warnings[0]


def test_a_forged_identity_that_nobody_replaced_is_refused() -> None:
    obj = driver(spark_user="bob", spark_queue="analytics")
    assert "the request was made by 'ana@example.com'" in guarded(review(obj), "use").denied


@pytest.mark.parametrize("verbs", [(), ("submit-as",)])
def test_a_queue_is_for_those_who_may_use_it(verbs: tuple[str, ...]) -> None:
    said = guarded(review(queued(driver())), *verbs).denied
    assert "'ana@example.com' may not have applications in SparkQueue analytics" in said
    assert "verb 'use' on sparkqueues.fairstow.dev" in said


def test_an_unknown_queue_is_refused_with_those_there_are() -> None:
    reply = queue_up(review(driver(spark_queue="nowhere")), "analytics", QUEUES, None)
    assert "no SparkQueue nowhere" in reply.denied
    assert "analytics, other" in reply.denied


def test_a_chosen_queue_is_kept() -> None:
    assert notes(queued(driver(spark_queue="other")))[QUEUE] == "other"


def test_a_delegated_submitter_needs_the_right() -> None:
    obj = queued(driver(submit_as="bob"), ROBOT)
    assert notes(obj)[USER] == "bob"
    assert notes(obj)[SUBMITTER] == ROBOT["username"]
    assert "may not submit applications to SparkQueue analytics for 'bob'" in (
        guarded(review(obj, ROBOT), "use").denied
    )
    assert not guarded(review(obj, ROBOT), "submit-as").denied


def test_who_submits_for_themselves_needs_no_delegation() -> None:
    obj = queued(driver(submit_as="ana@example.com"))
    assert SUBMITTER not in notes(obj)
    assert json.loads(notes(obj)[GROUPS]) == ["finance"]


@pytest.mark.parametrize(
    "marks",
    [
        {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "q"}}},
        {"metadata": {"annotations": {"scheduling.volcano.sh/queue-name": "q"}}},
        {"spec": {"schedulerName": "volcano"}},
    ],
)
def test_what_kueue_or_volcano_queue_is_left_alone(marks: Json) -> None:
    obj = driver()
    for part, more in marks.items():
        for key, value in more.items():
            obj[part][key] = (
                (obj[part].get(key) or {}) | value if isinstance(value, dict) else value
            )
    assert queued(obj) == obj
    batch = application(batchScheduler="volcano")
    assert queued(batch) == batch


def test_what_others_queue_doesnt_pass_for_one_that_was_queued_here() -> None:
    obj = driver(spark_user="ana@example.com", spark_queue="analytics")
    obj["spec"]["schedulerName"] = "volcano"
    assert "leave out either" in queue_up(review(obj), "analytics", QUEUES, None).denied


@pytest.mark.parametrize("role", ["executor", ""])
def test_other_pods_are_left_alone(role: str) -> None:
    obj = driver()
    obj["metadata"]["labels"]["spark-role"] = role
    assert queued(obj) == obj


def test_an_application_is_suspended_and_its_allocation_capped() -> None:
    obj = queued(application(dynamicAllocation={"enabled": True, "maxExecutors": 50}))
    assert obj["spec"]["suspend"] is True
    assert obj["spec"]["dynamicAllocation"]["maxExecutors"] == 2
    assert notes(obj)[OWN_SUSPEND] == "false"
    fewer = queued(application(dynamicAllocation={"enabled": True, "maxExecutors": 1}))
    assert fewer["spec"]["dynamicAllocation"]["maxExecutors"] == 1


def changed(old: Json, user: Json = ANA, **spec: Any) -> tuple[Json, Request]:
    """The object after an update by somebody, the webhook's part included; and its review."""
    new = old | {"spec": old["spec"] | spec}
    new = patched(new, queue_up(review(new, user, old=old), "analytics", QUEUES, None))
    return new, review(new, user, old=old)


def test_nobody_lets_themselves_go() -> None:
    held = queued(application())
    new, request = changed(held, suspend=False)
    assert new["spec"]["suspend"] is False
    assert "may not let an application go" in guarded(request, "use").denied
    assert not guarded(request, "release").denied
    gated = queued(driver())
    free = gated | {"spec": gated["spec"] | {"schedulingGates": []}}
    assert "may not let" in guarded(review(free, old=gated), "use").denied


def test_a_users_own_suspension_is_queued_when_they_end_it() -> None:
    own = queued(application(suspend=True))
    assert notes(own)[OWN_SUSPEND] == "true"
    resumed, request = changed(own, suspend=False)
    assert resumed["spec"]["suspend"] is True
    assert notes(resumed)[OWN_SUSPEND] == "false"
    assert not guarded(request).denied
    running = resumed | {"spec": resumed["spec"] | {"suspend": False}}
    again, request = changed(running, suspend=True)
    assert notes(again)[OWN_SUSPEND] == "true"
    assert not guarded(request).denied


def test_a_user_cannot_claim_afterwards_to_have_suspended() -> None:
    held = queued(application())
    claims = dict(notes(held)) | {OWN_SUSPEND: "true"}
    new = held | {"metadata": held["metadata"] | {"annotations": claims}}
    assert "may not let" in guarded(review(new, old=held), "use").denied


@pytest.mark.parametrize("key", ["spark-user", "spark-queue", "lasting", "spark-template"])
def test_what_was_recorded_never_changes(key: str) -> None:
    held = queued(driver())
    forged = dict(notes(held)) | {f"fairstow.dev/{key}": "x"}
    new = held | {"metadata": held["metadata"] | {"annotations": forged}}
    said = guarded(review(new, BOB, old=held), "use", "release", "submit-as").denied
    assert f"fairstow.dev/{key} is recorded" in said


def test_nobody_says_when_they_were_let_go() -> None:
    held = queued(driver(spark_admitted_at="2999-01-01T00:00:00Z"))
    assert "fairstow.dev/spark-admitted-at" not in notes(held)
    claims = dict(notes(held)) | {"fairstow.dev/spark-admitted-at": "2999-01-01T00:00:00Z"}
    new = held | {"metadata": held["metadata"] | {"annotations": claims}}
    assert "may not let" in guarded(review(new, old=held), "use").denied
    assert not guarded(review(new, old=held), "release").denied


def test_a_driver_stays_a_driver() -> None:
    held = queued(driver())
    labels = dict(held["metadata"]["labels"]) | {"spark-role": "no-more"}
    new = held | {"metadata": held["metadata"] | {"labels": labels}}
    assert "label spark-role" in guarded(review(new, old=held), "use").denied


OPERATOR = {"username": "system:serviceaccount:spark-operator:spark-operator", "groups": []}


def child(name: str = "etl-driver", owner: str = "uid-etl") -> Json:
    pod = driver(name)
    reference = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication"}
    pod["metadata"]["ownerReferences"] = [reference | {"name": "etl", "uid": owner}]
    pod["metadata"]["labels"]["sparkoperator.k8s.io/app-name"] = "etl"
    return pod


def admitted() -> Json:
    obj = queued(application())
    return obj | {"spec": obj["spec"] | {"suspend": False}}


def test_the_driver_of_an_admitted_application_is_not_gated_twice() -> None:
    obj = queued(child(), OPERATOR, found=admitted())
    assert "schedulingGates" not in obj["spec"]
    assert notes(obj)[USER] == "ana@example.com"
    assert notes(obj)[PARENT] == "SparkApplication/etl"
    assert notes(obj)[SUBMITTER] == OPERATOR["username"]
    assert not guarded(review(obj, OPERATOR), "submit-as").denied
    assert guarded(review(obj, OPERATOR), "use").denied


@pytest.mark.parametrize(
    ("pod", "found"),
    [
        (child(owner="another"), admitted()),
        (child("second-driver"), admitted()),
        (child(), queued(application())),
        (child(), application()),
        (child(), None),
        (child(), admitted() | {"status": {"applicationState": {"state": "COMPLETED"}}}),
    ],
    ids=["another's", "a second driver", "not let go", "never queued", "nobody's", "over"],
)
def test_whoever_only_claims_to_be_a_run_is_gated(pod: Json, found: Json | None) -> None:
    obj = queued(pod, BOB, found=found)
    assert obj["spec"]["schedulingGates"] == [{"name": GATE}]
    assert notes(obj)[USER] == "bob"


def test_a_schedules_runs_are_its_owners() -> None:
    schedule = application("nightly") | {"kind": "ScheduledSparkApplication"}
    kept = queued(schedule)
    assert notes(kept)[USER] == "ana@example.com"
    assert "suspend" not in kept["spec"]
    run = application("nightly-1")
    reference = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "ScheduledSparkApplication"}
    run["metadata"]["ownerReferences"] = [reference | {"name": "nightly", "uid": "uid-nightly"}]
    obj = queued(run, OPERATOR, found=kept)
    assert notes(obj)[USER] == "ana@example.com"
    assert obj["spec"]["suspend"] is True
    assert notes(obj)[OWN_SUSPEND] == "false"
    running = obj | {"spec": obj["spec"] | {"suspend": False}}
    _, request = changed(running, suspend=True)
    assert not guarded(request).denied


def test_a_schedules_own_pause_is_no_place_in_a_queue() -> None:
    paused = queued(application("nightly", suspend=True) | {"kind": "ScheduledSparkApplication"})
    goes_on = paused | {"spec": paused["spec"] | {"suspend": False}}
    assert not guarded(review(goes_on, old=paused)).denied


def test_what_was_let_go_does_not_run_again_as_another() -> None:
    """The Spark operator runs an application anew whose spec changes."""
    held = queued(application())
    running = held | {"spec": held["spec"] | {"suspend": False}}
    _, request = changed(running, executor={"cores": 2, "instances": 300})
    assert "set spec.suspend to true, change it" in guarded(request, "use").denied
    assert not guarded(request, "release").denied
    _, request = changed(held, executor={"cores": 2, "instances": 300})
    assert not guarded(request).denied
    _, request = changed(running, suspend=True, executor={"cores": 2, "instances": 300})
    assert not guarded(request).denied
    assert not guarded(review(running, old=running)).denied


def test_caps_hold_while_an_application_waits() -> None:
    held = queued(application(dynamicAllocation={"enabled": True}))
    new, _ = changed(held, dynamicAllocation={"enabled": True, "maxExecutors": 500})
    assert new["spec"]["dynamicAllocation"]["maxExecutors"] == 2
