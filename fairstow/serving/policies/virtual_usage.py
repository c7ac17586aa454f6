"""Virtual usage: one measure for load balancing, de-fragmentation, priorities and draining.

Llumnix (OSDI'24) §4.4, in `policies` as "llumnix"; `backfill` builds on it. With M an instance's
capacity and B its batch, all in tokens:

    V(r) = physical KV + headroom[p] / (requests of priority p there)      r runs, of priority p
         = demand                                                         r is next in its queue
         = 0                                                              r waits behind it
         = ∞, once                                                        the instance drains
    F    = (M − Σ V) / B        decode steps left until it is full; may be negative

Summed over an instance the headroom counts once for each priority present. Dispatch goes to the
highest F. Migration pairs the lowest F below `low` with the highest above `high`, one after the
other, the least urgent and shortest request first, if it helps (the published code doesn't ask):

    F'(destination) ≥ low                     it doesn't become a source itself: no ping-pong
    F'(destination) > F'(source)              the difference shrinks, the order doesn't turn
    and the source's M − Σ V grows            which any request that leaves does

where F' is after the move. A source that drains has F = −∞, needs only room at the other end, and
sends on what waits there too: that has no KV, so it costs nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairstow.serving.model import (
    Dispatch,
    InstanceView,
    Migration,
    Phase,
    PoolView,
    RequestView,
    State,
)
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates

FULL = float("inf")

Kept = Mapping[str, int]
"""Tokens kept free on instances for requests in the pool's queue, by instance."""


@dataclass(frozen=True, kw_only=True)
class VirtualUsage:
    """The policy's settings and rules.

    Attributes:
        headroom: tokens kept free for requests of a priority, by priority.
        low: F below which an instance is a source, in decode steps.
        high: F above which one is a destination.
        at_once: migrations under way per instance.
    """

    headroom: Mapping[int, int] = field(default_factory=dict)
    low: float = 30.0
    high: float = 60.0
    at_once: int = 2

    def slack(self, instance: InstanceView, kept: Kept | None = None) -> float:
        """Return M − Σ V."""
        if instance.state is State.DRAINING:
            return -FULL
        free = instance.capacity - instance.used - instance.head
        if self.headroom:
            free -= sum(self.headroom.get(p, 0) for p in instance.priorities)
        return free - kept.get(instance.name, 0) if kept else free

    def freeness(self, instance: InstanceView, kept: Kept | None = None) -> float:
        """Return F."""
        return self.slack(instance, kept) / max(1, instance.batch)

    def kept(self, pool: PoolView) -> Kept:
        """Return what is kept for the pool's queue: nothing, requests wait on instances."""
        del pool
        return {}

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the highest F."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        best = max(able, key=self.freeness)
        return Dispatch(best.name, f"{self.freeness(best):.0f} decode steps left, the most")

    def migrations(self, pool: PoolView) -> Sequence[Migration]:
        """Pair sources with destinations."""
        kept = self.kept(pool)
        free = {i.name: self.freeness(i, kept) for i in pool.instances}
        sources = sorted(
            (i for i in pool.instances if free[i.name] < self.low and i.leaving < self.at_once),
            key=lambda i: free[i.name],
        )
        ready = [i for i in pool.instances if i.state is State.READY]
        destinations = sorted(
            (i for i in ready if free[i.name] > self.high and i.arriving < self.at_once),
            key=lambda i: -free[i.name],
        )
        moves = []
        for source in sources:
            drains = source.state is State.DRAINING
            for destination in destinations if not drains else by_room(ready, self.at_once):
                request = self._chosen(source, destination, kept)
                if request is not None:
                    moves.append(_move(request, source, destination, free))
                    if destination in destinations:
                        destinations.remove(destination)
                    break
                if not drains:
                    break  # pairs are made in order of F; who drains takes any
            if drains and source.queued:
                moves += _sent_on(source, ready)
        return moves

    def _chosen(
        self, source: InstanceView, destination: InstanceView, kept: Kept
    ) -> RequestView | None:
        """Return the request whose migration helps most; None if none does.

        The least urgent and shortest. Where the source lacks room, the shortest that makes enough
        of it, else the longest: fewer migrations for as much room.
        """
        running = [
            r
            for r in source.requests()
            if r.phase is Phase.DECODE and r.movable and not r.moving and destination.takes(r)
        ]
        lacking = -self.slack(source, kept)
        if 0 < lacking < FULL:
            enough = [r for r in running if r.length >= lacking]
            rest = [r for r in running if r.length < lacking]
            enough.sort(key=lambda r: (-r.priority, r.length))
            rest.sort(key=lambda r: (-r.priority, -r.length))
            running = enough + rest
        else:
            running.sort(key=lambda r: (-r.priority, r.length))
        return next((r for r in running if self.helps(r, source, destination, kept)), None)

    def helps(
        self,
        request: RequestView,
        source: InstanceView,
        destination: InstanceView,
        kept: Kept | None = None,
    ) -> bool:
        """Whether a running request had better be on the destination."""
        size = destination.size(request.length + 1)
        if source.state is State.DRAINING:
            return destination.capacity - destination.used - destination.head >= size
        own = self.headroom.get(request.priority, 0)
        there = 0 if request.priority in destination.priorities else own
        after = (self.slack(destination, kept) - size - there) / (destination.batch + 1)
        left = (self.slack(source, kept) + size) / max(1, source.batch - 1)
        return after >= self.low and after > left


def by_room(ready: Sequence[InstanceView], at_once: int) -> list[InstanceView]:
    """Return who can take something from an instance that drains, the emptiest first."""
    able = [i for i in ready if i.arriving < at_once]
    return sorted(able, key=lambda i: i.used + i.demand - i.capacity)


def _sent_on(source: InstanceView, ready: Sequence[InstanceView]) -> Iterator[Migration]:
    """Send what waits on an instance that drains to wait or run elsewhere."""
    load = {i.name: float(i.used + i.demand - i.capacity) for i in ready}
    for request in source.requests():
        if request.phase is Phase.QUEUED and request.movable and not request.moving:
            able = [i for i in ready if i.takes(request)]
            best = min(able, key=lambda i: load[i.name], default=None)
            if best is not None:
                load[best.name] += best.size(request.length + 1)
                yield Migration(request.id, source.name, best.name, "drains")


def _move(
    request: RequestView,
    source: InstanceView,
    destination: InstanceView,
    free: Mapping[str, float],
) -> Migration:
    if source.state is State.DRAINING:
        reason = "drains"
    else:
        reason = (
            f"{free[source.name]:.0f} decode steps left there, {free[destination.name]:.0f} here"
        )
    return Migration(request.id, source.name, destination.name, reason)
