"""Serving policies by name, as ServingPools, the gateway and the command line choose them.

Pure; `protocols` says what each part is asked.
"""

from collections.abc import Callable, Mapping
from typing import Final

from fairstow.serving.policies.backfill import Backfill
from fairstow.serving.policies.baselines import (
    Least,
    PowerOfTwo,
    RoundRobin,
    memory_load,
    requests_on,
)
from fairstow.serving.policies.freeness_scaling import FreenessScaling
from fairstow.serving.policies.protocols import Policy
from fairstow.serving.policies.virtual_usage import VirtualUsage

Headroom = Mapping[int, int]


def _llumnix(headroom: Headroom) -> Policy:
    usage = VirtualUsage(headroom=headroom)
    scaler = FreenessScaling(usage=usage)
    return Policy(name="llumnix", dispatcher=usage, rescheduler=usage, scaler=scaler)


def _virtual_usage(headroom: Headroom) -> Policy:
    usage = Backfill(headroom=headroom)
    scaler = FreenessScaling(usage=usage)
    return Policy(name="virtual-usage", dispatcher=usage, rescheduler=usage, scaler=scaler)


def _round_robin(_headroom: Headroom) -> Policy:
    return Policy(name="round-robin", dispatcher=RoundRobin())


def _least_loaded(_headroom: Headroom) -> Policy:
    fewest = Least(requests_on, "fewest requests")
    return Policy(name="least-loaded", dispatcher=fewest)


def _power_of_two(_headroom: Headroom) -> Policy:
    return Policy(name="power-of-two", dispatcher=PowerOfTwo())


def _load_aware(_headroom: Headroom) -> Policy:
    least = Least(memory_load, "least memory held or waited for")
    return Policy(name="load-aware", dispatcher=least)


POLICIES: Final[Mapping[str, Callable[[Headroom], Policy]]] = {
    "virtual-usage": _virtual_usage,
    "llumnix": _llumnix,
    "round-robin": _round_robin,
    "least-loaded": _least_loaded,
    "power-of-two": _power_of_two,
    "load-aware": _load_aware,
}
"""By name; each takes the tokens to keep free for requests of a priority, by priority."""

DEFAULT: Final = "virtual-usage"
