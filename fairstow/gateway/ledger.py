"""Which request is on which instance, as policies see it: this gateway's own count.

Engines publish no KV cache per request, so that the gateway mirrors what an engine does with what
it is sent: a request is admitted if its tokens fit and nobody waits before it, else it waits for
room in the order of its coming; its tokens are counted as they pass. `InstanceView`s are kept up to
date in O(1) a token. Changed by `dispatching` and `streams`, read by policies and the admin port.

More gateways may serve the pool: what these *peers* have here they tell several times a second
(`peers`). And an engine may have other consumers. What it says of itself once a second is more than
ours and the peers' then; what two reports in a row say beyond counts as *others'* until the next.
One report alone would count what has just ended as somebody else's.

Invariants, for each instance: used = Σ size of those admitted + of those on their way here + of
peers + of others; demand = Σ size of those that wait + peers; batch = those admitted + peers +
others; queued = those that wait + peers + others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fairstow.gateway.engines.protocol import Load
from fairstow.serving.model import InstanceView, Phase, RequestView
from fairstow.serving.prefixes import Prefixes

NOISE = 0.02
"""Of an engine's memory: where its count and ours of the same requests may differ."""


class Others(NamedTuple):
    """What an engine does for others; `demand`, where it is known, is what those waiting need."""

    used: int = 0
    running: int = 0
    waiting: int = 0
    demand: int = 0


class Place:
    """One instance's requests.

    Attributes:
        view: what policies see of it.
        admitted, waiting: by id; those that wait in the order of their coming.
        prefixes: of prompts that were sent here.
        peers: what the engine does for the pool's other gateways; others: for everybody else.
    """

    def __init__(self, name: str, capacity: int, block: int, compatibility: str) -> None:
        self.view = InstanceView(
            name, capacity, self.requests, block=block, compatibility=compatibility
        )
        self.admitted: dict[str, RequestView] = {}
        self.waiting: dict[str, RequestView] = {}
        self._coming: dict[str, int] = {}
        self.peers = self.others = self._reported = Others()
        self.learn(capacity, block)
        self._priorities: dict[int, int] = {}

    def learn(self, capacity: int, block: int) -> None:
        """Take in how much memory it has; an engine that says so anew has nothing cached."""
        self.view.capacity = capacity
        if not len(self):  # what is here was counted in blocks as they were
            self.view.block = block
        self.prefixes = Prefixes(capacity)
        self.view.cached = self.prefixes.cached

    def correct(self, load: Load) -> None:
        """Take in what the engine says of itself."""
        view, before = self.view, self.others
        used = round(load.kv_used * view.capacity) - (view.used - before.used)
        peers = self.peers
        more = max(0, load.running + load.waiting - len(self) - peers.running - peers.waiting)
        waiting = min(more, max(0, load.waiting - len(self.waiting) - peers.waiting))
        reported = Others(used if used > NOISE * view.capacity else 0, more - waiting, waiting)
        others = Others(*map(min, zip(reported, self._reported, strict=True)))
        self._reported, self.others = reported, others
        view.used += others.used - before.used
        view.batch += others.running - before.running
        self._count_waiting()
        self._promote()

    def share(self, peers: Others) -> None:
        """Take in what the pool's other gateways have here."""
        view, before = self.view, self.peers
        self.peers = peers
        view.used += peers.used - before.used
        view.batch += peers.running - before.running
        view.demand += peers.demand - before.demand
        self._count_waiting()
        self._promote()

    def ours(self) -> Others:
        """Return what the engine does for this gateway."""
        view, peers = self.view, self.peers
        return Others(
            used=view.used - self.others.used - peers.used,
            running=len(self.admitted),
            waiting=len(self.waiting),
            demand=view.demand - peers.demand,
        )

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
        if request.keys:
            self.prefixes.add(request.keys)
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
        view.queued = len(self.waiting) + self.peers.waiting + self.others.waiting
        head = next(iter(self.waiting.values()), None)
        view.head = view.size(head.length + 1) if head else 0
