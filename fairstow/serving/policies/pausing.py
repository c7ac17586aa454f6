"""A low-priority request gives up its place while a more urgent one waits.

After FastSwitch (fair preemption of LLM requests); part of "virtual-usage". Its tokens stay with
whoever owns the stream, its KV in the engine's prefix cache as long as that has room; it waits in
the pool's queue by its priority and arrival, and goes on from cache or by recompute. Bounds:

    a request waits `patience` seconds before others are paused for it
    a request is paused at most `most` times, and never twice within `rest` seconds of service
    at one time no more are paused than make room for the first that waits

Paused are, on the instance where the fewest tokens have to go, the least urgent first, then the
shortest: what is lost is its KV.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.serving.model import InstanceView, Pause, Phase, PoolView, RequestView


@dataclass(frozen=True, kw_only=True)
class Pausing:
    """The rule and its bounds."""

    patience: float = 1.0
    most: int = 2
    rest: float = 10.0

    def pauses(self, waiting: Sequence[RequestView], pool: PoolView) -> Sequence[Pause]:
        """Make room for the first that has waited long enough."""
        for request in waiting:
            if pool.now - request.arrived < self.patience:
                continue
            plans = [self._plan(request, i, pool.now) for i in pool.instances if i.takes(request)]
            able = [plan for plan in plans if plan is not None]
            if not able:
                return []
            chosen, instance = min(able, key=lambda plan: sum(r.length for r in plan[0]))
            reason = f"a request of priority {request.priority} waits"
            return [Pause(r.id, instance.name, reason) for r in chosen]
        return []

    def _plan(
        self, request: RequestView, instance: InstanceView, now: float
    ) -> tuple[list[RequestView], InstanceView] | None:
        """Return whom to pause on an instance; None if that makes no room."""
        lacking = instance.size(request.length + 1) - (
            instance.capacity - instance.used - instance.demand
        )
        victims = [
            r
            for r in instance.requests()
            if r.priority > request.priority
            and r.phase is Phase.DECODE
            and r.movable
            and not r.moving
            and r.pauses < self.most
            and now - r.resumed >= self.rest
        ]
        victims.sort(key=lambda r: (-r.priority, r.length))
        chosen: list[RequestView] = []
        for victim in victims:
            if lacking <= 0:
                break
            chosen.append(victim)
            lacking -= instance.size(victim.length)
        return (chosen, instance) if lacking <= 0 and chosen else None
