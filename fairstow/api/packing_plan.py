"""PackingPlan: one concrete plan, who goes where in which steps, and what was proved about it.

Made by `fairstow plan` and the packing controller, approved by a person, carried out by the
controller. The spec never changes after creation except that `approval` and `abort` are set once.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fairstow.api.fields import (
    BigCount,
    Count,
    DurationText,
    PoolName,
    Timestamp,
    duration,
)
from fairstow.api.model import Column, CustomResource, Model, Resource
from fairstow.api.plan_parts import (
    PLAN_MAX_ENTRIES,
    Abort,
    Approval,
    BlockCount,
    Eviction,
    Move,
    PackingPlanStatus,
    Placement,
    PlanSummary,
    Step,
    Tier,
)
from fairstow.api.rules import Rule

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
