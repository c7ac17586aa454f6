"""Virtual usage with one queue for the pool: late binding, backfill, room kept for who waits.

In `policies` as "virtual-usage", the default. Llumnix gives a request to an instance as it comes;
where it doesn't fit it holds up all behind it, and where it had fitted a second later nobody knows.
Here a request r of size n goes where the most decode steps are left *with* it,

    F'(i) = (M − Σ V − n) / (B + 1),        V counting all that is queued on i,

if F' ≥ `margin`, else it waits in the pool's queue. Those behind it may overtake it (as in EASY
backfilling of batch schedulers, Lifka 1995), but not onto the instances kept for the first K that
wait: the roomiest, one each, K a share of the instances. What is kept there counts as used, so the
instance becomes a source of migrations and its room grows, which keeps it the roomiest: the choice
is stable without being remembered, and a long request waits as long as it takes to free one
instance, not as long as short ones keep coming.
"""

from dataclasses import dataclass

from fairstow.serving.model import Dispatch, InstanceView, PoolView, RequestView, State
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates
from fairstow.serving.policies.virtual_usage import FULL, Kept, VirtualUsage


@dataclass(frozen=True, kw_only=True)
class Backfill(VirtualUsage):
    """The settings of VirtualUsage and its own.

    Attributes:
        margin: least F' with a request, in decode steps.
        share: K over the number of instances.
    """

    margin: float = 10.0
    share: float = 0.25

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the most decode steps with it, or let it wait."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        kept = self.kept(pool) if pool.waiting else {}
        best, left = None, -FULL
        for instance in able:
            if instance.name in kept:
                continue
            after = self._after(request, instance)
            if after > left:
                best, left = instance, after
        if best is None or (left < self.margin and best.batch + best.queued):
            return Dispatch(None, "no instance has room for it now")
        return Dispatch(best.name, f"{left:.0f} decode steps left with it, the most")

    def _after(self, request: RequestView, instance: InstanceView) -> float:
        behind = instance.demand - instance.head
        room = self.slack(instance) - behind - instance.size(request.length + 1)
        return room / (instance.batch + instance.queued + 1)

    def kept(self, pool: PoolView) -> Kept:
        """Keep the roomiest instances for the first that wait."""
        kept: dict[str, int] = {}
        if not pool.waiting:
            return kept
        ready = [i for i in pool.instances if i.state is State.READY]
        ready.sort(key=lambda i: i.used + i.demand - i.capacity)
        for request in pool.waiting[: max(1, int(self.share * len(ready)))]:
            able = (i for i in ready if i.name not in kept and i.takes(request))
            instance = next(able, None)
            if instance is not None:
                kept[instance.name] = instance.size(request.length + 1)
        return kept
