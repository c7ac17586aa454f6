"""Queues of Spark applications when something goes wrong, on a real API server; all `full`.

Covered: drivers that would deadlock; the webhook away; a controller that ends before or after any
of its writes; the operator killed as a process whenever something was written; a clock an hour off;
a cohort that lends; queues and SparkAdmissions edited and deleted meanwhile. Not covered: several
clocks that change while they run.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.controlplane.processes import Processes
from e2e.own_webhook import ROOT
from e2e.spark_admission.scene import ANA, BOB, CrashError, queue, unique
from fairstow.spark.names import ADMITTED

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.own_webhook import Webhook
    from e2e.spark_admission.scene import Scene
    from fairstow.kube.aio.api import Api

pytestmark = [pytest.mark.e2e, pytest.mark.full]

WRITES = ("create", "replace", "apply", "patch")
KILLS = 12
HOUR = 3600.0


def test_drivers_without_room_for_executors_are_not_let_go(scene: Scene) -> None:
    """A node of four cores takes four drivers, and then none of their executors."""
    for number in range(4):
        scene.submit(f"etl-{number}", ANA, instances=2)
    scene.set_queue(hold=False, cores=100)
    with scene.controller():
        scene.await_admitted("etl-0")
        scene.executors("etl-0", 2)
        scene.cluster.wait(
            lambda: scene.standing("etl-1").get("reason") == "WaitsForRoom", "etl-1 to wait"
        )
        time.sleep(3)
        assert scene.admitted() == ["etl-0"]
        scene.end("etl-0-exec-0", "etl-0-exec-1", "etl-0")
        scene.await_admitted("etl-0", "etl-1")


def test_what_the_webhook_missed_is_counted_and_nobody_slips_out(
    scene: Scene, webhook: Webhook
) -> None:
    scene.submit("queued", ANA)
    webhook.processes.stop_one("webhook")
    try:
        scene.submit("missed", BOB)
        assert "schedulingGates" not in scene.pod("missed")["spec"]
        free = ("patch", "pod/queued", "--type=merge", "-p", '{"spec":{"schedulingGates":[]}}')
        with pytest.raises(KubectlError, match="sparkguard"):
            scene.kubectl(*free, f"--as={ANA}")
    finally:
        webhook.start()
    with scene.controller():
        scene.cluster.wait(
            lambda: scene.cluster.get("sparkqueue", scene.queue)["status"].get("missed") == 1,
            "the missed one to be reported",
        )
        users = scene.cluster.get("sparkqueue", scene.queue)["status"]["users"]
        assert {user["name"] for user in users} == {ANA, f"missed:{scene.namespace}"}
        assert "Missed" in scene.kubectl("describe", "pod", "missed")


class Crashing:
    """An API connection that ends the program at its n-th write, before or after it is done."""

    def __init__(self, api: Api, at: int, *, after: bool) -> None:
        self._api, self._left, self._after = api, at, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._api, name)
        if name not in WRITES:
            return found

        async def write(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise CrashError
            reply = await found(*args, **kwargs)
            if self._left == 0:
                raise CrashError
            return reply

        return write


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_controller_that_ends_at_any_write_leaves_nobody_waiting(
    scene: Scene, after: bool
) -> None:
    names = [f"etl-{number}" for number in range(3)]
    for name in names:
        scene.submit(name, ANA, instances=1)
    scene.set_queue(hold=False, cores=4)
    ended: set[str] = set()
    for at in range(1, 13):

        def crashing(api: Api, at: int = at) -> Any:
            return Crashing(api, at, after=after)

        with scene.controller(through=crashing):
            time.sleep(1.5)
        for name in set(scene.admitted()) - ended:
            scene.end(name)
            ended.add(name)
    with scene.controller():
        for _ in names:
            scene.cluster.wait(lambda: set(scene.admitted()) - ended or len(ended) == 3, "the next")
            for name in set(scene.admitted()) - ended:
                scene.end(name)
                ended.add(name)
        assert ended == set(names)
        scene.cluster.wait(lambda: _nobody(scene), "the queue to be empty")


def _nobody(scene: Scene) -> bool:
    """Whether nobody is in the queue, as it says itself."""
    status = scene.cluster.get("sparkqueue", scene.queue).get("status", {})
    return (status.get("waiting"), status.get("running")) == (0, 0)


def test_an_operator_killed_whenever_something_was_written(scene: Scene, tmp_path: Path) -> None:
    """One application at a time is let go, each once, and all of them in the end."""
    names = {"bob-0": BOB, "bob-1": BOB, "ana-0": ANA}
    for name, user in names.items():
        scene.submit(name, user)
    scene.set_queue(hold=False)
    processes = Processes(tmp_path / "processes", die_with_parent=True)
    program = [sys.executable, str(ROOT / "operator" / "main.py")]
    own = {"PYTHONPATH": str(ROOT), "KUBECONFIG": str(scene.operator.kubeconfig)}
    admitted: dict[str, str] = {}
    ended: set[str] = set()
    kills, seen = 0, _versions(scene)

    def step() -> bool:
        nonlocal kills, seen
        processes.check()
        for pod in scene.cluster.items("-n", scene.namespace, "pods"):
            name, marks = pod["metadata"]["name"], pod["metadata"]["annotations"]
            if ADMITTED in marks:
                assert admitted.setdefault(name, marks[ADMITTED]) == marks[ADMITTED]
        assert len(admitted.keys() - ended) <= 1, admitted
        if kills < KILLS and (now := _versions(scene)) != seen:
            processes.kill_one("operator")
            kills, seen = kills + 1, now
            processes.spawn("operator", [*program, f"--namespace={scene.namespace}"], env=own)
        for name in admitted.keys() - ended:
            scene.end(name)
            ended.add(name)
        return ended == names.keys()

    processes.spawn("operator", [*program, f"--namespace={scene.namespace}"], env=own)
    try:
        scene.cluster.wait(step, "all to be let go and to end", timeout=240)
        scene.cluster.wait(lambda: _nobody(scene), "the queue to be empty")
        for name in names:
            scene.cluster.wait(
                lambda name=name: scene.standing(name).get("reason") == "Charged",  # type: ignore[misc]
                f"{name} to be charged",
            )
    finally:
        processes.stop()
    assert kills >= len(names)


def _versions(scene: Scene) -> set[str]:
    """What tells that somebody has written: the versions of all that the operator may write."""
    kinds = "pods,sparkadmissions,configmaps"
    found = scene.cluster.items("-n", scene.namespace, kinds)
    return {each["metadata"]["resourceVersion"] for each in found}


@pytest.mark.parametrize("skew", [-HOUR, HOUR], ids=["behind", "ahead"])
def test_a_clock_an_hour_off_changes_no_turns(scene: Scene, skew: float) -> None:
    for number in range(2):
        scene.submit(f"bob-{number}", BOB)
    scene.submit("ana-0", ANA)
    scene.set_queue(hold=False)
    with scene.controller(skew=skew):
        scene.await_admitted("bob-0")
    with scene.controller():  # the next leader's is right
        scene.end("bob-0")
        scene.await_admitted("bob-0", "ana-0")
        scene.cluster.wait(lambda: scene.standing("bob-0").get("phase") == "Ended", "its charge")
        served = scene.standing("bob-0").get("servedCoreSeconds", 0)
        assert 0 <= served < HOUR / 10
    with scene.controller(skew=skew):
        scene.end("ana-0")
        scene.await_admitted("bob-0", "ana-0", "bob-1")
        scene.end("bob-1")
        scene.cluster.wait(lambda: _nobody(scene), "the queue to be empty")


def test_a_cohort_lends_while_nobody_waits_there(scene: Scene) -> None:
    lender, cohort = unique("lender"), unique("cohort")
    scene.cluster.apply([queue(lender, cohort=cohort, hold=True)])
    try:
        scene.set_queue(hold=False, cohort=cohort, borrowedCores=2)
        scene.submit("bob-0", BOB, spark_queue=lender)
        for number in range(2):
            scene.submit(f"ana-{number}", ANA)
        with scene.controller():
            scene.await_admitted("ana-0")
            scene.cluster.wait(
                lambda: scene.standing("ana-1").get("reason") == "WaitsForCores", "ana-1 to wait"
            )
            scene.kubectl("delete", "pod", "bob-0")
            scene.await_admitted("ana-0", "ana-1")
            scene.cluster.wait(lambda: _borrowed(scene) == 2, "what is borrowed to be said")
            scene.end("ana-0")
            scene.cluster.wait(lambda: _borrowed(scene) == 0, "it to come back")
    finally:
        scene.cluster.kubectl("delete", "sparkqueue", lender)


def _borrowed(scene: Scene) -> int:
    status = scene.cluster.get("sparkqueue", scene.queue).get("status", {})
    return int(status.get("coresBorrowed", 0))


def test_what_is_edited_and_deleted_meanwhile(scene: Scene) -> None:
    for number in range(3):
        scene.submit(f"etl-{number}", ANA)
    scene.set_queue(hold=False, cores=4)
    with scene.controller():
        scene.await_admitted("etl-0", "etl-1")
        # Fewer cores than are in use: nothing is stopped, and nobody goes until there are enough.
        scene.set_queue(cores=1)
        scene.cluster.wait(
            lambda: scene.standing("etl-2").get("reason") == "ExceedsLimit", "the smaller queue"
        )
        scene.set_queue(cores=2)
        scene.cluster.wait(
            lambda: scene.standing("etl-2").get("reason") == "WaitsForCores", "the larger queue"
        )
        # SparkAdmissions that somebody deletes or rewrites say the truth again in a minute.
        lie = json.dumps({"status": {"phase": "Ended", "reason": "Charged"}})
        patch = ("--subresource=status", "--type=merge", "-p", lie)
        scene.kubectl("patch", _path(scene, "etl-1"), *patch)
        scene.kubectl("delete", _path(scene, "etl-2"))
        scene.cluster.wait(lambda: scene.standing("etl-2").get("position") == 1, "it anew", 90)
        scene.cluster.wait(lambda: scene.standing("etl-1")["phase"] != "Ended", "the truth", 90)
        # The queue itself.
        scene.cluster.kubectl("delete", "sparkqueue", scene.queue)
        scene.cluster.wait(
            lambda: scene.standing("etl-2").get("reason") == "QueueNotFound", "no queue"
        )
        scene.end("etl-0", "etl-1")
        scene.cluster.apply([queue(scene.queue)])
        scene.await_admitted("etl-0", "etl-1", "etl-2")


def _path(scene: Scene, name: str) -> str:
    return f"sparkadmission/{scene.admission(name)['metadata']['name']}"
