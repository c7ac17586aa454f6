"""Which request is on which instance, as policies see it: this gateway's own count.

Engines publish no KV cache per request, so that the gateway mirrors what an engine does with what
it is sent: a request is admitted if its tokens fit and nobody waits before it, else it waits for
room in the order of its coming; its tokens are counted as they pass. `InstanceView`s are kept up to
date in O(1) a token. Changed by `dispatching` and `streams`, read by policies and the admin port.

Invariants, for each instance: used = Σ size of those admitted + of those on their way here; demand
= Σ size of those that wait; batch and queued are their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairstow.serving.model import InstanceView, Phase, RequestView


class Place:
    """One instance's requests.

    Attributes:
        view: what policies see of it.
        admitted, waiting: by id; those that wait in the order of their coming.
    """

    def __init__(self, name: str, capacity: int, block: int, compatibility: str) -> None:
        self.view = InstanceView(
            name, capacity, self.requests, block=block, compatibility=compatibility
        )
        self.admitted: dict[str, RequestView] = {}
        self.waiting: dict[str, RequestView] = {}
        self._coming: dict[str, int] = {}
        self._priorities: dict[int, int] = {}

    def requests(self) -> Iterator[RequestView]:
        """Yield what is on it."""
        yield from self.admitted.values()
        yield from self.waiting.values()

    def __len__(self) -> int:
        return len(self.admitted) + len(self.waiting)

    def __contains__(self, request: RequestView) -> bool:
        return request.id in self.admitted or request.id in self.waiting

    def add(self, request: RequestView) -> None:
        """A leg of it starts here."""
        self.forget(request)
        view = self.view
        self._priorities[request.priority] = self._priorities.get(request.priority, 0) + 1
        view.priorities = self._priorities.keys()
        size = view.size(request.length + 1)
        if not self.waiting and view.used + size <= view.capacity:
            self._admit(request)
        else:
            request.phase = Phase.QUEUED
            self.waiting[request.id] = request
            view.demand += size
            self._count_waiting()

    def spoke(self, request: RequestView, tokens: int) -> None:
        """It generated so many tokens here."""
        view = self.view
        if request.id in self.waiting:  # the engine knew of room that we didn't
            self._take_waiting(request)
            self._admit(request)
        before = view.size(request.length + 1)
        request.generated += tokens
        request.phase = Phase.DECODE
        view.used += view.size(request.length + 1) - before

    def remove(self, request: RequestView) -> None:
        """It isn't here any more."""
        view = self.view
        if self.admitted.pop(request.id, None) is not None:
            view.used -= view.size(request.length + 1)
            view.batch -= 1
        elif request.id in self.waiting:
            self._take_waiting(request)
        else:
            return
        left = self._priorities[request.priority] - 1
        if left:
            self._priorities[request.priority] = left
        else:
            del self._priorities[request.priority]
        self._promote()

    def expect(self, request: RequestView) -> None:
        """It is on its way here, and with it its tokens."""
        self.forget(request)
        self._coming[request.id] = size = self.view.size(request.length + 1)
        self.view.used += size
        self.view.arriving += 1

    def forget(self, request: RequestView) -> None:
        """It arrived, or won't come."""
        size = self._coming.pop(request.id, None)
        if size is not None:
            self.view.used -= size
            self.view.arriving -= 1
            self._promote()

    def _admit(self, request: RequestView) -> None:
        request.phase = Phase.PREFILL
        self.admitted[request.id] = request
        self.view.used += self.view.size(request.length + 1)
        self.view.batch += 1

    def _take_waiting(self, request: RequestView) -> None:
        del self.waiting[request.id]
        self.view.demand -= self.view.size(request.length + 1)
        self._count_waiting()

    def _promote(self) -> None:
        view = self.view
        while self.waiting:
            head = next(iter(self.waiting.values()))
            if view.used + view.size(head.length + 1) > view.capacity:
                break
            self._take_waiting(head)
            self._admit(head)

    def _count_waiting(self) -> None:
        view = self.view
        view.queued = len(self.waiting)
        head = next(iter(self.waiting.values()), None)
        view.head = view.size(head.length + 1) if head else 0
