"""Just enough, just in time: requests with deadlines, ranked by goodput per bandwidth.

JITServe (arXiv 2504.20068), in `policies` as "jitserve". A request with l tokens left (expected,
anew as tokens appear) and t seconds to its deadline needs the bandwidth

    b = l / t      tokens/s;  1 / pace for one of the latency kind, whose tokens are due steadily

of the v tokens/s that a running request gets. What it yields is one request in time, so goodput per
bandwidth is 1 / b. In this order they get a place:

    1. those that must run now, share · v ≤ b ≤ v: the least b first, as room for one large need is
       room for several small ones
    2. those that can wait, b < share · v: the largest b first, they are next to be due
    3. those that are late whatever is done, b > v: the least b first

Where one of the first kind waits in vain, running requests that can wait are paused for it, the
least b first: those of its own tenant, and of others the less urgent, since deadlines take nothing
from another tenant's share. Dispatch is that of `backfill`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from fairstow.serving.model import Kind, Pause, Phase, PoolView, RequestView
from fairstow.serving.policies.lengths import Outputs
from fairstow.serving.policies.protocols import Key


@dataclass(frozen=True, kw_only=True)
class JustInTime:
    """The order of the queue and who is paused for it.

    Attributes:
        speed: v.
        share: of v, from which a request must run now.
        most: times that one request is paused, no more.
    """

    speed: float = 15.0
    share: float = 0.5
    most: int = 2

    def key(self, pool: PoolView) -> Key:
        """Order the queue."""
        outputs = Outputs(pool.outputs)
        return lambda request: self._ranked(self.bandwidth(request, pool.now, outputs))

    def _ranked(self, bandwidth: float) -> tuple[float, ...]:
        if bandwidth > self.speed:
            return 2.0, bandwidth
        if bandwidth >= self.share * self.speed:
            return 0.0, bandwidth
        return 1.0, -bandwidth

    def bandwidth(self, request: RequestView, now: float, outputs: Outputs) -> float:
        """Return b."""
        if request.kind is Kind.LATENCY:
            return 1 / request.pace if request.pace else inf
        left, time = outputs.mean_left(request), request.deadline - now
        return left / time if time > 0 else inf

    def _can_wait(self, bandwidth: float) -> bool:
        return bandwidth < self.share * self.speed / 2 or bandwidth > self.speed

    def pauses(self, waiting: Sequence[RequestView], pool: PoolView) -> Sequence[Pause]:
        """Propose one pause for the first that must run now."""
        outputs = Outputs(pool.outputs)
        urgent = next(
            (r for r in waiting if self._ranked(self.bandwidth(r, pool.now, outputs))[0] == 0),
            None,
        )
        if urgent is None:
            return []
        able = []
        for instance in pool.instances:
            if not instance.takes(urgent):
                continue
            for request in instance.requests():
                need = self.bandwidth(request, pool.now, outputs)
                if (
                    request.phase is Phase.DECODE
                    and _gives_way(request, urgent)
                    and request.movable
                    and not request.moving
                    and request.pauses < self.most
                    and self._can_wait(need)
                    and request.length + instance.capacity - instance.used > urgent.length
                ):
                    able.append((-need if need > self.speed else need, request.id, instance.name))
        if not able:
            return []
        _, name, instance_name = min(able)
        return [Pause(name, instance_name, "can wait, and another can't")]


def _gives_way(request: RequestView, urgent: RequestView) -> bool:
    if request.priority == urgent.priority:
        return request.tenant == urgent.tenant
    return request.priority > urgent.priority
