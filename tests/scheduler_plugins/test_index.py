"""For how many pods room is no longer kept: the operator died, or a step is long overdue.

What the index answers the scheduler is test_verbs.py's.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fairstow.cluster.kinds import NODE
from fairstow.packing.reservations import LATE_SECONDS
from scheduler_plugins.index import LEASE, PLAN, Index
from tests.cluster.objects import GPU, node
from tests.scheduler_plugins.plans import Arrival, Plan, lease

EPOCH = 1767225600.0
STEP_TIMEOUT = 600
"""Seconds: a plan's default, begun at EPOCH."""
OPERATOR = "fairstow-system/fairstow-operator"


def test_room_expires_once_with_the_operators_lease() -> None:
    now = 1000.0
    index = Index(OPERATOR, clock=lambda: now, wall=lambda: EPOCH)
    index.live.upsert(NODE, node("a"))
    assert index.expired() == 0
    index.operator.upsert(LEASE, lease())
    pods = tuple(Arrival("team", name, f"uid-{name}", "a", {GPU: "1"}) for name in "xy")
    plan = Plan("plan-1", (pods,)).to_object()
    index.plans.upsert(PLAN, plan)
    assert index.expired() == 0
    now += 3600
    assert not index.reservations.plans
    assert [index.expired(), index.expired()] == [2, 0]
    index.operator.upsert(LEASE, lease(renewed="2026-01-01T00:00:10Z"))
    assert index.expired() == 0
    index.plans.delete(PLAN, plan)
    now += 3600
    assert index.expired() == 0


def test_room_of_a_step_that_should_long_be_over_is_free_again() -> None:
    """The operator lives, but the plan's status can't be written."""
    wall = EPOCH
    index = Index(OPERATOR, clock=lambda: wall, wall=lambda: wall)
    index.live.upsert(NODE, node("a"))
    pods = tuple(Arrival("team", name, f"uid-{name}", "a", {GPU: "1"}) for name in "xy")
    plan = Plan("plan-1", (pods,)).to_object()
    index.plans.upsert(PLAN, plan)

    def kept_at(moment: float) -> tuple[int, int, int]:
        nonlocal wall
        wall = moment
        renewed = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        index.operator.upsert(LEASE, lease(renewed=renewed))
        return index.expired(), len(index.reservations.plans), len(index.enforced)

    last = EPOCH + STEP_TIMEOUT + LATE_SECONDS
    assert kept_at(last) == (0, 1, 1)
    assert kept_at(last + 1) == (2, 0, 0)
    index.plans.upsert(PLAN, plan)  # the watch lists it anew
    assert kept_at(last + 2) == (0, 0, 0)


def test_room_outlives_a_lease_that_is_given_back() -> None:
    """An operator that ends in order is succeeded within moments: no room may be open meanwhile."""
    now = 1000.0
    index = Index(OPERATOR, clock=lambda: now, wall=lambda: EPOCH)
    index.operator.upsert(LEASE, lease())
    given_back = lease(seconds=1)
    given_back["spec"]["holderIdentity"] = ""
    index.operator.upsert(LEASE, given_back)
    alive = [index.operator.alive]
    now += 76
    assert [*alive, index.operator.alive] == [True, False]
    fresh = Index(OPERATOR, clock=lambda: now, wall=lambda: EPOCH)
    fresh.operator.upsert(LEASE, given_back)
    assert not fresh.operator.alive
