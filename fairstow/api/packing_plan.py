"""PackingPlan: one concrete plan, who goes where in which steps, and what was proved about it.

Made by `fairstow plan` and the packing controller, approved by a person, carried out by the
controller. The spec never changes after creation except that `approval` and `abort` are set once.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fairstow.api.fields import (
    BigCount,
    Count,
    DurationText,
    Namespace,
    ObjectName,
    PoolName,
    Timestamp,
    Uid,
    duration,
)
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.rules import Rule
from fairstow.api.status import Conditions

PLAN_MAX_ENTRIES = 2_000
"""Most entries in any list of a plan."""

PLAN_MAX_BYTES = 1_400_000
"""Most bytes of a plan's JSON: etcd refuses requests above 1.5 MiB, and status needs some room."""

WHAT_IF = "fairstow.dev/what-if"
"""Annotation of a plan that supposes pods which nobody has submitted: the manifests they are in."""

_WHAT_IF_NAME = "what-if-"

Order = Literal["PlaceFirst", "TierByTier"]


def _fixed(field: str) -> Rule:
    return Rule(
        cel="self == oldSelf", message=f"a plan's {field} can't be changed: make a new plan"
    )


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


class PackingPlanSpec(Model):
    """The plan. Nothing in it changes after creation, except that approval can be set once."""

    validations = (
        Rule(
            cel="!has(oldSelf.approval)"
            " || (has(self.approval) && self.approval == oldSelf.approval)",
            message="approval can be set once and not changed: make a new plan to decide anew",
        ),
        Rule(
            cel="has(self.effort) == has(oldSelf.effort)"
            " && has(self.takenAt) == has(oldSelf.takenAt)"
            " && has(self.policy) == has(oldSelf.policy)"
            " && has(self.pool) == has(oldSelf.pool)",
            message="a plan's effort, takenAt, policy and pool can't be added or removed: make a "
            "new plan",
        ),
        Rule(
            cel="!has(oldSelf.abort) || (has(self.abort) && self.abort == oldSelf.abort)",
            message="abort can be set once and not changed",
        ),
        Rule(
            cel="!has(self.approval) || self.approval.decision != 'Approved'"
            " || self.budgets == 'Known'",
            message="a plan with budgets Unknown can't be approved: make one from a snapshot that "
            "holds the PodDisruptionBudgets",
            holds=lambda self: not self.approved or self.budgets == "Known",
        ),
        Rule(
            cel="!has(self.approval) || self.approval.decision != 'Approved'"
            " || self.rules == 'Product'",
            message="a plan under the paper's rules can't be approved: it is for comparison only",
            holds=lambda self: not self.approved or self.rules == "Product",
        ),
        Rule(
            cel="!has(self.summary) || (self.summary.placements == size(self.placements)"
            " && self.summary.moves == size(self.moves)"
            " && self.summary.evictions == size(self.evictions))",
            message="summary gives the lengths of placements, moves and evictions",
            holds=lambda self: self.summary is None or self.summary == self._sizes(),
        ),
        Rule(
            cel="self.goal != 'Defragment'"
            " || size(self.placements) == 0 && size(self.evictions) == 0",
            message="a plan to defragment only moves pods: it places and evicts nobody",
            holds=lambda self: self.goal == "Place" or not (self.placements or self.evictions),
        ),
        Rule(
            cel="self.goal == 'Defragment' || size(self.blocks) == 0",
            message="only a plan with the goal Defragment counts blocks",
            holds=lambda self: self.goal == "Defragment" or not self.blocks,
        ),
        Rule(
            cel="self.steps.map(s, size(s.evict)).sum() == size(self.moves) + size(self.evictions)",
            message="steps evict as many pods as moves and evictions name",
            holds=lambda self: (
                sum(len(step.evict) for step in self.steps) == len(self.moves) + len(self.evictions)
            ),
        ),
        Rule(
            cel="self.steps.map(s, size(s.bind)).sum() == size(self.moves) + size(self.placements)",
            message="steps bind as many pods as moves and placements name",
            holds=lambda self: (
                sum(len(step.bind) for step in self.steps) == len(self.moves) + len(self.placements)
            ),
        ),
    )

    policy: Annotated[
        PoolName | None,
        _fixed("policy"),
        Field(description="The PackingPolicy it was made under; left out if a person made it."),
    ] = None
    pool: Annotated[
        PoolName | None,
        _fixed("pool"),
        Field(
            description="The GpuPool whose nodes alone it changes; its proofs are about such "
            "plans, its figures about the whole cluster. Left out: all nodes."
        ),
    ] = None
    snapshot_hash: Annotated[
        str,
        _fixed("snapshotHash"),
        Field(
            min_length=32,
            max_length=32,
            pattern="^[0-9a-f]{32}$",
            description="Which snapshot the plan was made from; provenance only.",
        ),
    ]
    rules: Annotated[
        Literal["Product", "Paper"],
        _fixed("rules"),
        Field(
            description="Product: evictions for good are of lower priority only and cost far more "
            "than moves. Paper: those of arXiv 2511.08373, for comparison only."
        ),
    ]
    goal: Annotated[
        Literal["Place", "Defragment"],
        _fixed("goal"),
        Field(
            description="Place: run the most pending pods. Defragment: free the largest blocks of "
            "accelerators by moves alone; pending pods stay pending."
        ),
    ] = "Place"
    order: Annotated[
        Order,
        _fixed("order"),
        Field(
            description="PlaceFirst: placement of every priority, then least disturbance. "
            "TierByTier: placement and disturbance of each priority before the next."
        ),
    ]
    seed: Annotated[
        BigCount,
        _fixed("seed"),
        Field(
            description="The seed of the search.",
        ),
    ]
    window: Annotated[
        DurationText,
        _fixed("window"),
        duration("window", "1ms", "24h"),
        Field(description="Time the decision was given, such as 10s."),
    ]
    effort: Annotated[
        Count | None,
        _fixed("effort"),
        Field(
            description="Units of work the search was given instead of all the window, about a "
            "second of one core each: the same snapshot, seed and effort give the same plan."
        ),
    ] = None
    cost: Annotated[
        BigCount,
        _fixed("cost"),
        Field(
            description="Disturbance in units of one restart. Under the product's rules a move is "
            "1, an eviction for good 100, and each adds the work its pod loses: GPUs times hours "
            "since it started or declared fairstow.dev/checkpointed-at, rounded down to a power "
            "of two, at most 64. Pods of ReplicaSets without that annotation and pods annotated "
            "fairstow.dev/work-lost: none lose none. Under the paper's rules a move is 2, an "
            "eviction 1."
        ),
    ]
    taken_at: Annotated[
        Timestamp | None,
        _fixed("takenAt"),
        Field(
            description="The moment by which ages and lost work are judged, RFC 3339: the newest "
            "time in the snapshot."
        ),
    ] = None
    minimum_age: Annotated[
        DurationText,
        _fixed("minimumAge"),
        duration("minimumAge", "0s", "168h"),
        Field(description="No pod is disturbed that had run for less than this at takenAt."),
    ] = "0s"
    budgets: Annotated[
        Literal["Known", "Unknown"],
        _fixed("budgets"),
        Field(
            description="Unknown: the snapshot held no PodDisruptionBudgets, so the plan can't be "
            "approved."
        ),
    ]
    summary: Annotated[
        PlanSummary | None,
        Field(
            description="The lengths of placements, moves and evictions, for kubectl get. Derived "
            "when the plan is parsed by Fairstow; columns stay empty without it."
        ),
    ] = None
    tiers: Annotated[
        tuple[Tier, ...],
        _fixed("tiers"),
        Field(
            max_length=PLAN_MAX_ENTRIES,
            description="The outcome by priority, highest first.",
        ),
        Rule(
            cel="self.map(tier, -tier.priority).isSorted()",
            message="tiers are listed highest priority first",
            holds=lambda tiers: list(tiers) == sorted(tiers, key=lambda tier: -tier.priority),
        ),
    ] = ()
    blocks: Annotated[
        tuple[BlockCount, ...],
        _fixed("blocks"),
        Field(
            max_length=PLAN_MAX_ENTRIES,
            description="With the goal Defragment: free blocks by size, largest first.",
        ),
        Rule(
            cel="self.map(block, -block.size).isSorted()",
            message="blocks are listed largest first",
            holds=lambda blocks: list(blocks) == sorted(blocks, key=lambda block: -block.size),
        ),
    ] = ()
    placements: Annotated[
        tuple[Placement, ...],
        _fixed("placements"),
        Field(max_length=PLAN_MAX_ENTRIES, description="Pending pods that get a node."),
    ] = ()
    moves: Annotated[
        tuple[Move, ...],
        _fixed("moves"),
        Field(
            max_length=PLAN_MAX_ENTRIES,
            description="Running pods that are evicted and recreated on another node.",
        ),
    ] = ()
    evictions: Annotated[
        tuple[Eviction, ...],
        _fixed("evictions"),
        Field(max_length=PLAN_MAX_ENTRIES, description="Running pods that are evicted for good."),
    ] = ()
    steps: Annotated[
        tuple[Step, ...],
        _fixed("steps"),
        Field(
            max_length=PLAN_MAX_ENTRIES,
            description="The order of execution: each step is feasible in the state that the steps "
            "before it left. A pod that moves is in evict and bind of the same step.",
        ),
    ] = ()
    not_considered: Annotated[
        tuple[
            Annotated[str, Field(min_length=1, max_length=1024, description="One sentence.")], ...
        ],
        _fixed("notConsidered"),
        Field(
            max_length=PLAN_MAX_ENTRIES,
            description="What the planner left as it is, and why: a sentence each.",
        ),
    ] = ()
    step_timeout: Annotated[
        DurationText,
        _fixed("stepTimeout"),
        duration("stepTimeout", "1s", "24h"),
        Field(
            description="How long one step may take, its pods' grace periods included, before the "
            "plan is given up as Stale."
        ),
    ] = "10m"
    approval: Annotated[
        Approval | None,
        Field(description="A person's decision; can be set once."),
    ] = None
    abort: Annotated[
        Abort | None,
        Field(description="Stop after what is under way: nothing further is evicted. Set once."),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _derive_summary(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("summary") is not None:
            return data
        lists = {name: data.get(name, ()) for name in ("placements", "moves", "evictions")}
        if not all(isinstance(entries, list | tuple) for entries in lists.values()):
            return data  # the field's own check says what is wrong
        return {**data, "summary": {name: len(entries) for name, entries in lists.items()}}

    @property
    def approved(self) -> bool:
        """Whether a person has approved the plan."""
        return self.approval is not None and self.approval.decision == "Approved"

    def _sizes(self) -> PlanSummary:
        return PlanSummary(
            placements=len(self.placements),
            moves=len(self.moves),
            evictions=len(self.evictions),
        )


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


class PackingPlan(CustomResource):
    """One plan: which pods get which nodes, what has to move for that, and what is proved.

    As JSON it has to stay below etcd's limit of 1.5 MiB.
    """

    validations = (
        Rule(
            cel=f"!self.metadata.name.startsWith('{_WHAT_IF_NAME}')"
            " || !has(self.spec.approval) || self.spec.approval.decision != 'Approved'",
            message="a what-if plan can't be approved: it is about pods that nobody has submitted",
            holds=lambda self: not (self.what_if and self.spec.approved),
        ),
    )
    resource: ClassVar[Resource] = Resource(
        plural="packingplans",
        short_name="pplan",
        scope="Cluster",
        columns=(
            Column(name="Places", path=".spec.summary.placements", type="integer"),
            Column(name="Moves", path=".spec.summary.moves", type="integer"),
            Column(name="Evicts", path=".spec.summary.evictions", type="integer"),
            Column(name="Approved", path=".spec.approval.decision"),
            Column(name="State", path='.status.conditions[?(@.type=="Succeeded")].reason'),
        ),
    )

    kind: Annotated[Literal["PackingPlan"], Field(description="PackingPlan.")] = "PackingPlan"
    spec: Annotated[
        PackingPlanSpec,
        Field(
            description="The plan; nothing in it can change except that approval and abort are "
            "each set once."
        ),
    ]
    status: Annotated[
        PackingPlanStatus | None, Field(description="How far it is; written by Fairstow.")
    ] = None

    @property
    def what_if(self) -> bool:
        """Whether it supposes pods that nobody has submitted."""
        marked = WHAT_IF in (self.metadata.annotations or {})
        return marked or self.metadata.name.startswith(_WHAT_IF_NAME)


def what_if_plan(plan: PackingPlan, manifests: Iterable[str]) -> PackingPlan:
    """Return a plan marked as one that supposes the pods of some manifests.

    Marked by annotation, for readers, and by name, which nobody can change once it is in a cluster.
    """
    mark = {"name": f"{_WHAT_IF_NAME}{plan.spec.snapshot_hash[:8]}",
            "annotations": {WHAT_IF: ", ".join(manifests)}}  # fmt: skip
    return plan.model_copy(update={"metadata": plan.metadata.model_copy(update=mark)})
