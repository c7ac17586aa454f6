"""Who is next when there isn't room for all: the urgent first, tenants by their share.

Start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM'96) within each priority. A request of cost c
(tokens) of a tenant of weight w gets, with v the virtual time of its priority and F the tenant's
last finish there,

    start = max(v, F)        F := start + c / w        served in order of start; v := that start

so that over any time in which two tenants both wait, what they got differs from their weights'
ratio by at most one request each, however many either of them has queued. A tenant that was idle
saves nothing up. Requests that ran already and lost their engine come before all others.

Called by the gateway's dispatcher. Work is O(log n) per request.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
_RESUMED = float("-inf")


class FairQueue(Generic[Item]):
    """Waiting items, each by its own key."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, float, int, Item]] = []
        self._waiting: dict[int, Item] = {}
        self._numbers = 0
        self._virtual: dict[int, float] = {}
        self._finish: dict[tuple[int, str], float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Item]:
        """Yield all that wait, in the order of their coming."""
        return iter(list(self._waiting.values()))

    def push(self, item: Item, *, priority: int, tenant: str, weight: float, cost: float) -> int:
        """Add an item, whose turn is by its tenant's share; return its number."""
        start = max(self._virtual.get(priority, 0.0), self._finish.get((priority, tenant), 0.0))
        self._finish[priority, tenant] = start + cost / weight
        return self._add((priority, start), item)

    def resume(self, item: Item) -> int:
        """Add an item that had its turn already; return its number."""
        return self._add((_RESUMED, 0.0), item)

    def _add(self, order: tuple[float, float], item: Item) -> int:
        self._numbers += 1
        self._waiting[self._numbers] = item
        heapq.heappush(self._heap, (*order, self._numbers, item))
        return self._numbers

    def head(self) -> Item | None:
        """Return who is next; None if nobody waits."""
        while self._heap and self._heap[0][2] not in self._waiting:
            heapq.heappop(self._heap)
        return self._heap[0][3] if self._heap else None

    def pop(self) -> Item:
        """Take out who is next."""
        item = self.head()
        assert item is not None
        priority, start, number, _ = heapq.heappop(self._heap)
        del self._waiting[number]
        if priority != _RESUMED:
            self._virtual[int(priority)] = start
        if not self._waiting:
            self._forget()
        return item

    def remove(self, number: int) -> bool:
        """Take one out that waits no longer; False if it had its turn."""
        gone = self._waiting.pop(number, None) is not None
        if gone and not self._waiting:
            self._forget()
        return gone

    def _forget(self) -> None:
        """Nobody waits: what tenants got so far counts no more."""
        self._heap.clear()
        self._virtual.clear()
        self._finish.clear()
