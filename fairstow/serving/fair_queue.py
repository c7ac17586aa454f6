"""Who is next when there isn't room for all: the urgent first, tenants by their share.

Start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM'96) within each priority. A request of cost c
(tokens) of a tenant of weight w gets, with v the virtual time of its priority and F the tenant's
last finish there,

    start = max(v, F)        F := start + c / w        served in order of start; v := that start

so that over any time in which two tenants both wait, what they got differs from their weights'
ratio by at most one request each, however many either of them has queued. A tenant that was idle
saves nothing up. Requests that ran already and lost their engine come before all others.

Shares say which tenant is next, a *key* which of that tenant's requests: a policy's order (by
deadline, say) holds among one tenant's requests of one priority, and takes nothing from others. So
tags belong to tenants, not to requests: a tenant's tag moves on by the cost of what it was served.

Called by the gateway's dispatcher. `order` is O(n log n), the rest O(1).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Key = Callable[[Item], Any]


@dataclass(slots=True)
class _Flow(Generic[Item]):
    """What one tenant has waiting at one priority. Attributes: start: its next one's tag."""

    start: float
    weight: float
    waiting: dict[int, tuple[Item, float]] = field(default_factory=dict)


class FairQueue(Generic[Item]):
    """Waiting items, each by the number it got."""

    def __init__(self) -> None:
        self._numbers = 0
        self._resumed: dict[int, Item] = {}
        self._flows: dict[tuple[int, str], _Flow[Item]] = {}
        self._where: dict[int, tuple[int, str]] = {}
        self._virtual: dict[int, float] = {}
        self._finish: dict[tuple[int, str], float] = {}

    def __len__(self) -> int:
        return len(self._resumed) + len(self._where)

    def __contains__(self, number: int) -> bool:
        return number in self._resumed or number in self._where

    def items(self) -> Iterator[Item]:
        """Yield all that wait, in no order."""
        yield from self._resumed.values()
        for flow in self._flows.values():
            yield from (item for item, _ in flow.waiting.values())

    def push(self, item: Item, *, priority: int, tenant: str, weight: float, cost: float) -> int:
        """Add an item, whose turn is by its tenant's share; return its number."""
        self._numbers += 1
        whose = priority, tenant
        flow = self._flows.get(whose)
        if flow is None:
            start = max(self._virtual.get(priority, 0.0), self._finish.get(whose, 0.0))
            flow = self._flows[whose] = _Flow(start, weight)
        flow.weight = weight
        flow.waiting[self._numbers] = item, cost
        self._where[self._numbers] = whose
        return self._numbers

    def resume(self, item: Item) -> int:
        """Add an item that had its turn already; return its number."""
        self._numbers += 1
        self._resumed[self._numbers] = item
        return self._numbers

    def order(self, key: Key[Item]) -> Iterator[tuple[int, Item]]:
        """Yield all that wait in the order they would be taken; the least key of a tenant first.

        It is the order at the first step: taking what it yields doesn't disturb it.
        """
        yield from list(self._resumed.items())
        flows = [
            (*whose, flow.start, flow.weight, _sorted(flow, key))
            for whose, flow in self._flows.items()
        ]
        heap = [
            (priority, start, tenant, weight, items, 0)
            for priority, tenant, start, weight, items in flows
        ]
        heapq.heapify(heap)
        while heap:
            priority, start, tenant, weight, items, at = heap[0]
            number, item, cost = items[at]
            if at + 1 < len(items):
                after = (priority, start + cost / weight, tenant, weight, items, at + 1)
                heapq.heapreplace(heap, after)
            else:
                heapq.heappop(heap)
            yield number, item

    def take(self, number: int) -> Item:
        """Take one out, which has its turn, and charge its tenant."""
        if number in self._resumed:
            return self._resumed.pop(number)
        whose = self._where.pop(number)
        flow = self._flows[whose]
        item, cost = flow.waiting.pop(number)
        priority, _ = whose
        self._virtual[priority] = max(self._virtual.get(priority, 0.0), flow.start)
        flow.start += cost / flow.weight
        self._tidy(whose)
        return item

    def remove(self, number: int) -> bool:
        """Take one out that waits no longer; False if it had its turn."""
        if self._resumed.pop(number, None) is not None:
            return True
        whose = self._where.pop(number, None)
        if whose is None:
            return False
        del self._flows[whose].waiting[number]
        self._tidy(whose)
        return True

    def _tidy(self, whose: tuple[int, str]) -> None:
        """Forget a tenant that has nothing waiting, and everything once nobody has."""
        flow = self._flows[whose]
        if not flow.waiting:
            self._finish[whose] = flow.start
            del self._flows[whose]
        if not self._flows:
            self._virtual.clear()
            self._finish.clear()


def _sorted(flow: _Flow[Item], key: Key[Item]) -> list[tuple[int, Item, float]]:
    items = [(number, item, cost) for number, (item, cost) in flow.waiting.items()]
    items.sort(key=lambda each: key(each[1]))
    return items
