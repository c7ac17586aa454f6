"""How many instances a pool should have: as many as keep its freeness within bounds.

Llumnix (OSDI'24) §4.4; part of the policies of `virtual_usage`. The pool's freeness is

    F = (Σ_i (M_i − Σ V_i) − Σ_d u_d − q) / (Σ_i B_i + Σ_d B_d + Q)

in decode steps, over the instances i that are ready; instances d that drain give their u tokens to
these, and Q requests of q tokens wait in the pool's queue. The paper takes the mean of the
instances' F; one that is idle has F = M there and decides alone, so here each counts by its batch.
F < low asks for one more instance, F > high for one less, if F stays above low without it; nothing
within `settle` seconds of the last change. Instances on their way count as ready and empty, so that
a load that outgrows them asks for more meanwhile, and one that doesn't waits for them. The last one
goes only once nothing is on it. The one to go has the fewest requests; one that hasn't come yet
goes before; it drains by the rule of `virtual_usage`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.serving.model import InstanceView, PoolView, Scale, State
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
        ready = _in(pool, State.READY)
        count = len(ready) + pool.starting
        if pool.now - pool.scaled < self.settle:
            return None
        if count < self.least:
            return Scale(count + 1, None, f"{count} instances, {self.least} at least")
        if not ready and pool.starting:
            return None
        if not count:
            asked = pool.waiting or any(map(requests_on, _in(pool, State.DRAINING)))
            return (
                Scale(1, None, "requests wait and nobody is there") if asked and self.most else None
            )
        free = self.freeness(pool)
        if free < self.low and count < self.most:
            said = f"{free:.0f} decode steps left, less than {self.low:.0f}"
            return Scale(count + 1, None, said)
        if free <= self.high or count <= self.least:
            return None
        return self._less(pool, ready, free)

    def _less(self, pool: PoolView, ready: Sequence[InstanceView], free: float) -> Scale | None:
        count = len(ready) + pool.starting
        victim = None if pool.starting else min(ready, key=requests_on)
        if victim is None:
            rest = self.freeness(pool, starting=pool.starting - 1)
        elif count > 1:
            rest = self.freeness(pool, without=victim)
        elif requests_on(victim) or pool.waiting:
            return None
        else:
            return Scale(0, victim.name, "nobody asks for anything")
        if rest <= self.low:
            return None
        said = f"{free:.0f} decode steps left, more than {self.high:.0f}; {rest:.0f} without it"
        return Scale(count - 1, victim.name if victim else None, said)

    def freeness(
        self,
        pool: PoolView,
        *,
        without: InstanceView | None = None,
        starting: int | None = None,
    ) -> float:
        """Return the pool's F; `without` an instance: once its requests are on the others.

        With `starting`: as it were with so many on their way.
        """
        ready = [i for i in _in(pool, State.READY) if i is not without]
        leaving = _in(pool, State.DRAINING) + ([without] if without else [])
        coming = pool.starting if starting is None else starting
        slack = sum(self.usage.slack(i) + i.head - i.demand for i in ready)
        if coming and ready:
            slack += coming * sum(i.capacity for i in ready) / len(ready)
        slack -= sum(i.used + i.demand for i in leaving) + sum(r.length for r in pool.waiting)
        batch = sum(requests_on(i) for i in (*ready, *leaving)) + len(pool.waiting)
        return slack / max(1, batch)


def _in(pool: PoolView, state: State) -> list[InstanceView]:
    return [i for i in pool.instances if i.state is state]
