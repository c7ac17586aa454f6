"""Instances that differ in speed: fast enough against busy, and the most urgent first.

HexGen-Text2SQL (arXiv 2505.05286), in `policies` as "hexgen". For a request on instance e

    score(e) = α · T_base / T_e − (1 − α) · load_e / load_base

T_e is what it takes there alone, T_base on the fastest: T_base / T_e = speed_e / max speed. load_e
is what e holds and has queued over its memory and speed, load_base the mean. It goes to the highest
score among those with room for it, else it waits in the pool's queue, in order of urgency

    U = work left − (deadline − now)        seconds; the largest first

with work left estimated from the tokens expected (`lengths`) at `step` seconds each.
"""

from dataclasses import dataclass

from fairstow.serving.model import Dispatch, InstanceView, PoolView, RequestView
from fairstow.serving.policies.baselines import NO_INSTANCE, candidates, memory_load
from fairstow.serving.policies.lengths import Outputs
from fairstow.serving.policies.protocols import Key

_WAITS = Dispatch(None, "no instance has room for it now")


@dataclass(frozen=True, kw_only=True)
class HexGen:
    """Both rules. Attributes: weight: α; step: seconds of a token on the slowest instance."""

    weight: float = 0.4
    step: float = 0.06

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the highest score, or let it wait."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        roomy = [i for i in able if _has_room(request, i)]
        if not roomy:
            return _WAITS
        fastest = max(i.speed for i in able)
        base = sum(map(_load, able)) / len(able) or 1.0

        def score(instance: InstanceView) -> float:
            quick = instance.speed / fastest
            return self.weight * quick - (1 - self.weight) * _load(instance) / base

        best = max(roomy, key=score)
        return Dispatch(best.name, f"speed {best.speed:g}, load {_load(best):.2f}")

    def key(self, pool: PoolView) -> Key:
        """Order the queue by priority, then urgency."""
        outputs = Outputs(pool.outputs)

        def rank(request: RequestView) -> tuple[float, ...]:
            left = outputs.mean_left(request) * self.step
            return request.priority, request.deadline - pool.now - left, request.arrived

        return rank


def _load(instance: InstanceView) -> float:
    return memory_load(instance) / instance.speed


def _has_room(request: RequestView, instance: InstanceView) -> bool:
    free = instance.capacity - instance.used - instance.demand
    return not instance.batch + instance.queued or (
        free >= instance.size(request.length + 1) + instance.capacity // 50
    )
