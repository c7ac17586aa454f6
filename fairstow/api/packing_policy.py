"""PackingPolicy: when a pool is packed, how much that may disturb, and who decides.

Written by the platform engineer; read and reported on by the packing controller.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairstow.api.fields import (
    BigCount,
    Count,
    DurationText,
    Flag,
    ObjectName,
    PoolName,
    Schedule,
    Timestamp,
    TimeZone,
    duration,
)
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.packing_plan import Order
from fairstow.api.plan_parts import PLAN_MAX_ENTRIES
from fairstow.api.rules import Rule
from fairstow.api.status import Conditions

RUN_REQUESTED_AT = "fairstow.dev/run-requested-at"
"""Annotation of a policy: the moment, RFC 3339, at which somebody asked that it run."""


class PoolReference(Model):
    """A GpuPool by name."""

    name: Annotated[PoolName, Field(description="The name of the GpuPool.")]


class Triggers(Model):
    """What makes the controller look for a better placement."""

    unschedulable_for: Annotated[
        DurationText,
        duration("unschedulableFor", "0s", "24h"),
        Field(description="How long a pod must have been unschedulable before it counts."),
    ] = "60s"
    schedule: Annotated[
        Schedule | None,
        Field(
            description="Also look at these times, whether or not pods are pending: five cron "
            "fields in UTC, such as 0 2 * * *."
        ),
    ] = None


class Limits(Model):
    """How much a plan, and all plans of an hour, may disturb."""

    validations = (
        Rule(
            cel="!has(self.maxMovesPerHour) || !has(self.maxMovesPerNamespacePerHour)"
            " || self.maxMovesPerNamespacePerHour <= self.maxMovesPerHour",
            message="maxMovesPerNamespacePerHour is at most maxMovesPerHour",
            holds=lambda self: (
                self.max_moves_per_hour is None
                or self.max_moves_per_namespace_per_hour is None
                or self.max_moves_per_namespace_per_hour <= self.max_moves_per_hour
            ),
        ),
    )

    max_moves_per_plan: Annotated[
        Count,
        Field(
            le=PLAN_MAX_ENTRIES,
            description="Most pods that one plan may evict and recreate on another node.",
        ),
    ] = 20
    max_evictions_per_plan: Annotated[
        Count,
        Field(
            le=PLAN_MAX_ENTRIES,
            description="Most pods that one plan may evict for good, for pods of higher priority.",
        ),
    ] = 0
    step_timeout: Annotated[
        DurationText,
        duration("stepTimeout", "1s", "24h"),
        Field(
            description="How long one step of a plan may take, its pods' grace periods included."
        ),
    ] = "10m"
    max_moves_per_hour: Annotated[
        Count | None,
        Field(
            description="Most moves and evictions of this policy in any 60 minutes. Left out: no "
            "such limit; required in mode Auto."
        ),
    ] = None
    max_moves_per_namespace_per_hour: Annotated[
        Count | None,
        Field(
            description="Most moves and evictions in any 60 minutes that one namespace suffers, "
            "and most that are made for one namespace's pending pods. Left out: no such limit."
        ),
    ] = None


class MaintenanceWindow(Model):
    """A recurring time in which plans may be carried out."""

    start: Annotated[
        Schedule,
        Field(description="When the window opens: five cron fields, such as 0 22 * * MON-FRI."),
    ]
    duration: Annotated[
        DurationText,
        duration("duration", "1m", "168h"),
        Field(description="How long the window stays open, such as 6h."),
    ]
    time_zone: Annotated[
        TimeZone, Field(description="The IANA time zone of start, such as Europe/Berlin.")
    ] = "UTC"


class PackingPolicySpec(Model):
    """When to pack a pool, within which limits, and whether to act."""

    validations = (
        Rule(
            cel="self.mode != 'Auto' || has(self.limits.maxMovesPerHour)",
            message="mode Auto needs limits.maxMovesPerHour: say how much may be moved unasked",
            holds=lambda self: self.mode != "Auto" or self.limits.max_moves_per_hour is not None,
        ),
    )

    pool_ref: Annotated[PoolReference, Field(description="The pool that is packed.")]
    mode: Annotated[
        Literal["Observe", "Recommend", "Auto"],
        Field(
            description="Observe: explain and measure only. Recommend: make plans that wait for "
            "approval. Auto: carry plans out unasked."
        ),
    ] = "Observe"
    suspend: Annotated[
        Flag,
        Field(description="Make no new plan and stop a running one after its current step."),
    ] = False
    triggers: Annotated[
        Triggers, Field(description="What makes the controller look for a better placement.")
    ] = Triggers()
    window: Annotated[
        DurationText,
        duration("window", "100ms", "5m"),
        Field(description="Time for one decision, from snapshot to plan."),
    ] = "10s"
    order: Annotated[
        Order,
        Field(
            description="PlaceFirst: place the most pods of every priority, then disturb least. "
            "TierByTier: settle placement and disturbance of each priority before the next."
        ),
    ] = "PlaceFirst"
    limits: Annotated[Limits, Field(description="How much plans may disturb.")] = Limits()
    minimum_gain_permille: Annotated[
        Count,
        Field(
            le=1_000_000,
            description="Least gain of a plan: pods placed per 1,000 moves and evictions. 100 "
            "accepts ten moves for one pod placed; 0 accepts any gain.",
        ),
    ] = 100
    cool_down: Annotated[
        DurationText,
        duration("coolDown", "0s", "168h"),
        Field(description="How long a workload is left alone after one of its pods was moved."),
    ] = "15m"
    minimum_age: Annotated[
        DurationText,
        duration("minimumAge", "0s", "168h"),
        Field(
            description="How long a pod must have run before it may be moved or evicted. By "
            "default there is no such time: a young pod loses the least."
        ),
    ] = "0s"
    maintenance_windows: Annotated[
        tuple[MaintenanceWindow, ...],
        Field(max_length=20, description="When plans may be carried out. Empty: at any time."),
    ] = ()


class LastRun(Model):
    """The last time the controller looked for a better placement."""

    time: Annotated[Timestamp, Field(description="When it decided, RFC 3339.")]
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern="^[A-Z][A-Za-z0-9]*$",
            description="What came of it, as one PascalCase word such as PlanCreated.",
        ),
    ]
    message: Annotated[
        str, Field(max_length=1024, description="What came of it, as a sentence.")
    ] = ""


class PackingPolicyStatus(Model):
    """What the controller last did under this policy."""

    last_run: Annotated[
        LastRun | None, Field(description="The last time a better placement was looked for.")
    ] = None
    last_plan: Annotated[
        ObjectName | None, Field(description="The PackingPlan this policy made last.")
    ] = None
    last_handled_request: Annotated[
        str | None,
        Field(
            max_length=64,
            description="The annotation fairstow.dev/run-requested-at as it was when it was last "
            "acted on.",
        ),
    ] = None
    conditions: Annotated[
        Conditions,
        Field(
            description="Ready: the pool exists and no other policy packs it. PolicyOverlap: an "
            "older policy packs some of the pool's nodes, so this one does nothing. Held: no plan "
            "is looked for now, as another is unfinished, plans failed, or limits are used up. "
            "ReservationNotEnforced: something may land on the pool without passing Fairstow's "
            "filter, so Auto stops at Recommend."
        ),
    ] = ()
    observed_generation: Annotated[
        BigCount | None, Field(description="The metadata.generation this status describes.")
    ] = None


class PackingPolicy(CustomResource):
    """When and how far Fairstow may rearrange the pods of one pool."""

    validations = (
        Rule(
            cel="size(self.metadata.name) <= 63",
            message="a policy's name has at most 63 characters, since it is used as a label value",
            holds=lambda self: len(self.metadata.name) <= 63,
        ),
    )
    resource: ClassVar[Resource] = Resource(
        plural="packingpolicies",
        short_name="ppol",
        scope="Cluster",
        columns=(
            Column(name="Pool", path=".spec.poolRef.name"),
            Column(name="Mode", path=".spec.mode"),
            Column(name="Suspended", path=".spec.suspend", type="boolean"),
            Column(name="Last-Run", path=".status.lastRun.reason"),
            Column(name="Last-Plan", path=".status.lastPlan"),
        ),
    )

    kind: Annotated[Literal["PackingPolicy"], Field(description="PackingPolicy.")] = "PackingPolicy"
    spec: Annotated[
        PackingPolicySpec, Field(description="When to pack, within which limits, and who decides.")
    ]
    status: Annotated[
        PackingPolicyStatus | None, Field(description="What was last done; written by Fairstow.")
    ] = None
