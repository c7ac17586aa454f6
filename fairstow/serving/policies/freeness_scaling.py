"""How many instances a pool should have: as many as keep its freeness within bounds.

Llumnix (OSDI'24) §4.4; part of the policies of `virtual_usage`. The pool's freeness is

    F = (Σ_i (M_i − Σ V_i) − q) / (Σ_i B_i + Q)       over the instances that are ready

in decode steps, with Q requests of q tokens in the pool's queue. The paper takes the mean of the
instances' F; one that is idle has F = M there and decides alone, so here each counts by its batch.
F < low asks for one more instance, F > high for one less, if F stays above low without it; nothing
within `settle` seconds of the last change. The one to go has the fewest requests; it drains by the
rule of `virtual_usage`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.serving.model import InstanceView, PoolView, RequestView, Scale, State
from fairstow.serving.policies.baselines import requests_on
from fairstow.serving.policies.virtual_usage import VirtualUsage


@dataclass(frozen=True, kw_only=True)
class FreenessScaling:
    """The rule and its bounds, in decode steps and seconds."""

    usage: VirtualUsage
    low: float = 10.0
    high: float = 60.0
    settle: float = 10.0
    least: int = 1
    most: int = 1_000

    def scale(self, pool: PoolView) -> Scale | None:
        """Ask for one more or one less."""
        ready = [i for i in pool.instances if i.state is State.READY]
        if pool.now - pool.scaled < self.settle or pool.starting:
            return None
        if len(ready) < self.least:
            return Scale(len(ready) + 1, None, f"{len(ready)} instances, {self.least} at least")
        free = self._freeness(ready, pool.waiting)
        if free < self.low and len(ready) < self.most:
            return Scale(
                len(ready) + 1, None, f"{free:.0f} decode steps left, less than {self.low:.0f}"
            )
        if free <= self.high or len(ready) <= self.least:
            return None
        victim = min(ready, key=requests_on)
        rest = self._freeness([i for i in ready if i is not victim], pool.waiting, also=victim)
        if rest <= self.low:
            return None
        return Scale(
            len(ready) - 1,
            victim.name,
            f"{free:.0f} decode steps left, more than {self.high:.0f}; {rest:.0f} without it",
        )

    def _freeness(
        self,
        ready: Sequence[InstanceView],
        waiting: Sequence[RequestView],
        also: InstanceView | None = None,
    ) -> float:
        """Return the pool's F; with `also`, where what runs on that one is on the others."""
        slack = sum(self.usage.slack(i) + i.head - i.demand for i in ready)
        slack -= sum(r.length for r in waiting)
        batch = sum(requests_on(i) for i in ready) + len(waiting)
        if also is not None:
            slack -= also.used + also.demand
            batch += requests_on(also)
        return slack / max(1, batch)
