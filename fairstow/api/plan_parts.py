"""What a PackingPlan is made of: who goes where in which steps, what was proved, how far it is.

The plan itself, with its rules over all of these, is `packing_plan`.
"""

import re
from typing import Annotated, Literal

from pydantic import Field

from fairstow.api.fields import BigCount, Count, Namespace, ObjectName, Timestamp, Uid
from fairstow.api.model import Model
from fairstow.api.rules import Rule
from fairstow.api.status import Conditions

PLAN_MAX_ENTRIES = 2_000
"""Most entries in any list of a plan."""

PodNamespace = Annotated[Namespace, Field(description="The pod's namespace.")]
PodName = Annotated[ObjectName, Field(description="The pod's name.")]
PodUid = Annotated[Uid, Field(description="The pod's metadata.uid.")]
FromNode = Annotated[ObjectName, Field(description="The node the pod runs on now.")]
ToNode = Annotated[ObjectName, Field(description="The node the pod gets.")]
OWNER_TEXT = re.compile("^([A-Z][A-Za-z0-9]{0,62}/[a-z0-9][-.a-z0-9]{0,252})?$")
"""How a plan names an owner."""

Owner = Annotated[
    str,
    Field(
        max_length=317,
        pattern=OWNER_TEXT.pattern,
        description="The controller that recreates the pod, as Kind/name; empty for a bare pod.",
    ),
]


class Tier(Model):
    """The outcome for all considered pods of one priority."""

    validations = (
        Rule(
            cel="self.gapPods == self.bound - self.placedAfter",
            message="gapPods is bound minus placedAfter",
            holds=lambda self: self.gap_pods == self.bound - self.placed_after,
        ),
        Rule(
            cel="(self.proof == 'Optimal') == (self.gapPods == 0)",
            message="proof is Optimal exactly when gapPods is 0",
            holds=lambda self: (self.proof == "Optimal") == (self.gap_pods == 0),
        ),
    )

    priority: Annotated[
        int,
        Field(
            strict=True,
            ge=-(2**31),
            le=2**31 - 1,
            json_schema_extra={"format": "int32"},
            description="The pods' priority, as in their spec.",
        ),
    ]
    placed_before: Annotated[Count, Field(description="Pods that have a node before the plan.")]
    placed_after: Annotated[Count, Field(description="Pods that have a node after the plan.")]
    pending: Annotated[Count, Field(description="Pods still pending after the plan.")]
    bound: Annotated[
        Count, Field(description="Proved: no plan places more pods than this under these rules.")
    ]
    proof: Annotated[
        Literal["Optimal", "Gap"],
        Field(description="Optimal: placedAfter meets the bound. Gap: more may be possible."),
    ]
    gap_pods: Annotated[Count, Field(description="How far placedAfter is below the bound.")]


class BlockCount(Model):
    """Free blocks of one size: so many devices of an accelerator free on one node."""

    validations = (
        Rule(
            cel="self.gapBlocks == self.bound - self.after",
            message="gapBlocks is bound minus after",
            holds=lambda self: self.gap_blocks == self.bound - self.after,
        ),
        Rule(
            cel="(self.proof == 'Optimal') == (self.gapBlocks == 0)",
            message="proof is Optimal exactly when gapBlocks is 0",
            holds=lambda self: (self.proof == "Optimal") == (self.gap_blocks == 0),
        ),
    )

    resource: Annotated[
        str,
        Field(
            min_length=1,
            max_length=317,
            description="The accelerator resource, such as nvidia.com/gpu.",
        ),
    ]
    size: Annotated[
        int,
        Field(
            strict=True,
            ge=1,
            le=2**31 - 1,
            json_schema_extra={"format": "int32"},
            description="Devices of a block.",
        ),
    ]
    before: Annotated[Count, Field(description="Free blocks before the plan, over all nodes.")]
    after: Annotated[Count, Field(description="Free blocks after the plan, over all nodes.")]
    bound: Annotated[
        Count,
        Field(
            description="Proved: no plan under these rules and limits frees more, given what the "
            "larger sizes got."
        ),
    ]
    proof: Annotated[
        Literal["Optimal", "Gap"],
        Field(description="Optimal: after meets the bound. Gap: more may be possible."),
    ]
    gap_blocks: Annotated[Count, Field(description="How far after is below the bound.")]


Requests = Annotated[
    dict[
        str,
        Annotated[
            str,
            Field(min_length=1, max_length=32, description="An amount, as a Kubernetes quantity."),
        ],
    ],
    Field(
        max_length=32,
        description="What the pod asks for in effect (init and sidecar containers, overhead): the "
        "room that is kept for it while the plan is carried out.",
    ),
]


class Placement(Model):
    """A pending pod that gets a node."""

    namespace: PodNamespace
    name: PodName
    uid: PodUid
    node: ToNode
    owner: Owner = ""
    requests: Requests = Field(default_factory=dict)


class Move(Model):
    """A running pod that is evicted and recreated on another node."""

    namespace: PodNamespace
    name: PodName
    uid: PodUid
    from_: FromNode
    to: ToNode
    owner: Owner = ""
    requests: Requests = Field(default_factory=dict)


class Eviction(Model):
    """A running pod that is evicted for good, for pods of higher priority."""

    namespace: PodNamespace
    name: PodName
    uid: PodUid
    from_: FromNode
    owner: Owner = ""


class Evict(Model):
    """A pod that goes down in a step."""

    namespace: PodNamespace
    name: PodName
    uid: PodUid


class Bind(Model):
    """A pod that gets its node in a step."""

    namespace: PodNamespace
    name: PodName
    uid: PodUid
    node: ToNode


class Step(Model):
    """One step: all of `evict` go down together, then each of `bind` gets its node in order."""

    validations = (
        Rule(
            cel="size(self.evict) + size(self.bind) > 0",
            message="a step evicts or binds at least one pod",
            holds=lambda self: bool(self.evict or self.bind),
        ),
    )

    evict: Annotated[
        tuple[Evict, ...],
        Field(
            max_length=PLAN_MAX_ENTRIES,
            description="Pods that go down together; their room is free for this step's binds.",
        ),
    ] = ()
    bind: Annotated[
        tuple[Bind, ...],
        Field(max_length=PLAN_MAX_ENTRIES, description="Pods that get a node, in this order."),
    ] = ()


class PlanSummary(Model):
    """The plan's size, so that `kubectl get` can show it."""

    placements: Annotated[Count, Field(description="Pending pods that get a node.")]
    moves: Annotated[Count, Field(description="Running pods that move to another node.")]
    evictions: Annotated[Count, Field(description="Running pods evicted for good.")]


class Approval(Model):
    """A person's decision on the plan."""

    decision: Annotated[
        Literal["Approved", "Rejected"],
        Field(description="Approved: carry the plan out. Rejected: never do."),
    ]
    by: Annotated[str, Field(min_length=1, max_length=512, description="The user who decided.")]


class Abort(Model):
    """A person's wish that the plan stop."""

    by: Annotated[str, Field(min_length=1, max_length=512, description="The user who stopped it.")]


class StepProgress(Model):
    """The step that is under way."""

    index: Annotated[Count, Field(description="Which one, counted from 0.")]
    started_at: Annotated[Timestamp, Field(description="When it began, RFC 3339.")]
    known: Annotated[
        tuple[PodUid, ...],
        Field(
            max_length=PLAN_MAX_ENTRIES,
            description="Pods of the arriving pods' owners that were on the step's nodes when it "
            "began: they don't count as arrived.",
        ),
    ] = ()


class PackingPlanStatus(Model):
    """How far the plan has been carried out."""

    conditions: Annotated[
        Conditions,
        Field(
            description="Validated: the plan holds in the cluster as it is now. Reserved: every "
            "replica of the scheduler extender keeps the plan's room. Executing: steps are under "
            "way. Succeeded: all steps are done; while False, its reason says what is waited for. "
            "Stale: nothing more will be evicted."
        ),
    ] = ()
    step: Annotated[
        StepProgress | None, Field(description="The step that is under way, while Executing.")
    ] = None
    steps_done: Annotated[Count | None, Field(description="Steps carried out.")] = None
    steps_total: Annotated[Count | None, Field(description="Steps of the plan.")] = None
    started_at: Annotated[
        Timestamp | None, Field(description="When the first step began, RFC 3339.")
    ] = None
    finished_at: Annotated[
        Timestamp | None, Field(description="When it succeeded or was given up, RFC 3339.")
    ] = None
    observed_generation: Annotated[
        BigCount | None, Field(description="The metadata.generation this status describes.")
    ] = None
