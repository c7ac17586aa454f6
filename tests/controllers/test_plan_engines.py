"""LLM engines that a plan moves, against a server that keeps drains as the API server does.

Covered: the drain is made before anything is evicted, belongs to the plan, and is made once; what
becomes of it when the plan ends, is deleted or pauses; an operator that comes after a crash; a
drain that is gone before its eviction. Not covered: the decisions (tests/packing/test_engines.py),
a real API server (e2e/execution).
"""

from __future__ import annotations

import pytest

from fairstow.api import PackingPlan
from fairstow.kube.problems import ApiError
from fairstow.packing.history import closed
from tests.controllers.test_plans import KINDS, Server, raw
from tests.packing.checker_clusters import Json
from tests.packing.engine_objects import drain, pool
from tests.packing.test_engines import stuck
from tests.packing.test_execution import approved, planned

DRAIN = KINDS["InstanceDrain"]


class Serving(Server):
    """Drains besides plans."""

    def __init__(self, *, deaf: bool = False) -> None:
        objects = stuck(pool())
        self.drains: dict[str, Json] = {}
        self.made: list[Json] = []
        self.deaf = deaf
        super().__init__(raw(approved(planned(objects))), cluster=objects)

    async def get(self, path: str) -> Json:
        if "/instancedrains/" not in path:
            return await super().get(path)
        if (name := path.rpartition("/")[2]) not in self.drains:
            raise ApiError(404, "not found")
        return self.drains[name]

    async def create(self, path: str, obj: Json) -> Json:
        assert path.endswith("/namespaces/team-a/instancedrains")
        if obj["metadata"]["name"] in self.drains:
            raise ApiError(409, "it exists")
        self.made.append(obj)
        return self.keep(obj | {"metadata": obj["metadata"] | {"uid": f"uid-{len(self.made)}"}})

    async def delete(self, path: str, *, uid: str | None = None) -> bool:
        if self.refuses == "delete":
            raise ApiError(403, "forbidden")
        gone = self.drains.pop(path.rpartition("/")[2])
        assert gone["metadata"]["uid"] == uid
        self.cluster.delete(DRAIN, gone)
        return True

    def keep(self, obj: Json) -> Json:
        self.drains[obj["metadata"]["name"]] = obj
        if not self.deaf:
            self.cluster.upsert(DRAIN, obj)
        return obj

    def drained(self, over: str = "Drained") -> None:
        for each in list(self.drains.values()):
            self.keep(each | {"status": drain("x", over=over)["status"]})

    @property
    def ended(self) -> bool:
        return closed(PackingPlan.model_validate(self.plans["swap"]))


def test_a_drain_comes_first_and_is_the_plans() -> None:
    server = Serving()
    server.turns()
    (made,) = server.made
    assert not server.asked
    assert made["spec"]["cause"] == "Packing"
    owner = {"apiVersion": "fairstow.dev/v1alpha1", "kind": "PackingPlan"}
    assert made["metadata"]["ownerReferences"] == [owner | {"name": "swap", "uid": "uid-swap"}]
    server.drained()
    server.turns()
    assert server.asked == [made["spec"]["podName"]]
    assert server.drains, "its step isn't over"


def test_a_drain_is_known_before_the_watch_shows_it() -> None:
    """Else another plan would drain another engine of the pool, and each wait for the other."""
    server = Serving(deaf=True)
    server.turns()
    assert len(server.made) == 1
    assert len(server.cluster.engine_drains) == 1


@pytest.mark.parametrize("how", ["aborted", "deleted", "overdue", "suspended"])
def test_an_engine_that_stays_serves_again(how: str) -> None:
    server = Serving()
    server.turns()
    assert server.drains
    match how:
        case "aborted":
            server.change("swap", "spec", server.plans["swap"]["spec"] | {"abort": {"by": "jane"}})
            server.objects.put(server.plans["swap"])
        case "deleted":
            server.objects.drop(PackingPlan, "swap")
        case "overdue":
            server.drained("DeadlineOver")
        case "suspended":
            server.change("swap", "spec", server.plans["swap"]["spec"] | {"policy": "gone"})
            server.objects.put(server.plans["swap"])
    server.turns()
    assert not server.drains
    assert not server.asked
    assert server.ended == (how in ("aborted", "overdue"))


def test_whoever_comes_after_a_crash_goes_on() -> None:
    first = Serving()
    first.turns()
    again = Serving()
    again.plans, again.version = first.plans, first.version
    again.objects.put(first.plans["swap"])
    for each in first.drains.values():
        again.keep(each)
    again.turns()
    assert again.drains == first.drains
    assert not again.made
    again.drained()
    again.turns()
    assert len(again.asked) == 1


def test_nothing_is_evicted_whose_drain_somebody_deleted() -> None:
    """The watch hasn't shown it yet; the engine gets requests again."""
    server = Serving()
    server.turns()
    server.drained()
    server.drains.clear()
    server.turns()
    assert not server.asked


def test_drains_of_others_stay() -> None:
    server = Serving()
    server.keep(drain("somebody-elses"))
    server.keep(drain("of-another", plan="plan-gone"))
    server.turns(1)
    assert [*server.drains] == ["somebody-elses"]


def test_a_drain_that_cannot_be_removed_holds_up_no_plan() -> None:
    server = Serving()
    server.keep(drain("of-another", plan="plan-gone"))
    server.refuses = "delete"
    server.turns()
    assert len(server.made) == 1
