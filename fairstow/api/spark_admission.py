"""SparkAdmission: where a queued Spark application stands; the user's object owns it.

Written by the Spark controller alone. What it decides by are the user's objects themselves; but the
room that it keeps for an application's first pods stands here, for the scheduler extender, which
keeps others off it. Read by `kubectl fairstow queue` and `why`, too.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairstow.api.fields import BigCount, Count, Flag, ObjectName, PoolName, Timestamp, Uid
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.plan_parts import Owner, Requests
from fairstow.api.rules import Rule
from fairstow.api.spark_queue import Cores, Subject

Phase = Literal["Waiting", "Admitted", "Running", "Ended"]
MOST_ROOMS = 200
"""Entries of a reservation; one has as many pods as its node takes."""


class SparkAdmissionSpec(Model):
    """Which application, whose, and in which queue. It never changes."""

    validations = (Rule(cel="self == oldSelf", message="an admission's spec never changes"),)

    queue: Annotated[PoolName, Field(description="The SparkQueue.")]
    user: Annotated[Subject, Field(description="Who submitted it, as the API server says.")]
    kind: Annotated[
        Literal["SparkApplication", "Pod"],
        Field(description="What the user made: a SparkApplication, or by spark-submit a pod."),
    ]
    name: Annotated[ObjectName, Field(description="Its name, in this namespace.")]
    uid: Annotated[Uid, Field(description="Its metadata.uid.")]
    template: Annotated[
        str,
        Field(
            max_length=253,
            description="What it is taken for when its work is estimated: applications of one "
            "template and user are expected to be alike.",
        ),
    ]
    lasting: Annotated[Flag, Field(description="Whether it never ends.")] = False


class SparkRoom(Model):
    """Room for pods that are alike, on one node."""

    node: Annotated[ObjectName, Field(description="The node.")]
    owner: Annotated[
        Owner,
        Field(description="Whose pods may take it: Pod/name of a driver, its executors' too."),
    ]
    pods: Annotated[Count, Field(ge=1, description="How many there is room for.")]
    requests: Annotated[Requests, Field(description="What each is expected to ask for.")]


class SparkReservation(Model):
    """Room that is kept for an application's driver and first executors until they have nodes."""

    until: Annotated[Timestamp, Field(description="When it is no longer kept, in any case.")]
    rooms: Annotated[
        tuple[SparkRoom, ...],
        Field(
            max_length=MOST_ROOMS,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
            description="Where. On more nodes than these, nothing is kept.",
        ),
    ]


class SparkAdmissionStatus(Model):
    """Where it stands, as last observed."""

    phase: Annotated[Phase | None, Field(description="How far it is.")] = None
    position: Annotated[
        Count | None, Field(description="Its place among those that wait; 1 is next.")
    ] = None
    first_cores: Annotated[
        Cores | None,
        Field(description="Cores of its driver and first executors, which are let go together."),
    ] = None
    estimate_core_seconds: Annotated[
        BigCount | None, Field(description="The work it is expected to be, in core-seconds.")
    ] = None
    low_core_seconds: Annotated[
        BigCount | None, Field(description="The low end of what is expected.")
    ] = None
    high_core_seconds: Annotated[
        BigCount | None, Field(description="The high end of what is expected.")
    ] = None
    virtual_start: Annotated[
        BigCount | None,
        Field(description="The queue's virtual time when it came, in core-seconds per weight."),
    ] = None
    virtual_finish: Annotated[
        BigCount | None,
        Field(
            description="The virtual time by which it is due; the smallest of the queue is next."
        ),
    ] = None
    starts_after: Annotated[
        Timestamp | None, Field(description="When it starts at the earliest, as expected now.")
    ] = None
    starts_before: Annotated[
        Timestamp | None, Field(description="When it starts at the latest, as expected now.")
    ] = None
    admitted_at: Annotated[Timestamp | None, Field(description="When it was let go.")] = None
    reservation: Annotated[
        SparkReservation | None,
        Field(description="Room that schedulers with Fairstow's extender keep for its first pods."),
    ] = None
    served_core_seconds: Annotated[
        BigCount | None, Field(description="What its pods have used so far, in core-seconds.")
    ] = None
    reason: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=63,
            pattern="^[A-Z][A-Za-z0-9]*$",
            description="Why it stands there, as one PascalCase word.",
        ),
    ] = None
    message: Annotated[
        str | None, Field(max_length=1024, description="The same as a sentence for a person.")
    ] = None


class SparkAdmission(CustomResource):
    """A Spark application's place in its queue."""

    resource: ClassVar[Resource] = Resource(
        plural="sparkadmissions",
        short_name="sparkadm",
        scope="Namespaced",
        columns=(
            Column(name="Queue", path=".spec.queue"),
            Column(name="User", path=".spec.user"),
            Column(name="Application", path=".spec.name"),
            Column(name="Phase", path=".status.phase"),
            Column(name="Position", path=".status.position", type="integer"),
            Column(name="Starts-Before", path=".status.startsBefore"),
            Column(name="Reason", path=".status.reason"),
        ),
    )

    kind: Annotated[Literal["SparkAdmission"], Field(description="SparkAdmission.")] = (
        "SparkAdmission"
    )
    spec: Annotated[SparkAdmissionSpec, Field(description="Which application.")]
    status: Annotated[
        SparkAdmissionStatus | None, Field(description="Where it stands; written by Fairstow.")
    ] = None
