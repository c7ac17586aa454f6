"""Serving policies by name, as ServingPools, the gateway and the command line choose them.

Pure; `protocols` says what each part is asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from fairstow.serving.policies.hexgen import HexGen
from fairstow.serving.policies.jitserve import JustInTime
from fairstow.serving.policies.past_future import PastFuture
from fairstow.serving.policies.pausing import Pausing
from fairstow.serving.policies.prefix_aware import PrefixAware
from fairstow.serving.policies.protocols import Dispatcher, Policy
from fairstow.serving.policies.virtual_usage import VirtualUsage


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a pool may set, whichever its policy.

    Attributes:
        headroom: tokens kept free for requests of a priority, by priority.
        below: freeness in decode steps below which requests leave an instance.
        above: freeness above which they may go to one.
        moves: most requests on their way from or to one instance.
        least, most: instances.
        out_below, in_above: the pool's freeness that asks for one instance more or less.
        settle: seconds from one change of the number of instances to the next.
    """

    headroom: Mapping[int, int] = field(default_factory=dict)
    below: float = 30.0
    above: float = 60.0
    moves: int = 2
    least: int = 1
    most: int = 1_000
    out_below: float = 10.0
    in_above: float = 60.0
    settle: float = 10.0

    @property
    def usage(self) -> VirtualUsage:
        """Virtual usage as Llumnix has it."""
        return VirtualUsage(
            headroom=self.headroom, low=self.below, high=self.above, at_once=self.moves
        )

    @property
    def backfill(self) -> Backfill:
        """Virtual usage with the pool's queue."""
        return Backfill(headroom=self.headroom, low=self.below, high=self.above, at_once=self.moves)

    @property
    def scaler(self) -> FreenessScaling:
        """Scaling, the same for all."""
        return FreenessScaling(
            usage=self.usage,
            low=self.out_below,
            high=self.in_above,
            settle=self.settle,
            least=self.least,
            most=self.most,
        )


def _virtual_usage(settings: Settings) -> Policy:
    usage = settings.backfill
    return Policy(
        name="virtual-usage",
        dispatcher=usage,
        rescheduler=usage,
        pauser=Pausing(),
        scaler=settings.scaler,
        overtaking=True,
    )


def _llumnix(settings: Settings) -> Policy:
    usage = settings.usage
    return Policy(name="llumnix", dispatcher=usage, rescheduler=usage, scaler=settings.scaler)


def _past_future(settings: Settings) -> Policy:
    return Policy(
        name="past-future",
        dispatcher=PastFuture(),
        rescheduler=settings.usage,
        scaler=settings.scaler,
    )


def _jitserve(settings: Settings) -> Policy:
    usage, order = settings.backfill, JustInTime()
    return Policy(
        name="jitserve",
        dispatcher=usage,
        order=order,
        rescheduler=usage,
        pauser=order,
        scaler=settings.scaler,
        overtaking=True,
    )


def _hexgen(settings: Settings) -> Policy:
    rule = HexGen()
    return Policy(
        name="hexgen",
        dispatcher=rule,
        order=rule,
        rescheduler=settings.usage,
        scaler=settings.scaler,
    )


def _prefix_aware(settings: Settings) -> Policy:
    return Policy(
        name="prefix-aware",
        dispatcher=PrefixAware(),
        rescheduler=settings.usage,
        scaler=settings.scaler,
        prefixes=True,
    )


def _stay(name: str, dispatcher: Dispatcher) -> Callable[[Settings], Policy]:
    """Return a policy that migrates nothing."""
    return lambda settings: Policy(name=name, dispatcher=dispatcher, scaler=settings.scaler)


POLICIES: Final[Mapping[str, Callable[[Settings], Policy]]] = {
    "virtual-usage": _virtual_usage,
    "llumnix": _llumnix,
    "past-future": _past_future,
    "jitserve": _jitserve,
    "hexgen": _hexgen,
    "prefix-aware": _prefix_aware,
    "load-aware": _stay("load-aware", Least(memory_load, "least memory held or waited for")),
    "least-loaded": _stay("least-loaded", Least(requests_on, "fewest requests")),
    "power-of-two": _stay("power-of-two", PowerOfTwo()),
    "round-robin": _stay("round-robin", RoundRobin()),
}
"""By name. A ServingPool says the same names as PastFuture or RoundRobin."""

DEFAULT: Final = "virtual-usage"


def policy(name: str, settings: Settings | None = None) -> Policy:
    """Return a policy by either way to write its name. Raises KeyError for an unknown one."""
    found = {known.replace("-", ""): known for known in POLICIES}
    known = found[name.replace("-", "").lower()]
    return POLICIES[known](settings or Settings())
