"""Queues of Spark applications when something goes wrong, on a real API server; all `full`.

Covered: drivers that would deadlock; the webhook away; a controller that ends before or after any
of its writes. Not covered: an operator killed as a process (e2e/execution kills it at every change
of a plan, under the same Lease).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e.controlplane.client import KubectlError
from e2e.spark_admission.scene import ANA, BOB, CrashError

if TYPE_CHECKING:
    from e2e.own_webhook import Webhook
    from e2e.spark_admission.scene import Scene
    from fairstow.kube.aio.api import Api

pytestmark = [pytest.mark.e2e, pytest.mark.full]

WRITES = ("create", "replace", "apply", "patch")


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
