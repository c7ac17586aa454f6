"""What serving policies see of a pool, and what they answer.

Called by `policies`, by the gateway that keeps these views up to date as tokens pass, and by the
simulator. Views are mutable, so that a dispatch costs O(instances) whatever runs on them; a policy
only reads them. Lengths and sizes are in tokens of KV, times in seconds of the caller's clock,
priorities smaller first.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Where a request is on its instance."""

    QUEUED = "queued"
    PREFILL = "prefill"
    DECODE = "decode"


class State(StrEnum):
    """What an instance is there for."""

    READY = "ready"
    DRAINING = "draining"  # takes nothing and gives all away
    CORDONED = "cordoned"  # takes nothing and keeps what it has


class Kind(StrEnum):
    """What a request's user waits for (JITServe)."""

    LATENCY = "latency"  # tokens at a steady pace
    DEADLINE = "deadline"  # the last token by a time
    COMPOUND = "compound"  # the last of several requests by a time


@dataclass(slots=True)
class RequestView:
    """One request.

    Attributes:
        prompt: tokens the client sent.
        generated: tokens it has got.
        limit: most tokens it may generate.
        deadline: when its last token is due; infinity if it isn't.
        pace: longest time between tokens that it bears, of the latency kind.
        left: tokens that it is expected to generate yet; None where nobody knows.
        movable: whether it can be taken to another instance.
        moving: whether that is under way.
        pauses: how often it was paused.
        resumed: when it last got a place.
        keys: of the prompt's blocks, as a prefix cache knows them.
    """

    id: str
    prompt: int
    limit: int
    arrived: float
    priority: int = 0
    phase: Phase = Phase.QUEUED
    generated: int = 0
    tenant: str = ""
    compatibility: str = ""
    kind: Kind = Kind.LATENCY
    deadline: float = float("inf")
    pace: float = float("inf")
    left: float | None = None
    movable: bool = True
    moving: bool = False
    pauses: int = 0
    resumed: float = float("-inf")
    keys: Sequence[Hashable] = ()

    @property
    def length(self) -> int:
        """Tokens whose KV it needs to go on."""
        return self.prompt + self.generated


def _nothing_cached(_request: RequestView) -> int:
    return 0


@dataclass(slots=True)
class InstanceView:
    """One engine and what is known to be on it.

    Attributes:
        compatibility: a request goes on only on instances of the class it began on.
        capacity: tokens of KV that fit.
        block: tokens that a block holds; sizes are rounded up to blocks.
        used: tokens of KV that are held, by requests and by copies on their way here.
        batch: requests that run or are prefilled.
        queued: requests that wait on it.
        head: what the next of these needs, in tokens.
        demand: what all of these need.
        priorities: of the requests on it, each once.
        speed: of its GPU, relative to the pool's slowest.
        leaving: requests on their way to other instances.
        arriving: requests on their way here.
        requests: what is on it; asked only where a policy needs it.
        cached: how many tokens of a request's prompt are in its prefix cache.
    """

    name: str
    capacity: int
    requests: Callable[[], Iterable[RequestView]]
    block: int = 16
    compatibility: str = ""
    state: State = State.READY
    used: int = 0
    batch: int = 0
    queued: int = 0
    head: int = 0
    demand: int = 0
    priorities: Collection[int] = ()
    speed: float = 1.0
    leaving: int = 0
    arriving: int = 0
    cached: Callable[[RequestView], int] = _nothing_cached

    def size(self, tokens: int) -> int:
        """Return what so many tokens take here."""
        return -(-tokens // self.block) * self.block

    def takes(self, request: RequestView) -> bool:
        """Whether it may be given this request at all, now or once there is room."""
        return (
            self.state is State.READY
            and (not request.compatibility or request.compatibility == self.compatibility)
            and self.size(request.length + 1) <= self.capacity
        )


@dataclass(slots=True)
class PoolView:
    """All instances of a pool at one time.

    Attributes:
        turn: requests dispatched so far.
        waiting: requests in the pool's queue that are before the one asked about, in their order;
            all of them where none is.
        outputs: tokens that the last requests to end had generated.
        starting: instances on their way.
        scaled: when the number of instances last changed or was last asked to.
    """

    instances: Sequence[InstanceView]
    now: float = 0.0
    turn: int = 0
    waiting: Sequence[RequestView] = field(default_factory=tuple)
    outputs: Sequence[int] = field(default_factory=tuple)
    starting: int = 0
    scaled: float = float("-inf")


class Dispatch(msgspec.Struct, frozen=True):
    """Where a request goes; nowhere yet, if no instance is named."""

    instance: str | None
    reason: str


class Migration(msgspec.Struct, frozen=True):
    """A request that should go on elsewhere."""

    request: str
    source: str
    destination: str
    reason: str


class Pause(msgspec.Struct, frozen=True):
    """A request that should give up its place and wait."""

    request: str
    instance: str
    reason: str


class Scale(msgspec.Struct, frozen=True):
    """How many instances there should be, those on their way included.

    Attributes:
        victim: which one goes where that is one less; None: one that is on its way.
    """

    desired: int
    victim: str | None
    reason: str
