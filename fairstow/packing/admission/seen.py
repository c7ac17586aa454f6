"""What reviews look at in plans and policies, typed: the rest may be of a version to come.

Read by `approvals` and `advice`. The API server shows objects that keep the CRD's rules; whoever
else calls the webhook is told what is wrong.
"""

from typing import TypeVar

import msgspec

from fairstow.cluster.review import Json, read_part

T = TypeVar("T", bound=msgspec.Struct)


class Decision(msgspec.Struct, frozen=True):
    """An approval or abort."""

    decision: str | None = None
    by: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """A placement, move or eviction: its nodes."""

    node: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that it names."""
        return tuple(name for name in (self.node, self.from_, self.to) if name)


class PlanSpec(msgspec.Struct, frozen=True):
    """Of a PackingPlan."""

    policy: str | None = None
    approval: Decision | None = None
    abort: Decision | None = None
    placements: tuple[Entry, ...] | None = None
    moves: tuple[Entry, ...] | None = None
    evictions: tuple[Entry, ...] | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of it."""
        return (*(self.placements or ()), *(self.moves or ()), *(self.evictions or ()))


class Condition(msgspec.Struct, frozen=True):
    """One of a status."""

    type: str | None = None
    status: str | None = None
    reason: str | None = None


class PlanStatus(msgspec.Struct, frozen=True):
    """Of a PackingPlan."""

    conditions: tuple[Condition, ...] | None = None


class Window(msgspec.Struct, frozen=True, rename="camel"):
    """A maintenance window."""

    start: str
    time_zone: str | None = None


class Triggers(msgspec.Struct, frozen=True):
    """When a policy acts."""

    schedule: str | None = None


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """How far a policy goes."""

    max_moves_per_hour: int | None = None
    max_moves_per_plan: int | None = None
    max_evictions_per_plan: int | None = None


class PolicySpec(msgspec.Struct, frozen=True, rename="camel"):
    """Of a PackingPolicy."""

    mode: str | None = None
    triggers: Triggers | None = None
    maintenance_windows: tuple[Window, ...] | None = None
    limits: Limits | None = None


def spec(obj: Json | None, of: type[T]) -> T:
    """Return an object's spec, an empty one where there is none.

    Raises:
        MalformedError: it isn't what it should be.
    """
    return read_part(obj, "spec", of)


def status(obj: Json | None) -> PlanStatus:
    """Return a plan's status. Raises as `spec`."""
    return read_part(obj, "status", PlanStatus)
