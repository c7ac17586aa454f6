"""What gateways and the serving controller tell each other over the gateways' admin port.

Several gateways serve one pool, each owns the requests of its own clients. The controller reads
every ledger, decides for the pool as a whole and proposes; a gateway moves only its own requests
and may decline. On a cluster, which instances drain is read by gateways from InstanceDrains
themselves, so that a drain needs no controller; the ledger says how far each one is.

    GET  /ledger           -> Ledger
    GET  /loads            -> Loads       what gateways of one pool tell each other
    POST /moves  Moves     -> Taken       proposals; each is taken or declined with a reason
    PUT  /drains Drains    -> Ledger      the instances that drain, all of them; local use only
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Where a request is."""

    PARKED = "Parked"  # in the gateway: no instance has room
    QUEUED = "Queued"  # on an instance, without a token so far
    RUNNING = "Running"


class State(StrEnum):
    """What a gateway does with an instance."""

    STARTING = "Starting"  # it doesn't answer yet, or its facts aren't known
    SERVING = "Serving"
    DRAINING = "Draining"  # no new requests, those there move away
    LOST = "Lost"  # it stopped to answer


class RequestEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request of a gateway.

    Attributes:
        instance: where it runs, "" while parked.
        prompt, generated: its ids so far.
        limit: most ids it may still generate.
        arrived: seconds ago.
        pinned: why it can't be moved, "" if it can.
        moving: where to, "" if it isn't being moved.
    """

    id: str
    tenant: str
    instance: str
    phase: Phase
    prompt: int
    generated: int
    limit: int
    priority: int
    arrived: float
    pinned: str = ""
    moving: str = ""


class InstanceEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One instance as a gateway sees it.

    Attributes:
        name: the pod's uid on a cluster, else the engine's name.
        kv_tokens: its KV cache's size, 0 where unknown; block: tokens a block holds.
        movement: how requests leave it, as `engines.protocol.Movement` says; "" until tried.
        moved, recomputed: requests of this gateway that left it, with its memory copied or not.
        problem: what is wrong with it, "" if nothing.
    """

    name: str
    url: str
    state: State
    compatibility: str = ""
    kv_tokens: int = 0
    block: int = 0
    movement: str = ""
    moved: int = 0
    recomputed: int = 0
    problem: str = ""


class Outcome(StrEnum):
    """What came of a move."""

    COPIED = "Copied"
    RECOMPUTED = "Recomputed"
    STAYED = "Stayed"


class Hop(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request that moved from an instance to another, or was to.

    Attributes:
        reason: why, or what kept it.
        tokens: that it had, with its prompt's.
        at: seconds since 1970.
        pause: seconds for which its client heard nothing; None where it had heard nothing yet.
    """

    request: str
    source: str
    destination: str
    outcome: Outcome
    reason: str
    tokens: int
    at: float
    pause: float | None = None


class Ledger(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that one gateway knows.

    Attributes:
        gateway: its name.
        asking: requests of which nothing is known yet: they wait for an engine to tell their ids.
        hops: the last ones of its requests, oldest first.
    """

    gateway: str
    pool: str
    instances: Sequence[InstanceEntry]
    requests: Sequence[RequestEntry]
    asking: int = 0
    hops: Sequence[Hop] = ()


class Load(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one gateway has on an instance.

    Attributes:
        used: tokens of KV that are held, by requests and by copies on their way there.
        running, waiting: requests; demand: what those that wait need, in tokens.
    """

    name: str
    used: int = 0
    running: int = 0
    waiting: int = 0
    demand: int = 0


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tenant with limits does at one gateway.

    Attributes:
        tenant: what only the pool's gateways know it by.
        running: its requests now.
        requests, tokens: used since the gateway began to count.
        requests_left, tokens_left: the part of its limits that it may use at once.
    """

    tenant: str
    running: int = 0
    requests: int = 0
    tokens: int = 0
    requests_left: float = 1.0
    tokens_left: float = 1.0


class Loads(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one gateway has on each instance, and of each tenant. Attributes: gateway: its name."""

    gateway: str
    instances: Sequence[Load]
    tenants: Sequence[Usage] = ()


class Move(msgspec.Struct, frozen=True):
    """A proposal: let this request go on elsewhere. Attributes: reason: a word of api.Reason."""

    request: str
    source: str
    destination: str
    reason: str


class Moves(msgspec.Struct, frozen=True):
    """Proposals to one gateway.

    Attributes:
        leads: who sends them decides for the pool: for some seconds the gateway proposes nothing
            to itself.
    """

    moves: Sequence[Move]
    leads: bool = False


class Taken(msgspec.Struct, frozen=True):
    """The answer. Attributes: declined: why, by request."""

    taken: Sequence[str]
    declined: dict[str, str]


class Drains(msgspec.Struct, frozen=True):
    """The names of the instances that drain; all others serve."""

    instances: Sequence[str]


def audience(namespace: str, pool: str) -> str:
    """Return whom the tokens are for that a pool's gateways accept."""
    return f"gateway.fairstow.dev/{namespace}/{pool}"
