"""What other routers do: round-robin, least-loaded, power of two choices, load-aware dispatch.

In `policies` by name. None of them moves a request once it has an instance. With M an instance's
capacity, u what is held there and q what its queue needs, all in tokens:

    least-loaded   fewest requests, running and queued
    power-of-two   the less loaded of two at random (Mitzenmacher, 2001)
    load-aware     smallest (u + q) / M: "INFaaS++" of Llumnix (OSDI'24) §6.1
"""

from collections.abc import Callable
from zlib import crc32

from fairstow.serving.model import Dispatch, InstanceView, PoolView, RequestView

NO_INSTANCE = Dispatch(None, "no instance that is ready takes a request of this size and class")


def candidates(request: RequestView, pool: PoolView) -> list[InstanceView]:
    """Return the instances that may be given a request."""
    return [instance for instance in pool.instances if instance.takes(request)]


class RoundRobin:
    """Each instance in turn."""

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the next."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        return Dispatch(able[pool.turn % len(able)].name, "its turn")


class Least:
    """The instance with the least of something."""

    def __init__(self, load: Callable[[InstanceView], float], reason: str) -> None:
        self._load = load
        self._reason = reason

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose the first with the least."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        return Dispatch(min(able, key=self._load).name, self._reason)


class PowerOfTwo:
    """The less loaded of two instances, drawn by the request's id."""

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Choose between two."""
        able = candidates(request, pool)
        if not able:
            return NO_INSTANCE
        drawn = crc32(request.id.encode())
        first, rest = drawn % len(able), drawn // len(able)
        second = (first + 1 + rest % max(1, len(able) - 1)) % len(able)
        chosen = min(able[first], able[second], key=requests_on)
        return Dispatch(chosen.name, "fewer requests than on another drawn at random")


def requests_on(instance: InstanceView) -> int:
    """Count what an instance has to do."""
    return instance.batch + instance.queued


def memory_load(instance: InstanceView) -> float:
    """Return the share of its memory that is held or waited for."""
    return (instance.used + instance.demand) / instance.capacity
