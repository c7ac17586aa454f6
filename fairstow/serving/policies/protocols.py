"""What a serving policy is made of; the modules beside this one are policies.

Called by the gateway, the serving controller and the simulator, which ask the same questions of the
same policies. Each answer is a function of the request and the pool as they are; a policy keeps
nothing between two questions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fairstow.serving.model import Dispatch, Migration, Pause, PoolView, RequestView, Scale

Key = Callable[[RequestView], tuple[float, ...]]
"""What requests that wait are sorted by, the least first."""


class Dispatcher(Protocol):
    """Chooses an instance for a request, or lets it wait in the pool's queue."""

    def dispatch(self, request: RequestView, pool: PoolView) -> Dispatch:
        """Answer at arrival, and again whenever room may have come up."""
        ...


class Order(Protocol):
    """Orders the pool's queue."""

    def key(self, pool: PoolView) -> Key:
        """Return the key as it is now: for one sort, of many requests."""
        ...


class Rescheduler(Protocol):
    """Proposes migrations, asked periodically."""

    def migrations(self, pool: PoolView) -> Sequence[Migration]:
        """Propose migrations that begin now; those under way are in the views."""
        ...


class Pauser(Protocol):
    """Proposes who gives up its place while others wait, asked with the rescheduler."""

    def pauses(self, waiting: Sequence[RequestView], pool: PoolView) -> Sequence[Pause]:
        """Propose pauses; `waiting` is the pool's queue in its order."""
        ...


class Scaler(Protocol):
    """Says how many instances a pool should have."""

    def scale(self, pool: PoolView) -> Scale | None:
        """Answer None where the pool is right as it is."""
        ...


class FirstCome:
    """Urgent before less urgent, then in order of arrival."""

    def key(self, pool: PoolView) -> Key:
        """Return priority and arrival."""
        del pool
        return lambda request: (request.priority, request.arrived)


_FIRST_COME = FirstCome()


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One choice for a pool. Parts that are None are not done.

    Attributes:
        overtaking: whether the dispatcher keeps room for who waits, so that those behind may be
            offered to it, too; else nobody passes the first that waits.
        prefixes: whether it asks what prefixes instances have cached.
    """

    name: str
    dispatcher: Dispatcher
    order: Order = _FIRST_COME
    rescheduler: Rescheduler | None = None
    pauser: Pauser | None = None
    scaler: Scaler | None = None
    overtaking: bool = False
    prefixes: bool = False
