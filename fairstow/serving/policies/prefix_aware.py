"""Where most of the prompt is cached, unless it is busy there.

In `policies` as "prefix-aware". For a prompt of n tokens, c of them cached on instance i, q queued
there in tokens, f free and u its share of memory in use, a request goes where

    (n − c) + q + max(0, n − c − f) + balance · u · n

is least: tokens to compute for it and before it, tokens to wait for, and a price for load, so that
a popular prefix spreads once its instance is busy.
"""

from dataclasses import dataclass

from fairstow.serving.model import Dispatch, InstanceView, PoolView, RequestView
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates


@dataclass(frozen=True, kw_only=True)
class PrefixAware:
    """The rule. Attributes: balance: what full memory is worth, as a share of the prompt."""

    balance: float = 1.0

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the least cost."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        costs = {i.name: self.cost(request, i) for i in able}
        best = min(costs, key=lambda name: costs[name][0])
        return Dispatch(best, f"{costs[best][1]} of {request.length} tokens are cached there")

    def cost(self, request: RequestView, instance: InstanceView) -> tuple[float, int]:
        """Return the cost in tokens, and how many are cached."""
        n = request.length
        cached = min(n, instance.cached(request)) if request.keys else 0
        free = instance.capacity - instance.used - instance.demand
        wait = instance.demand + max(0, n - cached - free)
        load = instance.used / instance.capacity
        return n - cached + wait + self.balance * load * n, cached
