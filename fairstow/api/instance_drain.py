"""InstanceDrain: one engine hands its requests over and is let go.

Made by `kubectl fairstow drain`, by the serving controller, by the webhook that sees evictions and
for packing plans that move engines; carried out by the pool's gateways, reported on by the serving
controller.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairstow.api.fields import BigCount, Count, DurationText, ObjectName, Timestamp, Uid, duration
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.rules import Rule
from fairstow.api.status import Conditions

Cause = Literal["User", "Cordon", "Eviction", "Scaling", "Packing"]


class InstanceDrainSpec(Model):
    """Which instance, and for how long its requests are waited for. It never changes."""

    validations = (
        Rule(cel="self == oldSelf", message="a drain can't be changed: delete it, make a new one"),
    )

    pool: Annotated[
        ObjectName, Field(max_length=63, description="The ServingPool, in the same namespace.")
    ]
    pod_name: Annotated[ObjectName, Field(description="The engine's pod.")]
    pod_uid: Annotated[
        Uid,
        Field(description="Its metadata.uid: a pod made anew under the same name isn't drained."),
    ]
    cause: Annotated[
        Cause,
        Field(
            description="Who asked: a person, a cordoned node, an eviction, the pool's scaling or "
            "a packing plan."
        ),
    ] = "User"
    from_replicas: Annotated[
        Count | None,
        Field(
            description="Of scaling: how many instances the workload was to have; it is one less "
            "once this one is drained."
        ),
    ] = None
    deadline: Annotated[
        DurationText | None,
        duration("deadline", "1s", "24h"),
        Field(
            description="How long requests that can't be moved are waited for. Left out: the "
            "pool's drainDeadline."
        ),
    ] = None


class InstanceDrainStatus(Model):
    """How far it is."""

    started_at: Annotated[
        Timestamp | None, Field(description="When the first gateway was told, RFC 3339.")
    ] = None
    remaining: Annotated[
        Count | None, Field(description="Requests that are on the instance still.")
    ] = None
    pinned: Annotated[
        Count | None, Field(description="Of those, the ones that can't be moved and have to end.")
    ] = None
    moved: Annotated[
        Count | None, Field(description="Requests that went on elsewhere, their memory copied.")
    ] = None
    recomputed: Annotated[
        Count | None, Field(description="Requests that went on elsewhere and were computed anew.")
    ] = None
    conditions: Annotated[
        Conditions,
        Field(
            description="Drained: no request is on the instance, or the deadline is over; it may "
            "go. False: it isn't yet."
        ),
    ] = ()
    observed_generation: Annotated[
        BigCount | None, Field(description="The metadata.generation this status describes.")
    ] = None


class InstanceDrain(CustomResource):
    """The evacuation of one LLM engine."""

    resource: ClassVar[Resource] = Resource(
        plural="instancedrains",
        short_name="idrain",
        scope="Namespaced",
        columns=(
            Column(name="Pool", path=".spec.pool"),
            Column(name="Pod", path=".spec.podName"),
            Column(name="Cause", path=".spec.cause"),
            Column(name="Remaining", path=".status.remaining", type="integer"),
            Column(name="Pinned", path=".status.pinned", type="integer"),
            Column(name="Moved", path=".status.moved", type="integer"),
            Column(name="Drained", path=".status.conditions[?(@.type=='Drained')].status"),
        ),
    )

    kind: Annotated[Literal["InstanceDrain"], Field(description="InstanceDrain.")] = "InstanceDrain"
    spec: Annotated[InstanceDrainSpec, Field(description="Which instance is evacuated.")]
    status: Annotated[
        InstanceDrainStatus | None, Field(description="How far it is; written by Fairstow.")
    ] = None
