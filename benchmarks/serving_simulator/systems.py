"""What is compared: a policy, and what it knows of the instances.

The published systems dispatch and migrate by what instances last reported. How often they do isn't
published; one second is what the published prefill latencies ask for where nothing else delays
them: L-S at 10/s, a third of the memory in use, where the mean prefill takes 0.73 s (INFaaS++) and
0.63 s (Llumnix), of which the prompts' computation is 0.15 s. Here it takes 0.81 s and 0.70 s:
requests that come between two reports go to the same instance. This cell isn't among those
compared; docs/benchmarks/serving.md says what else was looked at. Our gateway counts what it sends:
nothing is late.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairstow.serving.model import Dispatch, InstanceView, PoolView, RequestView
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates, requests_on
from fairstow.serving.policies.protocols import Dispatcher

REPORTS = 1.0
"""Seconds."""


@dataclass(frozen=True)
class System:
    """One.

    Attributes:
        reports: as in `Setup`.
        published: its name in the published points.
        dispatcher: instead of the policy's.
    """

    policy: str
    reports: float | None = None
    published: str = ""
    dispatcher: Dispatcher | None = None


class Freest:
    """Dispatch of both systems in Llumnix's published program: free memory per request.

    All that waits counts, and below zero, too, it is divided by the number of requests: among
    instances that have too much, the one with the most requests looks the freest.
    """

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the highest."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        return Dispatch(max(able, key=_free_for_each).name, "most memory for each request")


def _free_for_each(instance: InstanceView) -> float:
    free = instance.capacity - instance.used - instance.demand
    return free / requests_on(instance) if requests_on(instance) else float("inf")


SYSTEMS = {
    "round-robin": System("round-robin", REPORTS, "Round-Robin"),
    "INFaaS++": System("load-aware", REPORTS, "INFaaS++", dispatcher=Freest()),
    "load-aware": System("load-aware", REPORTS),
    "llumnix": System("llumnix", REPORTS, "Llumnix"),
    "llumnix, ledger": System("llumnix"),
    "virtual-usage": System("virtual-usage"),
}
"""By the names in results; what isn't published knows what it has sent."""
