"""Which request goes next, and where: the gateway's queue in front of its engines.

Requests wait here, not in engines' queues, where order is no tenant's share and nothing can be
taken back: an engine is sent no more than fits, but for one that waits at its door, so that it is
never idle. Priorities and tenants' shares say whose turn it is, the policy's order which of that
tenant's requests it is (`serving.fair_queue`); among the engines that are open the policy chooses.
Nobody passes the first that waits, unless the policy keeps room for that one. Whatever changes (a
request ends, an engine comes or goes) has the queue looked at again.

Where several gateways serve the pool, each may just have sent the best engine a request that the
others haven't heard of. If another engine were the best then, a draw decides between the two, so
that gateways don't all run after one engine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from zlib import crc32

from fairstow.gateway.fleet import Fleet, Instance
from fairstow.serving.fair_queue import FairQueue
from fairstow.serving.model import InstanceView, PoolView, RequestView
from fairstow.serving.policies.protocols import Policy
from fairstow.web.errors import ApiError

MOST_WAITING = 1000
RETRY_SECONDS = 5.0
DOOR = 1
"""Requests that may wait on an engine for its memory."""
OFFERED = 32
"""Of those that wait, how many are offered to the policy at once."""
HISTORY = 1000
"""Lengths of answers that policies are told of."""


class Ticket:
    """One request's place in the queue."""

    __slots__ = ("number", "placed", "request")

    def __init__(self, request: RequestView, placed: Callable[[Instance], None]) -> None:
        self.request = request
        self.placed = placed
        self.number = 0


class Dispatcher:
    """The queue.

    Attributes:
        policy: orders it and chooses among the engines that are open.
        outputs: tokens of the last answers that ended by themselves.
        peers: other gateways of the pool.
    """

    def __init__(
        self,
        fleet: Fleet,
        policy: Policy,
        clock: Callable[[], float],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._fleet = fleet
        self.policy = policy
        self.peers = 0
        self.outputs: deque[int] = deque(maxlen=HISTORY)
        self._clock = clock
        self._most = most_waiting
        self._queue: FairQueue[Ticket] = FairQueue()
        self._stranded: list[Ticket] = []
        self._looking: asyncio.Handle | None = None
        self._turn = 0

    def __len__(self) -> int:
        return len(self._queue)

    def check_room(self, asking: int) -> None:
        """Raises ApiError where too many wait already, here or `asking` for an engine."""
        if len(self._queue) + asking >= self._most:
            raise ApiError(
                429,
                f"{self._most} requests wait already. Try again later.",
                code="queue_full",
                retry_after=RETRY_SECONDS,
            )

    def enter(
        self, request: RequestView, weight: float, placed: Callable[[Instance], None]
    ) -> Ticket:
        """Queue a new request; `placed` is called once, when it has an engine."""
        cost = request.prompt + min(request.limit, request.prompt + 256)
        return self._push(request, weight, placed, cost)

    def wait_again(
        self, request: RequestView, weight: float, placed: Callable[[Instance], None]
    ) -> Ticket:
        """Queue one that was paused: by its priority and arrival, and its tenant pays once."""
        return self._push(request, weight, placed, 0)

    def _push(
        self, request: RequestView, weight: float, placed: Callable[[Instance], None], cost: float
    ) -> Ticket:
        ticket = Ticket(request, placed)
        ticket.number = self._queue.push(
            ticket, priority=request.priority, tenant=request.tenant, weight=weight, cost=cost
        )
        self.look()
        return ticket

    def resume(self, request: RequestView, placed: Callable[[Instance], None]) -> Ticket:
        """Queue one that ran already and lost its engine."""
        ticket = Ticket(request, placed)
        ticket.number = self._queue.resume(ticket)
        self.look()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """It waits no longer."""
        if not self._queue.remove(ticket.number) and ticket in self._stranded:
            self._stranded.remove(ticket)

    def fleet_changed(self) -> None:
        """Look at all of them: an engine came or went."""
        for ticket in self._stranded:
            ticket.number = self._queue.resume(ticket)
        self._stranded.clear()
        self.look()

    def look(self) -> None:
        """Look at the queue soon; as often as anything changed, once is enough."""
        if self._looking is None and self._queue:
            self._looking = asyncio.get_running_loop().call_soon(self._look)

    def choose(
        self, request: RequestView, *, but: str = "", before: Sequence[RequestView] = ()
    ) -> Instance | None:
        """Return the engine for a request now; None if there is no room.

        Args:
            request: what is to be placed.
            but: where it may not go.
            before: those that wait before it, in their order.
        """
        serving = [each for each in self._fleet.serving() if each.name != but]
        views = [each.place.view for each in serving if _open(each, request)]
        if not views:
            return None
        chosen = self.policy.dispatcher.dispatch(request, self.pool(views, before)).instance
        if chosen is not None and self.peers:
            chosen = self._drawn(chosen, request, views, before)
        return None if chosen is None else self._fleet[chosen]

    def _drawn(
        self,
        best: str,
        request: RequestView,
        views: Sequence[InstanceView],
        before: Sequence[RequestView],
    ) -> str:
        """Return the best, or the one that is if each peer has just sent one like it there."""
        unheard = self.peers * request.prompt
        seen = [
            replace(each, used=each.used + unheard, batch=each.batch + self.peers)
            if each.name == best
            else each
            for each in views
        ]
        other = self.policy.dispatcher.dispatch(request, self.pool(seen, before)).instance
        return best if other is None or crc32(request.id.encode()) % 2 else other

    def pool(self, views: Sequence[InstanceView], waiting: Sequence[RequestView]) -> PoolView:
        """Return what policies see of it all now."""
        return PoolView(
            views, now=self._clock(), turn=self._turn, waiting=waiting, outputs=self.outputs
        )

    def waiting(self) -> list[RequestView]:
        """Return the first that wait, in the order in which they would be served."""
        return [ticket.request for _, ticket in self._first()]

    def parked(self) -> Iterator[RequestView]:
        """Yield all that wait here, in no order."""
        return (ticket.request for ticket in self._queue.items())

    def _first(self) -> Iterator[tuple[int, Ticket]]:
        key = self.policy.order.key(self.pool((), ()))
        return islice(self._queue.order(lambda ticket: key(ticket.request)), OFFERED)

    def _look(self) -> None:
        self._looking = None
        if not self._fleet.serving():
            return  # whoever comes up makes it look again
        before: list[RequestView] = []
        for number, ticket in self._first():
            if number not in self._queue:
                continue  # it left when another was placed
            instance = self.choose(ticket.request, before=before)
            if instance is not None:
                self._queue.take(number)
                self._turn += 1
                instance.place.add(ticket.request)
                ticket.placed(instance)
            elif not any(each.place.view.takes(ticket.request) for each in self._fleet.serving()):
                # Nobody could ever take it as things are: it holds up nobody else.
                self._stranded.append(self._queue.take(number))
            elif self.policy.overtaking:
                before.append(ticket.request)
            else:
                return
        if not before and self._queue:
            self.look()  # there are more than were offered


def _open(instance: Instance, request: RequestView) -> bool:
    view = instance.place.view
    if not view.takes(request):
        return False
    return (
        view.queued < DOOR
        or view.used + view.demand + view.size(request.length + 1) <= view.capacity
    )
