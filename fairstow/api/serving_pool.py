"""ServingPool: which pods are LLM engines of one model, and how requests are spread over them.

Written by the serving engineer; read by the pool's gateway and by the serving controller, which
reports on it.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fairstow.api.fields import (
    BigCount,
    Count,
    DurationText,
    Flag,
    ObjectName,
    Timestamp,
    duration,
)
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.rules import Rule
from fairstow.api.selectors import LabelSelector
from fairstow.api.serving_parts import (
    MOST_ENGINES,
    MOST_MIGRATIONS,
    EngineStatus,
    Migration,
    Steps,
)
from fairstow.api.status import Conditions

MAX_INSTANCES = 1_000
"""Most engines of one pool."""


class SecretKey(Model):
    """One entry of a Secret in the pool's namespace."""

    name: Annotated[ObjectName, Field(description="The Secret's name.")]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[-._a-zA-Z0-9]+$",
            description="The key of its data that holds the value.",
        ),
    ]


class Engines(Model):
    """Which pods serve the model, and how they are spoken to."""

    validations = (
        Rule(
            cel="size(self.selector.matchLabels) + size(self.selector.matchExpressions) > 0",
            message="selector names at least one label: an empty one would take every pod",
            holds=lambda self: bool(self.selector.match_labels or self.selector.match_expressions),
        ),
    )

    selector: Annotated[
        LabelSelector, Field(description="Labels of the engines' pods, in the pool's namespace.")
    ]
    type: Annotated[
        Literal["VLLM", "LlamaCpp", "OpenAI"],
        Field(
            description="VLLM and LlamaCpp hand running requests over with their KV cache, where "
            "the running server proves able to; any OpenAI server by computing it again."
        ),
    ] = "VLLM"
    port: Annotated[
        Count, Field(ge=1, le=65_535, description="The port on which the engines answer HTTP.")
    ] = 8000
    api_key: Annotated[
        SecretKey | None,
        Field(description="The key that the engines ask for. Left out: they ask for none."),
    ] = None


class Rescheduling(Model):
    """When running requests move from one instance to another."""

    validations = (
        Rule(
            # The API server judges the default, an empty object, before it fills in the fields'.
            cel="!has(self.belowSteps) || !has(self.aboveSteps)"
            " || self.belowSteps < self.aboveSteps",
            message="belowSteps is less than aboveSteps",
            holds=lambda self: self.below_steps < self.above_steps,
        ),
    )

    enabled: Annotated[
        Flag,
        Field(description="False: requests move only when their instance is drained or dies."),
    ] = True
    below_steps: Annotated[
        Steps,
        Field(
            description="Requests leave an instance whose freeness, the decode steps that its free "
            "memory lasts, is below this."
        ),
    ] = 30
    above_steps: Annotated[
        Steps, Field(description="They go to instances whose freeness stays above this.")
    ] = 60
    max_moves_per_instance: Annotated[
        Count, Field(ge=1, le=64, description="Most requests that leave one instance at once.")
    ] = 2


class ScaleTarget(Model):
    """The workload whose pods the engines are."""

    kind: Annotated[
        Literal["Deployment", "StatefulSet", "LeaderWorkerSet"],
        Field(description="Deployment, StatefulSet or LeaderWorkerSet."),
    ]
    name: Annotated[ObjectName, Field(description="Its name, in the pool's namespace.")]


class Scaling(Model):
    """How many instances there are."""

    validations = (
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            message="minReplicas is at most maxReplicas",
            holds=lambda self: self.min_replicas <= self.max_replicas,
        ),
        Rule(
            cel="self.outBelowSteps < self.inAboveSteps",
            message="outBelowSteps is less than inAboveSteps",
            holds=lambda self: self.out_below_steps < self.in_above_steps,
        ),
    )

    target_ref: Annotated[ScaleTarget, Field(description="The workload that is scaled.")]
    min_replicas: Annotated[
        Count,
        Field(
            le=MAX_INSTANCES,
            description="Fewest instances. 0: none while nobody asks; the first request waits for "
            "one to start.",
        ),
    ] = 1
    max_replicas: Annotated[Count, Field(ge=1, le=MAX_INSTANCES, description="Most instances.")]
    out_below_steps: Annotated[
        Steps,
        Field(description="An instance is added while the pool's freeness is below this."),
    ] = 10
    in_above_steps: Annotated[
        Steps,
        Field(description="One is drained and removed while the pool's freeness is above this."),
    ] = 60
    in_after: Annotated[
        DurationText,
        duration("inAfter", "0s", "24h"),
        Field(description="How long it must have been above that."),
    ] = "5m"


class ServingPoolSpec(Model):
    """Engines, and how requests are spread, moved and made room for."""

    engines: Annotated[Engines, Field(description="The pods that serve the model.")]
    tenants: Annotated[
        SecretKey | None,
        Field(
            description="Who may use the gateway: a YAML list of tenants with their keys and "
            "limits. Left out: nobody."
        ),
    ] = None
    dispatch: Annotated[
        Literal[
            "VirtualUsage",
            "Llumnix",
            "PastFuture",
            "JITServe",
            "HexGen",
            "PrefixAware",
            "LoadAware",
            "LeastLoaded",
            "PowerOfTwo",
            "RoundRobin",
        ],
        Field(
            description="Which instance a new request goes to, and which running ones move; "
            "docs/benchmarks/serving.md compares them."
        ),
    ] = "VirtualUsage"
    rescheduling: Annotated[
        Rescheduling, Field(description="When running requests move to another instance.")
    ] = Rescheduling()
    scaling: Annotated[
        Scaling | None,
        Field(description="How many instances there are. Left out: Fairstow scales nothing."),
    ] = None
    drain_deadline: Annotated[
        DurationText,
        duration("drainDeadline", "1s", "24h"),
        Field(
            description="How long a drain waits for requests that can't be moved before it lets "
            "the instance go."
        ),
    ] = "10m"


class ServingPoolStatus(Model):
    """The pool as last observed, every few seconds at most."""

    instances: Annotated[Count | None, Field(description="Engine pods.")] = None
    ready: Annotated[
        Count | None, Field(description="Of those, the ones that take new requests.")
    ] = None
    draining: Annotated[
        Count | None, Field(description="Of those, the ones that hand their requests over.")
    ] = None
    gateways: Annotated[Count | None, Field(description="Gateway replicas that answer.")] = None
    running: Annotated[Count | None, Field(description="Requests that run.")] = None
    waiting: Annotated[Count | None, Field(description="Requests that wait for room.")] = None
    spare_instances: Annotated[
        Count | None,
        Field(
            description="Instances that could go now, and the others have memory for all requests. "
            "Left out: an engine doesn't say how much memory it has."
        ),
    ] = None
    freeness_steps: Annotated[
        Steps | None,
        Field(
            description="Decode steps for which the pool's free memory lasts; negative where more "
            "is asked for than there is."
        ),
    ] = None
    desired_replicas: Annotated[
        Count | None, Field(description="Instances that scaling asks for.")
    ] = None
    scaled_at: Annotated[
        Timestamp | None, Field(description="When scaling last asked for another number, RFC 3339.")
    ] = None
    idle_since: Annotated[
        Timestamp | None,
        Field(description="Since when the pool could do with one instance less, RFC 3339."),
    ] = None
    engines: Annotated[
        tuple[EngineStatus, ...],
        Field(max_length=MOST_ENGINES, description="The engines, by their pods' names."),
    ] = ()
    migrations: Annotated[
        tuple[Migration, ...],
        Field(
            max_length=2 * MOST_MIGRATIONS,
            description="The last requests that moved, oldest first, then those under way.",
        ),
    ] = ()
    conditions: Annotated[
        Conditions,
        Field(
            description="Ready: a gateway answers and an instance takes requests. Migrating: "
            "running requests can be handed over. Scaling: the workload is scaled by Fairstow."
        ),
    ] = ()
    observed_generation: Annotated[
        BigCount | None, Field(description="The metadata.generation this status describes.")
    ] = None


class ServingPool(CustomResource):
    """LLM engines of one model behind one gateway."""

    validations = (
        Rule(
            cel="size(self.metadata.name) <= 63",
            message="a pool's name has at most 63 characters, since it is used as a label value",
            holds=lambda self: len(self.metadata.name) <= 63,
        ),
    )
    resource: ClassVar[Resource] = Resource(
        plural="servingpools",
        short_name="spool",
        scope="Namespaced",
        columns=(
            Column(name="Instances", path=".status.instances", type="integer"),
            Column(name="Ready", path=".status.ready", type="integer"),
            Column(name="Draining", path=".status.draining", type="integer"),
            Column(name="Running", path=".status.running", type="integer"),
            Column(name="Waiting", path=".status.waiting", type="integer"),
            Column(name="Freeness", path=".status.freenessSteps", type="integer"),
            Column(name="Desired", path=".status.desiredReplicas", type="integer"),
        ),
    )

    kind: Annotated[Literal["ServingPool"], Field(description="ServingPool.")] = "ServingPool"
    spec: Annotated[
        ServingPoolSpec, Field(description="Which engines, and how requests are spread over them.")
    ]
    status: Annotated[
        ServingPoolStatus | None, Field(description="What is in the pool now; written by Fairstow.")
    ] = None
