"""The line before a queue: who waits at which position, and when each is expected to start.

Built by `admission.decide` with what it left waiting, read by those who tell people. Amounts are in
milli-CPU, work in core-seconds, times in seconds from now.

Expected starts: all who wait take the free cores in their order, as if every running and earlier
one did its least (earliest start) or its most work (latest start) on its first cores. A start
follows from those before it alone, so the line is simulated only as far down as somebody asks.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import inf

import msgspec

from fairstow.api import Reason

NEVER = (Reason.EXCEEDS_LIMIT, Reason.NEVER_FITS)
"""Those keep no position: nothing that ends lets them go."""
_NEAR = 200
"""Places whose predecessors are told."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An application that waits.

    Attributes:
        first: what is let go together, in milli-CPU.
        low, high: the work that it may be.
        slack: until its due, at the queue's present pace.
        waited: since it was made.
        obstacle: why it can't be let go whatever is free.
    """

    id: str
    user: str
    first: int
    low: float = 0.0
    high: float = inf
    slack: float = 0.0
    waited: float = 0.0
    lasting: bool = False
    obstacle: Reason | None = None

    @property
    def longest(self) -> float:
        """How long it takes at most, on its first cores."""
        return self.high * 1000 / max(self.first, 1)


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """An application that has cores or for which they are kept. low, high: work that is left."""

    id: str
    user: str
    milli: int
    low: float = 0.0
    high: float = inf
    lasting: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an application stands.

    Attributes:
        position: among those that wait, from 1; None for one that doesn't queue.
        starts: the earliest and the latest start; None where nobody knows.
        ahead: how many of which users are before it, the most first.
    """

    id: str
    reason: Reason
    position: int | None = None
    starts: tuple[float, float] | None = None
    ahead: tuple[tuple[str, int], ...] = ()


class Line:
    """Those who wait, in their order.

    Args:
        waiting: in the order of their virtual finish.
        held: why each that isn't let go waits.
        batch: those that have cores, and will end.
        free: what is free for those who wait.
    """

    def __init__(
        self,
        waiting: Sequence[Waiting] = (),
        held: Mapping[str, Reason] | None = None,
        batch: Sequence[Busy] = (),
        free: int = 0,
    ) -> None:
        self._waiting, self._held = waiting, held or {}
        self._queued: list[Waiting] = []
        """Of `places`, in their order."""
        self._early = _starts(self._queued, batch, free, high=False)
        self._late = _starts(self._queued, batch, free, high=True)
        self._starts: list[tuple[float, float]] = []

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Where each stands, without its starts."""
        places: list[Place] = []
        before = Counter[str]()
        held, queued = self._held, self._queued
        for job in self._waiting:
            reason = held.get(job.id)
            if reason is None:
                continue
            if job.lasting or job.obstacle is not None or reason in NEVER:
                places.append(Place(id=job.id, reason=reason))
                continue
            queued.append(job)
            position = len(queued)
            if len(places) >= _NEAR:
                places.append(Place(id=job.id, reason=reason, position=position))
                continue
            ahead = tuple(before.most_common(3))
            places.append(Place(id=job.id, reason=reason, position=position, ahead=ahead))
            before[job.user] += 1
        return tuple(places)

    def timed(self, place: Place) -> Place:
        """Return one of `places` with its starts."""
        if place.position is None or place.position > len(self._queued):
            return place
        while len(self._starts) < place.position:
            self._starts.append((next(self._early, inf), next(self._late, inf)))
        starts = self._starts[place.position - 1]
        return msgspec.structs.replace(place, starts=None if starts[0] == inf else starts)


def _starts(
    queued: Sequence[Waiting], batch: Sequence[Busy], free: int, *, high: bool
) -> Iterator[float]:
    """Yield when each starts, if each takes the cores that are free in its turn; end at never."""
    ends = [
        ((each.high if high else each.low) * 1000 / max(each.milli, 1), each.milli)
        for each in batch
    ]
    heapq.heapify(ends)
    now = 0.0
    for job in queued:
        first = job.first
        ended = False  # the first of `ends`, which is replaced then: cheaper than pop and push
        while free < first:
            if ended:
                heapq.heappop(ends)
            if not ends:
                return
            (end, milli), ended = ends[0], True
            now, free = max(now, end), free + milli
        yield now
        free -= first
        ends_at = now + (job.high if high else job.low) * 1000 / max(first, 1)
        (heapq.heapreplace if ended else heapq.heappush)(ends, (ends_at, first))
