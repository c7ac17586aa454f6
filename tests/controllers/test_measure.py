"""What is measured of plans under way: waits of pods, time of plans, room kept and given up.

Covered: which pods count and from when; plans that succeed, are given up under way and before they
began. Not covered: that the loop tells it so, on a real API server (e2e/execution).
"""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from controllers.packing.measure import Measure
from controllers.packing.objects import OWN, Objects
from controllers.packing.parts import Parts
from fairstow.api import PackingPlan, Reason
from fairstow.cluster.kinds import NODE, POD
from fairstow.cluster.live import LiveCluster
from tests.cluster.objects import GPU, Object, node, pod
from tests.scheduler_plugins.plans import Arrival, Plan

CREATED = 1767225600
"""When `plans` are created, in seconds since 1970."""
WHOLE = {"cpu": "8", GPU: "4"}
PLAN = next(kind for kind in OWN if kind.name == "PackingPlan")


def waits(name: str = "big") -> Object:
    """A pod that is unschedulable since 100 s after the plan's creation."""
    made = pod(name, requests=WHOLE, owner=("ReplicaSet", "big"))
    since = "2026-01-01T00:01:40Z"
    made["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available",
            "lastTransitionTime": since,
        }
    ]
    return made


def bound(wanted: Object, where: str) -> Object:
    return wanted | {"spec": wanted["spec"] | {"nodeName": where}}


class World:
    def __init__(self) -> None:
        self.now = float(CREATED)
        self.cluster, self.objects = LiveCluster(), Objects()
        for name in ("a", "b"):
            self.cluster.upsert(NODE, node(name))
        nobody = cast(Any, None)
        parts = Parts(self.cluster, self.objects, nobody, nobody, clock=lambda: self.now)
        self.measure = Measure(parts)
        self._before = self._values()

    def plan(self, *, came_from: str = "", executing: bool = True) -> PackingPlan:
        """A plan that gives the pod `big` node a, as the API server has it now."""
        arrival = Arrival("team", "big", "uid-team-big", "a", WHOLE, "ReplicaSet/big", came_from)
        plan = Plan("plan-1", ((arrival,),), policy="pack")
        obj = plan.to_object() | {"status": plan.status(executing=executing)}
        obj["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        self.objects.upsert(PLAN, obj)
        return PackingPlan.model_validate(obj)

    def _values(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (s.name, tuple(sorted(s.labels.items()))): s.value
            for m in REGISTRY.collect()
            if m.name.startswith("fairstow_packing_")
            for s in m.samples
        }

    def grown(self, name: str, **labels: str) -> float:
        """By how much a sample has grown since the test began."""
        key = f"fairstow_packing_{name}", tuple(sorted(labels.items()))
        return float(self._values().get(key, 0.0) - self._before.get(key, 0.0))


@pytest.fixture
def world() -> World:
    return World()


def test_a_pod_counts_from_when_it_was_unschedulable_to_its_node(world: World) -> None:
    world.cluster.upsert(POD, waits())
    world.measure.begin()
    world.plan()
    world.now = CREATED + 130
    world.cluster.upsert(POD, waits())
    assert world.grown("wait_seconds_count", policy="pack") == 0
    world.cluster.upsert(POD, bound(waits(), "a"))
    world.cluster.upsert(POD, bound(waits(), "a"))
    assert world.grown("wait_seconds_count", policy="pack") == 1
    assert world.grown("wait_seconds_sum", policy="pack") == 30


@pytest.mark.parametrize("case", ["another node", "not under way", "moved", "deleted", "at once"])
def test_other_pods_dont_count(world: World, case: str) -> None:
    world.measure.begin()
    world.plan(came_from="b" if case == "moved" else "", executing=case != "not under way")
    if case != "at once":
        world.cluster.upsert(POD, waits())
    if case == "deleted":
        world.cluster.delete(POD, waits())
    world.cluster.upsert(POD, bound(waits(), "b" if case == "another node" else "a"))
    assert world.grown("wait_seconds_count", policy="pack") == 0


def test_room_is_kept_until_its_pod_arrives(world: World) -> None:
    def kept() -> float | None:
        world.measure.room_kept()
        return REGISTRY.get_sample_value("fairstow_packing_reservations")

    assert kept() == 0
    world.plan(executing=False)
    assert kept() == 0
    world.plan()
    assert kept() == 1
    world.cluster.upsert(POD, bound(waits(), "a"))
    assert kept() == 0


@pytest.mark.parametrize(
    ("reason", "executing", "expired"),
    [
        (Reason.SUCCEEDED, True, 0),
        (Reason.STEP_TIMED_OUT, True, 1),
        (Reason.POD_GONE, False, 0),
    ],
)
def test_a_plan_that_ends(world: World, reason: Reason, executing: bool, expired: int) -> None:
    plan = world.plan(executing=executing)
    world.now = CREATED + 600
    world.measure.ended(plan, plan, reason)
    assert world.grown("plans_ended_total", reason=reason.value) == 1
    assert world.grown("plan_seconds_sum", policy="pack", reason=reason.value) == 600
    assert world.grown("reservations_expired_total", reason=reason.value) == expired


def test_room_that_was_taken_has_not_expired(world: World) -> None:
    plan = world.plan()
    world.cluster.upsert(POD, bound(waits(), "a"))
    world.measure.ended(plan, plan, Reason.STEP_TIMED_OUT)
    assert world.grown("reservations_expired_total", reason="StepTimedOut") == 0
