"""What a gateway tells its clients of the pool's load, in the head of every answer.

For caches in front of it: they answer more from memory while the pool is short
(`serving.pressure`). Whoever holds a tenant's key sees it, nobody else. It is computed when an
answer begins, not when its request came, and at most four times a second.

What the pool's other gateways have on engines is in this one's ledger. What waits in their queues
isn't: each is taken to have as much waiting as this one.
"""

from __future__ import annotations

from collections.abc import Callable

from fairstow.gateway.dispatching import Dispatcher
from fairstow.gateway.fleet import Fleet, Instance
from fairstow.serving.pressure import WORD, Busy, pressure
from fairstow.serving.wire import State

FRESH_SECONDS = 0.25


class Loaded:
    """See the module."""

    def __init__(self, fleet: Fleet, dispatcher: Dispatcher, clock: Callable[[], float]) -> None:
        self._fleet, self._dispatcher, self._clock = fleet, dispatcher, clock
        self._found = float("-inf")
        self._head = (WORD.encode(), b"0.00")

    def head(self) -> list[tuple[bytes, bytes]]:
        """Return the header."""
        now = self._clock()
        if now - self._found >= FRESH_SECONDS:
            self._found = now
            self._head = (WORD.encode(), f"{self.pressure():.2f}".encode())
        return [self._head]

    def pressure(self) -> float:
        """Return the pool's pressure, 0 to 1."""
        times = 1 + self._dispatcher.peers
        queue = [request.length + 1 for request in self._dispatcher.parked()] * times
        return pressure(map(_busy, self._fleet.answering()), queue)


def _busy(instance: Instance) -> Busy:
    view, load = instance.place.view, instance.load
    return Busy(
        capacity=instance.facts.kv_tokens if instance.facts else 0,
        needed=view.used + view.demand,
        running=load.running if load else 0,
        waiting=load.waiting if load else 0,
        serves=instance.state is State.SERVING,
    )
