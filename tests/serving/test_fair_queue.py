"""The gateway's queue: shares of tenants, priorities, those that are resumed.

Covered: over any backlog what tenants of different weights got is in the ratio of their weights,
within a request of each; the urgent first; who leaves. Not covered: the queue under real load
(tests/gateway).
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairstow.serving.fair_queue import FairQueue


@given(
    st.lists(st.integers(1, 50), min_size=40, max_size=40),
    st.lists(st.integers(1, 50), min_size=40, max_size=40),
    st.sampled_from([1.0, 2.0, 4.0]),
    st.integers(1, 30),
)
def test_tenants_that_wait_get_their_shares(
    costs_a: list[int], costs_b: list[int], weight: float, served: int
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for cost in costs_a:
        queue.push(("a", cost), priority=1, tenant="a", weight=weight, cost=cost)
    for cost in costs_b:
        queue.push(("b", cost), priority=1, tenant="b", weight=1, cost=cost)
    got = {"a": 0.0, "b": 0.0}
    for _ in range(served):
        tenant, cost = queue.pop()
        got[tenant] += cost
    assert abs(got["a"] / weight - got["b"]) <= max(costs_a) / weight + max(costs_b)


def test_a_flood_of_one_tenant_holds_up_no_other() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(1000):
        queue.push("flood", priority=1, tenant="flood", weight=1, cost=100)
    queue.pop()
    queue.push("late", priority=1, tenant="late", weight=1, cost=100)
    assert "late" in {queue.pop(), queue.pop()}


def test_urgent_ones_first_and_resumed_ones_before_all() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("normal", priority=1, tenant="a", weight=1, cost=1)
    queue.push("high", priority=0, tenant="a", weight=1, cost=100)
    queue.resume("resumed")
    assert [queue.pop() for _ in range(3)] == ["resumed", "high", "normal"]


def test_who_leaves_is_skipped() -> None:
    queue: FairQueue[str] = FairQueue()
    first = queue.push("first", priority=1, tenant="a", weight=1, cost=1)
    queue.push("second", priority=1, tenant="a", weight=1, cost=1)
    assert queue.remove(first)
    assert not queue.remove(first)
    assert (len(queue), queue.head()) == (1, "second")
    assert queue.pop() == "second"
    assert queue.head() is None
