"""Admission by the memory that will be needed at its peak, not by what is needed now.

Past-Future (arXiv 2507.10150), in `policies` as "past-future". The requests of an instance, the new
one among them, hold h_j tokens and will generate l_j more (`lengths`, drawn). They end in order of
l; sorted by l descending, when request i ends the first i still run and have each grown by l_i:

    M_i = Σ_{j ≤ i} h_j + i · l_i,      peak = max_i M_i

It is admitted iff the peak of each of `DRAWS` draws is ≤ M, to the instance where the highest of
them / M is lowest; else it waits in the pool's queue, in order: nobody overtakes. One draw alone
would be too low half of the time, and it is asked again until it is (the authors' program draws
several times, too, where few requests run). An instance that has nothing to do takes anything that
fits.
"""

from collections.abc import Iterable
from math import inf
from operator import itemgetter

from fairstow.serving.model import Dispatch, InstanceView, PoolView, RequestView
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates
from fairstow.serving.policies.lengths import Outputs

DRAWS = 5

_WAITS = Dispatch(None, "memory would run out before those that run have ended")


def peak(requests: Iterable[tuple[float, float]]) -> float:
    """Return max M_i of (held, left) pairs."""
    most = held = 0.0
    for i, (h, left) in enumerate(sorted(requests, key=itemgetter(1), reverse=True), 1):
        held += h
        most = max(most, held + i * left)
    return most


class PastFuture:
    """Admits by the future peak."""

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the lowest peak, or let it wait."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        if pool.waiting:
            return _WAITS
        outputs = Outputs(pool.outputs)
        best, least = able[0].name, inf
        for each in able:
            if (share := self._share(request, each, outputs, least)) < least:
                best, least = each.name, share
        if least > 1:
            idle = next((i for i in able if not i.batch + i.queued), None)
            return _WAITS if idle is None else Dispatch(idle.name, "nothing else runs there")
        return Dispatch(best, f"{least:.0%} of its memory at the peak, the least")

    def _share(
        self, request: RequestView, instance: InstanceView, outputs: Outputs, enough: float
    ) -> float:
        """Return the highest peak of all draws, as a share of the instance's memory.

        Args:
            request: the new one.
            instance: where it would go.
            outputs: of recent requests.
            enough: a share beyond which nobody asks how high it is; most have it at the first draw.
        """
        there = (*instance.requests(), request)
        held = [instance.size(r.length + 1) for r in there]
        most = 0.0
        for draw in range(DRAWS):
            left = [outputs.drawn_left(r, draw) for r in there]
            most = max(most, peak(zip(held, left, strict=True)) / instance.capacity)
            if most >= enough:
                break
        return most
