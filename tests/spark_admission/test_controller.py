"""The controller's parts that must hold up nobody, whatever one object or namespace does.

The API server is a stand-in that refuses as told: what a real one says is in e2e/spark_admission.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controllers.spark.acting import Hands
from controllers.spark.objects import Admission, Known, SparkObjects, admission_name
from controllers.spark.queues import Seen
from controllers.spark.sizing import MOST_READ, Sizes
from controllers.spark.telling import MOST_WRITES, Teller
from fairstow.api import Reason
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.recorder import Recorder
from fairstow.kube.problems import ApiError
from fairstow.spark.accounts import Account
from fairstow.spark.admission import Decision
from fairstow.spark.applications import Application, Phase
from fairstow.spark.estimates import Estimates
from fairstow.spark.fair_queueing import FairQueue
from fairstow.spark.line import Line, Waiting
from fairstow.spark.pods import SparkPod
from fairstow.spark.usage import Usage
from tests.spark_admission.test_accounts import app


class Refusing:
    """An API server that refuses to create in one namespace, and to show ConfigMaps of it."""

    def __init__(self, status: int) -> None:
        self.status, self.written, self.asked = status, list[str](), list[str]()

    async def create(self, path: str, _obj: dict[str, Any]) -> None:
        if "/closed/" in path:
            raise ApiError(self.status, "it is being terminated", "Forbidden")

    async def apply(self, obj: dict[str, Any], *_: Any, **__: Any) -> None:
        self.written.append(obj["metadata"]["name"])

    async def get(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if "/closed/" in path:
            raise ApiError(403, "no")
        return {"data": {"spark.properties": "spark.executor.instances=3"}}


def waiting(name: str, namespace: str) -> Application:
    pod = SparkPod(
        namespace=namespace, name=name, uid=name, driver=True, app=name, gated=True,
        properties="conf",
    )  # fmt: skip
    return app(name, "ana", namespace=namespace, pods=(pod,))


def tell(api: Refusing, apps: list[Application], admissions: dict[str, Admission]) -> Teller:
    objects = SparkObjects(cast(Api, api))
    objects._admissions.found.update(admissions)
    said = cast(Recorder, SimpleNamespace(record=lambda *_, **__: None))
    teller = Teller(cast(Api, api), objects, said)
    seen = Seen("q", None, apps, Account(FairQueue(1), Estimates()), {})
    waits = [each for each in apps if each.phase is Phase.WAITING]
    held = {each.id: Reason.WAITS_FOR_CORES for each in waits}
    line = Line(
        [Waiting(id=each.id, user=each.user, first=1, lasting=True) for each in waits], held
    )
    asyncio.run(teller.tell(seen, Decision(line=line), Usage(), 0.0))
    return teller


@pytest.mark.parametrize("status", [400, 403, 422])
def test_who_cannot_be_told_keeps_nobody_else_from_it(status: int) -> None:
    api = Refusing(status)
    tell(api, [waiting("bad", "closed"), waiting("good", "open")], {})
    assert api.written == ["good-good"]


def test_what_has_ended_is_told_once() -> None:
    """Drivers' pods stay when they have ended: thousands, whose writes would be others' turn."""
    api = Refusing(0)
    over = [app(f"over-{number}", "ana", phase=Phase.ENDED) for number in range(500)]
    known = Known(phase="Ended", reason="Charged")
    there = {f"team/{each.name}-{each.id[:8]}": Admission("", each.id, known) for each in over}
    tell(api, [*over, waiting("next", "open")], there)
    assert api.written == ["next-next"]


@pytest.mark.parametrize("reason", [Reason.NEVER_FITS, Reason.WAITS_FOR_CORES])
def test_who_was_told_keeps_nobody_from_being_told(
    monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    """However slowly turns come: each tells somebody who knows nothing yet."""
    api = Refusing(0)
    apps = [waiting(f"job-{number:03d}", "open") for number in range(250)]
    begun = [app(f"run-{number:03d}", "ana", phase=Phase.RUNNING) for number in range(250)]
    objects = SparkObjects(cast(Api, api))
    said = cast(Recorder, SimpleNamespace(record=lambda *_, **__: None))
    teller = Teller(cast(Api, api), objects, said)
    seen = Seen("q", None, [*begun, *apps], Account(FairQueue(1), Estimates()), {})
    waits = [Waiting(id=each.id, user=each.user, first=1) for each in apps]
    for turn in range(5):
        monkeypatch.setattr("controllers.spark.telling.time.monotonic", lambda at=turn: 100.0 * at)
        line = Line(waits, {each.id: reason for each in apps})
        asyncio.run(teller.tell(seen, Decision(line=line), Usage(), 0.0))
        assert len(set(api.written)) >= 0.9 * MOST_WRITES * (turn + 1)
        for each in seen.apps:
            known = Admission("", each.id, Known(phase="Waiting"))
            if admission_name(each) in api.written:
                objects._admissions.found[f"{each.namespace}/{admission_name(each)}"] = known


def test_a_name_that_is_cut_is_still_a_name() -> None:
    api = Refusing(0)
    tell(api, [waiting("a" * 199 + "." + "b" * 20, "open")], {})
    assert api.written == ["a" * 199 + "-" + "a" * 8]


def test_a_closed_namespace_takes_nobodys_turn() -> None:
    api = Refusing(0)
    sizes = Sizes(Hands(cast(Api, api)), LiveCluster())
    closed = [waiting(f"c-{number}", "closed") for number in range(MOST_READ + 10)]
    asyncio.run(sizes.read([*closed, waiting("open", "open")], 0.0))
    assert sizes.known(waiting("open", "open"))
    assert len(api.asked) == 2  # one of the closed namespace, and the other
    assert sizes.problems["c-0"] is Reason.NOT_PERMITTED


def test_a_size_is_read_anew_when_the_application_changes() -> None:
    sizes = Sizes(Hands(cast(Api, Refusing(0))), LiveCluster())
    one = waiting("open", "open")
    assert sizes.size(one).first == 2
    asyncio.run(sizes.read([one], 0.0))
    assert sizes.size(one).first == 3
