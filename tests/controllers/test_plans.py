"""The loop that carries plans out, against a server that plays what it must reckon with.

Covered: what stops it between two evictions of one turn (the plan aborted or deleted, the Lease
lost, a replica of the extender gone, watches behind); a policy that was suspended or deleted
without a watch's word; a plan that begins again; how often it asks; a plan that fails beside
others; old news of a plan; what users say of nodes. Not covered: a real API server (e2e/execution).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from controllers.packing.extender import Extender
from controllers.packing.objects import OWN, Objects
from controllers.packing.parts import Parts
from controllers.packing.plans import PlanLoop
from fairstow.api import PackingPlan
from fairstow.cluster.kinds import READ
from fairstow.cluster.live import LiveCluster
from fairstow.kube.aio.api import Eviction, Outcome
from fairstow.kube.problems import ApiError
from fairstow.packing.execution.turn import Ask, Turn, decide
from fairstow.packing.reservations import holds_of
from tests.packing.checker_clusters import Json
from tests.packing.test_execution import approved, planned, swap
from tests.scheduler_plugins.plans import policy

PLAN = next(kind for kind in OWN if kind.name == "PackingPlan")
KINDS = {kind.name: kind for kind in READ}
NOW = 1_767_225_600


def raw(plan: PackingPlan, name: str = "swap") -> Json:
    made = plan.model_dump(mode="json", by_alias=True, exclude_none=True)
    made["metadata"] = {"name": name, "uid": f"uid-{name}", "resourceVersion": "1"}
    return made


class Server:
    """Plans as an API server keeps them, and a loop that acts on them."""

    def __init__(self, *plans: Json, cluster: list[Json] | None = None) -> None:
        self.plans = {plan["metadata"]["name"]: plan for plan in plans}
        self.asked: list[str] = []
        self.now = NOW
        self.fresh = self.held = True
        self.replicas = ["extender-0"]
        self.refuses: str | None = None
        self.between: Callable[[], None] = lambda: None
        self.asks_extender: Callable[[], None] = lambda: None
        self.policies: dict[str, Json] = {}
        self.annotations: dict[str, dict[str, str]] = {}
        self.marks: dict[str, dict[str, str]] = {}
        self.hears = True
        self.kept: list[str] = []
        self.version = 1
        live, self.objects = LiveCluster(), Objects()
        self.cluster = live
        for item in swap() if cluster is None else cluster:
            live.upsert(KINDS[item["kind"]], item)
        for plan in plans:
            self.objects.upsert(PLAN, plan)
        here = cast(Any, self)
        parts = Parts(live, self.objects, here, cast(Any, None), clock=lambda: self.now)
        self.loop = PlanLoop(
            parts, here, Extender(here, "fairstow-system", "extender"),
            lambda: self.fresh, lambda: self.held,
        )  # fmt: skip

    def turns(self, count: int = 8) -> None:
        for _ in range(count):
            asyncio.run(self.loop_turn())

    async def loop_turn(self) -> None:
        await self.loop.turn()

    def change(self, name: str, part: str, value: Json) -> Json:
        self.version += 1
        old = self.plans[name]
        meta = old["metadata"] | {"resourceVersion": str(self.version)}
        self.plans[name] = old | {"metadata": meta, part: value}
        return self.plans[name]

    # What the loop asks

    async def get(self, path: str) -> Json:
        name = path.rpartition("/")[2]
        found = self.policies if "/packingpolicies/" in path else self.plans
        if name not in found:
            raise ApiError(404, "not found")
        return found[name]

    async def list(self, path: str, _query: Json) -> tuple[list[Json], str]:
        self.asks_extender()
        if path.endswith("endpointslices"):
            return [{"endpoints": [{"targetRef": {"name": r}} for r in self.replicas]}], "1"
        if self.hears:
            self.kept = [holds_of(PackingPlan.model_validate(p)).reservation
                         for p in self.plans.values()]  # fmt: skip
        return [
            {
                "metadata": {"annotations": {"fairstow.dev/enforced-plans": json.dumps(self.kept)}},
                "spec": {
                    "holderIdentity": "extender-0",
                    "leaseDurationSeconds": 15,
                    "renewTime": datetime.fromtimestamp(self.now, UTC).isoformat(),
                },
            }
        ], "1"

    async def apply(
        self, obj: Json, _manager: str, *, subresource: str | None = None, force: bool = True
    ) -> Json:
        if subresource is None:
            return self.mark(obj["metadata"], force)
        name = obj["metadata"]["name"]
        if name == self.refuses:
            raise ApiError(422, "it is invalid")
        if obj["metadata"]["resourceVersion"] != self.plans[name]["metadata"]["resourceVersion"]:
            raise ApiError(409, "it was modified")
        return self.change(name, "status", obj["status"])

    def mark(self, node: Json, force: bool) -> Json:
        """As server-side apply does it, of a node with a user's own annotations."""
        own = self.annotations.get(node["name"], {})
        wanted = node.get("annotations", {})
        conflicts = [f".metadata.annotations.{k}" for k, v in own.items() if wanted.get(k, v) != v]
        if conflicts and not force:
            raise ApiError(409, f'conflict with "kubectl-annotate": {", ".join(conflicts)}')
        self.marks[node["name"]] = wanted
        return node

    async def evict(self, _namespace: str, name: str, _uid: str) -> Eviction:
        self.asked.append(name)
        self.between()
        return Eviction(Outcome.REFUSED)


def test_all_pods_of_a_step_are_evicted_where_nothing_changes() -> None:
    server = Server(raw(approved(planned(swap()))))
    server.turns()
    assert sorted(server.asked) == ["large", "small"], "and again only after a while"
    server.now += 5
    server.turns(1)
    assert len(server.asked) == 4


@pytest.mark.parametrize("what", ["aborted", "deleted", "lease", "replica", "behind"])
def test_a_turn_ends_between_two_evictions_if_anything_changed(what: str) -> None:
    server = Server(raw(approved(planned(swap()))))

    def change() -> None:
        if what == "aborted":
            server.change("swap", "spec", server.plans["swap"]["spec"] | {"abort": {"by": "jane"}})
        if what == "deleted":
            del server.plans["swap"]
        if what == "replica":
            server.replicas.append("extender-1")
        if what == "lease":
            server.held = False
        if what == "behind":
            server.fresh = False

    server.between = change
    server.turns()
    assert len(server.asked) == 1


def test_what_a_user_says_of_a_node_stays() -> None:
    scale_down = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
    server = Server(raw(approved(planned(swap()))))
    server.annotations["a"] = {scale_down: "false", "team": "x"}
    server.annotations["b"] = {scale_down: "true"}
    server.turns(3)
    assert server.marks["a"] == {"karpenter.sh/do-not-disrupt": "true"}
    assert server.marks["b"] == {"karpenter.sh/do-not-disrupt": "true", scale_down: "true"}


def test_old_news_of_a_plan_is_left_out() -> None:
    """A watch that lags, or a list that was read before the plan was made or written."""
    plan = raw(approved(planned(swap())))
    server = Server(plan)
    server.turns(1)
    known = server.objects.plans
    assert known[0].metadata.resource_version == "2"
    server.objects.upsert(PLAN, plan)
    server.objects.replace(PLAN, [], "1")
    assert server.objects.plans == known
    server.objects.delete(PLAN, plan | {"metadata": plan["metadata"] | {"uid": "another"}})
    assert server.objects.plans == known
    server.objects.replace(PLAN, [], "2")
    assert not server.objects.plans


def test_a_plan_whose_status_is_refused_does_not_stop_the_others() -> None:
    plan = approved(planned(swap()))
    server = Server(raw(plan, "bad"), raw(plan, "swap"))
    server.refuses = "bad"
    server.turns()
    assert server.asked


def test_a_plan_without_its_policy_keeps_no_room_and_can_be_stopped() -> None:
    plan = raw(approved(planned(swap())))
    server = Server(plan)
    server.turns(1)
    server.objects.put(
        server.change("swap", "spec", server.plans["swap"]["spec"] | {"policy": "gone"})
    )
    server.turns(2)
    reasons = {c["type"]: c["reason"] for c in server.plans["swap"]["status"]["conditions"]}
    assert (reasons["Executing"], reasons["Succeeded"]) == ("PolicyGone", "PolicyGone")
    assert not server.asked


@pytest.mark.parametrize("when", ["before", "while under way"])
def test_a_suspended_policy_counts_before_a_watch_tells_of_it(when: str) -> None:
    plan = raw(approved(planned(swap())))
    plan["spec"]["policy"] = "a100"
    server = Server(plan)
    server.policies["a100"] = policy("a100", "Auto") | {"metadata": {"name": "a100", "uid": "u"}}
    server.objects.put(server.policies["a100"])

    def suspend() -> None:
        suspended = policy("a100", "Auto", suspend=True)
        suspended["metadata"] |= {"uid": "u", "resourceVersion": "9"}
        server.policies["a100"] = suspended

    if when == "before":
        suspend()
    else:
        server.asks_extender = suspend
    server.turns()
    assert not server.asked
    reasons = {c["type"]: c["reason"] for c in server.plans["swap"]["status"]["conditions"]}
    assert reasons["Succeeded"] == "Suspended"
    assert ("Executing" in reasons) == (when == "while under way"), "it is begun only then"


def test_a_policy_that_is_gone_counts_before_a_watch_tells_of_it() -> None:
    plan = raw(approved(planned(swap())))
    plan["spec"]["policy"] = "a100"
    server = Server(plan)
    server.objects.put(policy("a100", "Auto"))
    server.turns(3)
    assert not server.asked
    assert not server.objects.policies


def test_a_plan_that_begins_again_is_acknowledged_again() -> None:
    """The extender's watch hangs, so it still names the plan as it was before the pause."""
    plan = raw(approved(planned(swap())))
    plan["spec"]["policy"] = "a100"
    server = Server(plan)

    def allow(version: str, *, suspend: bool) -> None:
        found = policy("a100", "Auto", suspend=suspend)
        found["metadata"] |= {"uid": "u", "resourceVersion": version}
        server.policies["a100"] = found

    def executing() -> str:
        conditions = server.plans["swap"]["status"]["conditions"]
        return str(next(c["status"] for c in conditions if c["type"] == "Executing"))

    allow("1", suspend=False)
    server.turns(1)
    assert executing() == "True"
    server.asks_extender = lambda: allow("2", suspend=True)
    server.turns(3)
    assert executing() == "False"
    assert server.kept
    server.hears, server.asks_extender = False, lambda: None
    server.now += 10
    allow("3", suspend=False)
    server.objects.put(server.policies["a100"])
    server.turns()
    assert executing() == "True"
    assert not server.asked
    server.hears = True
    server.turns(2)
    assert server.asked


def test_a_plan_that_waits_is_looked_at_seldom_until_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = approved(planned(swap()))
    waits = plan.model_copy(update={"spec": plan.spec.model_copy(update={"approval": None})})
    server = Server(raw(waits))
    looks = 0

    def slow(ask: Ask) -> Turn:
        nonlocal looks
        looks += 1
        time.sleep(1.0 if looks == 2 else 0.0)
        return decide(ask)

    monkeypatch.setattr("controllers.packing.plans.decide", slow)
    server.turns(6)
    assert looks == 2, "once to write what it waits for, once to see that there is no more to do"
    server.objects.put(server.change("swap", "spec", raw(plan)["spec"]))
    server.turns(3)
    assert looks > 2
    assert server.asked
