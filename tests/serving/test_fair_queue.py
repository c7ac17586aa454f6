"""The gateway's queue: shares of tenants, priorities, those that are resumed.

Covered: over any backlog what tenants of different weights got is in the ratio of their weights,
within a request of each; the urgent first; who leaves. Not covered: the queue under real load
(tests/gateway).
"""

from __future__ import annotations

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from fairstow.serving.fair_queue import FairQueue

Item = TypeVar("Item")


def first(queue: FairQueue[Item]) -> Item:
    number, item = next(queue.order(lambda _: 0))
    assert queue.take(number) == item
    return item


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
        tenant, cost = first(queue)
        got[tenant] += cost
    assert abs(got["a"] / weight - got["b"]) <= max(costs_a) / weight + max(costs_b)


def test_a_flood_of_one_tenant_holds_up_no_other() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(1000):
        queue.push("flood", priority=1, tenant="flood", weight=1, cost=100)
    first(queue)
    queue.push("late", priority=1, tenant="late", weight=1, cost=100)
    assert "late" in {first(queue), first(queue)}


def test_urgent_ones_first_and_resumed_ones_before_all() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("normal", priority=1, tenant="a", weight=1, cost=1)
    queue.push("high", priority=0, tenant="a", weight=1, cost=100)
    queue.resume("resumed")
    assert [first(queue) for _ in range(3)] == ["resumed", "high", "normal"]


def test_who_leaves_is_skipped() -> None:
    queue: FairQueue[str] = FairQueue()
    gone = queue.push("first", priority=1, tenant="a", weight=1, cost=1)
    queue.push("second", priority=1, tenant="a", weight=1, cost=1)
    assert queue.remove(gone)
    assert not queue.remove(gone)
    assert (len(queue), gone in queue) == (1, False)
    assert first(queue) == "second"
    assert list(queue.order(len)) == []


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 1), st.integers(0, 5)),
        max_size=20,
    )
)
def test_the_order_is_that_in_which_they_are_taken(
    asked: list[tuple[str, int, int, int]],
) -> None:
    """By any key; which orders a tenant's own requests and no others'."""
    queue: FairQueue[tuple[int, str, int, int]] = FairQueue()
    plain: FairQueue[tuple[int, str, int, int]] = FairQueue()
    for number, (tenant, cost, priority, key) in enumerate(asked):
        for each, same in ((queue, cost), (plain, 1)):
            item = (number, tenant, priority, key)
            each.push(item, priority=priority, tenant=tenant, weight=1, cost=same)
    expected = [item for _, item in queue.order(lambda item: item[3])]
    taken = []
    while len(queue):
        number, item = next(queue.order(lambda item: item[3]))
        taken.append(queue.take(number))
        assert taken[-1] == item
    assert taken == expected
    for tenant in "abc":
        for priority in (0, 1):
            own = [item[3] for item in taken if item[1:3] == (tenant, priority)]
            assert own == sorted(own)
    # At equal costs a key changes nothing about whose turn it is.
    by_key = [item[1] for _, item in plain.order(lambda item: item[3])]
    assert by_key == [item[1] for _, item in plain.order(lambda item: -item[3])]
