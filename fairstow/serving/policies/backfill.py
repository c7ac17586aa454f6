"""Virtual usage with one queue for the pool: late binding, backfill, room kept for who waits.

In `policies` as "virtual-usage", the default. Llumnix gives a request to an instance as it comes;
where it doesn't fit it holds up all behind it, and where it had fitted a second later nobody knows.
Here a request goes to the highest F, V counting all that is queued there, of the instances that
have room for it and for the mean output of recent requests (headroom aside: it is a preference, no
wall); where there is none it waits in the pool's queue. Those behind it may overtake it (as in EASY
backfilling of batch schedulers, Lifka 1995), but not onto the instance that is kept for the first
that waits: the roomiest. What is kept there counts as used, so the instance becomes a source
of migrations and its room grows, which keeps it the roomiest: the choice is stable without being
remembered, and a long request waits as long as it takes to free one instance, not as long as short
ones keep coming.

Below zero F is M − Σ V undivided: divided, the more run on an instance the freer it looks, and
where every instance has an urgent request, and so headroom, all newcomers go to the busiest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.serving.model import Dispatch, InstanceView, PoolView, RequestView
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates
from fairstow.serving.policies.lengths import ENOUGH, UNKNOWN
from fairstow.serving.policies.virtual_usage import FULL, Kept, VirtualUsage


@dataclass(frozen=True, kw_only=True)
class Backfill(VirtualUsage):
    """The rule; its settings are those of VirtualUsage."""

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the highest F where there is room, or let it wait."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        kept = self.kept(pool) if pool.waiting else {}
        grown = request.length + 1 + mean_output(pool.outputs)
        best, left = None, -FULL
        for instance in able:
            if instance.name in kept or not _has_room(instance, grown):
                continue
            steps = self._steps_left(instance)
            if steps > left:
                best, left = instance, steps
        if best is None:
            return Dispatch(None, "no instance has room for it now")
        return Dispatch(best.name, f"{left:.0f} decode steps left, the most")

    def _steps_left(self, instance: InstanceView) -> float:
        behind = instance.demand - instance.head
        return _per_step(self.slack(instance) - behind, instance)

    def freeness(self, instance: InstanceView, kept: Kept | None = None) -> float:
        """Return F, undivided below zero."""
        return _per_step(self.slack(instance, kept), instance)

    def kept(self, pool: PoolView) -> Kept:
        """Keep the roomiest instance for the first that waits."""
        for request in pool.waiting[:1]:
            able = candidates(request, pool)
            if able:
                roomiest = max(able, key=lambda i: i.capacity - i.used - i.demand)
                return {roomiest.name: roomiest.size(request.length + 1)}
        return {}


def _per_step(slack: float, instance: InstanceView) -> float:
    return slack / max(1, instance.batch) if slack > 0 else slack


def _has_room(instance: InstanceView, tokens: int) -> bool:
    """Whether so many tokens fit beside what is there; where nothing is, whatever fits may come."""
    free = instance.capacity - instance.used - instance.demand
    return free >= instance.size(tokens) or not instance.batch + instance.queued


def mean_output(outputs: Sequence[int]) -> int:
    """Return what a request is expected to generate."""
    return round(sum(outputs) / len(outputs)) if len(outputs) >= ENOUGH else UNKNOWN
