"""Migrations in the simulator: a running request's KV goes over in stages, then the request.

Called by `run`. The same steps that the gateway takes with real engines, of the same engine model:
pre-copy what is computed while the source decodes on; copy what came since; once that is at most
`REST` blocks or after `STAGES` stages, stop on the source, copy the rest and go on at the
destination, where the tokens of the last, partial block are computed anew. Whatever comes between
(it ends, it is preempted, no room) calls the migration off and leaves the request where it is.
"""

from collections.abc import Callable

from fairstow.serving.model import Phase, State
from fairstow.serving.simulator.instance import URGENT, Instance, Served

STAGES = 4
REST = 1
LEASE = 30.0

At = Callable[[float, Callable[[float], None]], None]
"""Have something done at a time."""


class Move:
    """One migration."""

    def __init__(self, served: Served, source: Instance, destination: Instance, at: At) -> None:
        self._served = served
        self._source = source
        self._destination = destination
        self._at = at
        self._ticket = f"{served.view.id}/{served.migrations}"
        self._copied = 0
        self._stage = 0

    def begin(self, now: float) -> None:
        """Start to copy. The source has been brought up to now."""
        self._served.view.moving = True
        self._source.view.leaving += 1
        self._destination.view.arriving += 1
        self._source.moves += 1
        self._destination.moves += 1
        self._copy(now)

    def _copy(self, now: float) -> None:
        """Copy what is computed; stop on the source first if little is left."""
        if not self._stands():
            self._end(now)
            return
        served, source = self._served, self._source
        full = source.full_blocks(served)
        last = self._stage > 0 and (full - self._copied <= REST or self._stage >= STAGES)
        keys = self._keys(full)
        source.engine.seal(now, served.view.id, keys)
        source.engine.hold(now, self._ticket, keys, expires=now + LEASE)
        missing = self._destination.engine.receive(now, self._ticket, keys, expires=now + LEASE)
        if missing is None:
            self._end(now)
            return
        self._copied = full
        self._stage += 1
        if last:
            source.give(now, served)
            served.handed = now
        done = max(source.engine.copy(now, missing), self._destination.engine.copy(now, missing))
        self._at(done, self._hand_over if last else self._copy)

    def _keys(self, full: int) -> tuple[object, ...]:
        """Name the first full blocks: the prompt's names, then its own."""
        served = self._served
        known = served.keys
        own = ((served.view.id, i) for i in range(len(known), full))
        served.keys = (*known, *own)
        return served.keys[:full]

    def _stands(self) -> bool:
        """Whether the request still runs on the source and the destination still takes it."""
        served = self._served
        return (
            served.instance is self._source
            and self._source.engine.phase(served.view.id) is Phase.DECODE
            and self._destination.view.state is State.READY
        )

    def _hand_over(self, now: float) -> None:
        self._destination.take(now, self._served, priority=URGENT)
        self._served.migrations += 1
        self._end(now)

    def _end(self, now: float) -> None:
        self._served.view.moving = False
        self._source.view.leaving -= 1
        self._destination.view.arriving -= 1
        self._source.moves -= 1
        self._destination.moves -= 1
        self._source.engine.release(now, self._ticket)
        self._destination.engine.release(now, self._ticket)
