"""SparkQueue: how many cores Spark applications may have together, and who gets which share.

Written by the platform engineer; read by the webhook, which queues applications, and by the Spark
controller, which lets them go and reports.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairstow.api.fields import (
    BigCount,
    Count,
    DurationText,
    Flag,
    Permille,
    PoolName,
    duration,
)
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.rules import Rule
from fairstow.api.status import Conditions

MOST_CORES = 1_000_000
MOST_WEIGHTS = 1_000
MOST_USERS_SHOWN = 50

Cores = Annotated[Count, Field(le=MOST_CORES)]
Weight = Annotated[Count, Field(ge=1, le=10_000)]
Subject = Annotated[str, Field(min_length=1, max_length=253)]

_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class Share(Model):
    """The weight of a user, or of each member of a group."""

    name: Annotated[
        Subject, Field(description="The user or group, as the API server authenticates them.")
    ]
    weight: Annotated[
        Weight, Field(description="Twice the weight is served twice as fast while both wait.")
    ]


class SparkQueueSpec(Model):
    """How many cores the queue has, and how they are shared."""

    validations = (
        Rule(
            cel="self.reservedCores <= self.cores",
            message="reservedCores is at most cores: it is a part of them",
            holds=lambda self: self.reserved_cores <= self.cores,
        ),
    )

    cores: Annotated[
        Cores,
        Field(
            ge=1, description="Cores that the queue's applications may have together, drivers too."
        ),
    ]
    default_weight: Annotated[
        Weight, Field(description="The weight of a user that nothing else gives one.")
    ] = 1
    users: Annotated[
        tuple[Share, ...],
        Field(
            max_length=MOST_WEIGHTS,
            json_schema_extra=_BY_NAME,
            description="Weights of users. They can be changed at any time.",
        ),
    ] = ()
    groups: Annotated[
        tuple[Share, ...],
        Field(
            max_length=MOST_WEIGHTS,
            json_schema_extra=_BY_NAME,
            description="Weights of each member of a group, where users has none for them: the "
            "largest counts.",
        ),
    ] = ()
    max_cores_per_application: Annotated[
        Cores | None,
        Field(
            ge=1,
            description="Most cores of one application; maxExecutors of dynamic allocation is "
            "lowered to it. Left out: all of the queue's.",
        ),
    ] = None
    max_cores_per_user: Annotated[
        Cores | None,
        Field(ge=1, description="Most cores of one user at once. Left out: all of the queue's."),
    ] = None
    reserved_cores: Annotated[
        Cores,
        Field(
            description="Cores that applications which never end (annotation fairstow.dev/lasting, "
            "such as streams, Connect servers, notebooks) may hold together. 0: none is admitted."
        ),
    ] = 0
    cohort: Annotated[
        PoolName | None,
        Field(description="Queues of one cohort lend each other the cores that they don't use."),
    ] = None
    borrowed_cores: Annotated[
        Cores, Field(description="Most cores that this queue borrows from its cohort.")
    ] = 0
    hold: Annotated[Flag, Field(description="True: nothing more is admitted.")] = False
    bind_timeout: Annotated[
        DurationText,
        duration("bindTimeout", "10s", "1h"),
        Field(
            description="How long room is kept for the driver and the first executors of an "
            "admitted application until their pods have nodes."
        ),
    ] = "2m"
    max_wait: Annotated[
        DurationText,
        duration("maxWait", "1m", "8760h"),
        Field(
            description="The longest that an application is kept waiting: after that it is let go, "
            "whatever the queue says. What somebody holds, and what exceeds a limit, isn't."
        ),
    ] = "168h"


class UserShare(Model):
    """A user's part of the queue now."""

    name: Annotated[Subject, Field(description="The user.")]
    weight: Annotated[Weight, Field(description="Their weight.")]
    waiting: Annotated[Count, Field(description="Their applications that wait.")]
    running: Annotated[Count, Field(description="Their applications that have cores.")]
    cores: Annotated[Count, Field(description="Cores that they have.")]
    share_permille: Annotated[
        Permille, Field(description="Their part of the cores in use, in thousandths.")
    ]
    entitled_permille: Annotated[
        Permille,
        Field(description="The part that their weight gives them while those here want cores."),
    ]


class SparkQueueStatus(Model):
    """The queue as last observed, every few seconds at most."""

    waiting: Annotated[Count | None, Field(description="Applications that wait.")] = None
    running: Annotated[Count | None, Field(description="Applications that have cores.")] = None
    cores_used: Annotated[
        Count | None, Field(description="Cores that they have, and that are kept for their pods.")
    ] = None
    cores_reserved: Annotated[
        Count | None, Field(description="Of those, the ones of applications that never end.")
    ] = None
    cores_borrowed: Annotated[
        Count | None, Field(description="Of those, the ones that others of the cohort lend.")
    ] = None
    missed: Annotated[
        Count | None,
        Field(
            description="Running applications that never were queued, since the webhook didn't "
            "see them: they are counted and charged."
        ),
    ] = None
    holds_executors: Annotated[
        Flag | None,
        Field(
            description="Whether new executors wait, since no cores are left or an application "
            "waits for them."
        ),
    ] = None
    executors_held: Annotated[Count | None, Field(description="Executors that wait so.")] = None
    users: Annotated[
        tuple[UserShare, ...],
        Field(
            max_length=MOST_USERS_SHOWN,
            description="Users with applications here, those with the most cores first.",
        ),
    ] = ()
    conditions: Annotated[
        Conditions,
        Field(description="Admitting: applications are let go as cores become free."),
    ] = ()
    observed_generation: Annotated[
        BigCount | None, Field(description="The metadata.generation this status describes.")
    ] = None


class SparkQueue(CustomResource):
    """Cores for Spark applications, shared fairly among users."""

    validations = (
        Rule(
            cel="size(self.metadata.name) <= 63",
            message="a queue's name has at most 63 characters, since it is used as a label value",
            holds=lambda self: len(self.metadata.name) <= 63,
        ),
    )
    resource: ClassVar[Resource] = Resource(
        plural="sparkqueues",
        short_name="sparkq",
        scope="Cluster",
        columns=(
            Column(name="Cores", path=".spec.cores", type="integer"),
            Column(name="Used", path=".status.coresUsed", type="integer"),
            Column(name="Waiting", path=".status.waiting", type="integer"),
            Column(name="Running", path=".status.running", type="integer"),
            Column(name="Missed", path=".status.missed", type="integer"),
            Column(name="Admitting", path=".status.conditions[?(@.type=='Admitting')].reason"),
        ),
    )

    kind: Annotated[Literal["SparkQueue"], Field(description="SparkQueue.")] = "SparkQueue"
    spec: Annotated[SparkQueueSpec, Field(description="How many cores, and who gets which share.")]
    status: Annotated[
        SparkQueueStatus | None,
        Field(description="Who waits and who has cores; written by Fairstow."),
    ] = None
