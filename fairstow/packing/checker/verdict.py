"""What the checker answers: a verdict with its violations, and the figures it recomputed."""

from dataclasses import dataclass, field
from enum import StrEnum

from fairstow.packing.checker.fields import shown

MAX_VIOLATIONS = 100


class Rule(StrEnum):
    """Stable codes of what a plan can violate."""

    PLAN_SHAPE = "PlanShape"
    """A field of the plan is missing or has the wrong type or value."""
    BUDGETS_MISMATCH = "BudgetsMismatch"
    """The plan says Known or Unknown of disruption budgets, and the input says otherwise."""
    NOT_APPROVABLE = "NotApprovable"
    """An approved plan with unknown disruption budgets, of the paper's rules, or a what-if plan."""
    POD_UNKNOWN = "PodUnknown"
    """No such pod."""
    POD_RECREATED = "PodRecreated"
    """A pod of that name with another uid."""
    POD_LISTED_TWICE = "PodListedTwice"
    """A pod is more than once among placements, moves and evictions."""
    POD_NOT_PENDING = "PodNotPending"
    """A placement of a pod that doesn't wait for a node."""
    POD_NOT_ON_NODE = "PodNotOnNode"
    """A move or eviction of a pod that isn't running where the plan says."""
    OWNER_MISMATCH = "OwnerMismatch"
    REQUESTS_MISMATCH = "RequestsMismatch"
    """The plan names another owner than the pod's controller."""
    MOVE_TO_SAME_NODE = "MoveToSameNode"
    """A move that ends where it began."""
    STEP_MISSING = "StepMissing"
    """A placement, move or eviction that no step carries out."""
    STEP_REPEATED = "StepRepeated"
    """A pod is evicted or bound more than once."""
    STEP_UNLISTED = "StepUnlisted"
    """A step touches a pod that is neither placed, moved nor evicted by the plan."""
    STEP_ROLE_MISMATCH = "StepRoleMismatch"
    """A step evicts a placement, binds an eviction, or a move isn't both in one step."""
    STEP_NODE_MISMATCH = "StepNodeMismatch"
    """A step binds a pod to another node than its placement or move says."""
    POD_NOT_MOVABLE = "PodNotMovable"
    """A pod that must not be disturbed is evicted."""
    BUDGET_FORBIDS = "BudgetForbids"
    """A disruption budget (or two of them) allows no eviction of the pod at all."""
    BUDGET_EXCEEDED = "BudgetExceeded"
    """More pods of a disruption budget are down at once than it allows."""
    ENGINE_NEEDED = "EngineNeeded"
    """A serving pool can't do without an instance, or without two at once."""
    EVICTION_PRIORITY = "EvictionPriority"
    """An eviction for good that no placed pod's priority justifies."""
    RULE_NOT_MODELLED = "RuleNotModelled"
    """The arriving pod uses a rule that plans don't model, and so must not be bound."""
    NODE_UNKNOWN = "NodeUnknown"
    """No such node."""
    NODE_NOT_READY = "NodeNotReady"
    """The node isn't Ready."""
    NODE_BEING_DELETED = "NodeBeingDeleted"
    """The node is on its way out."""
    NODE_UNSCHEDULABLE = "NodeUnschedulable"
    """The node is cordoned."""
    TAINT_NOT_TOLERATED = "TaintNotTolerated"
    """The node has a NoSchedule or NoExecute taint that the pod doesn't tolerate."""
    NODE_SELECTOR_MISMATCH = "NodeSelectorMismatch"
    """The node lacks a label of the pod's nodeSelector."""
    NODE_AFFINITY_MISMATCH = "NodeAffinityMismatch"
    """The node fulfils no term of the pod's required node affinity."""
    NODE_LACKS_FEATURE = "NodeLacksFeature"
    """The node doesn't declare a feature that the pod needs."""
    INSUFFICIENT_RESOURCES = "InsufficientResources"
    """The node hasn't the room at that moment."""
    ANTI_AFFINITY_CONFLICT = "AntiAffinityConflict"
    """The arriving pod and one in the node's topology domain keep apart."""
    AFFINITY_UNMET = "AffinityUnmet"
    """No pod that the arriving one must be near is in the node's topology domain."""
    SPREAD_EXCEEDED = "SpreadExceeded"
    """The node's topology domain would be ahead of the emptiest by more than a spread allows."""
    HOST_PORT_TAKEN = "HostPortTaken"
    """A pod on the node has the host port already."""
    VOLUMES_UNKNOWN = "VolumesUnknown"
    """The pod uses claims, and the input lacks a kind of object that says what becomes of them."""
    VOLUME_NOT_BOUND = "VolumeNotBound"
    """A claim of the pod has no volume, and won't be given one by the pod's being bound."""
    VOLUME_NODE_MISMATCH = "VolumeNodeMismatch"
    """A volume of the pod can't be had on the node."""
    VOLUME_IN_USE = "VolumeInUse"
    """Another pod has a claim that is for one pod at a time."""
    VOLUME_LIMIT_EXCEEDED = "VolumeLimitExceeded"
    """More volumes of a CSI driver than the node can attach."""
    GANG_SPLIT = "GangSplit"
    """Fewer members of a gang would run than it needs."""
    TIER_LIST_MISMATCH = "TierListMismatch"
    """The tiers aren't the cluster's priorities, highest first."""
    TIER_COUNT_MISMATCH = "TierCountMismatch"
    """A tier's placedBefore, placedAfter or pending isn't what the replay gives."""
    BOUND_TOO_LOW = "BoundTooLow"
    """The bound is below what the plan places, so it bounds nothing."""
    PROOF_INCONSISTENT = "ProofInconsistent"
    """proof and gapPods contradict bound and placedAfter."""
    WORSE_THAN_BEFORE = "WorseThanBefore"
    """Fewer pods placed, priority by priority, than without the plan."""
    GOAL_MISMATCH = "GoalMismatch"
    """A plan to defragment places or evicts somebody, or another plan counts blocks."""
    BLOCK_LIST_MISMATCH = "BlockListMismatch"
    """The blocks aren't listed largest first, each size once."""
    BLOCK_COUNT_MISMATCH = "BlockCountMismatch"
    """A size's blocks before or after aren't what the replay gives."""
    NO_BLOCK_FREED = "NoBlockFreed"
    """A plan to defragment moves pods, and the largest size that changes doesn't get more."""
    PRODUCT_CHANGED = "ProductChanged"
    """A plan to defragment moves a pod to another product than it runs on."""
    COST_MISMATCH = "CostMismatch"
    """The cost isn't what the moves, the evictions and the work they lose add up to."""
    TAKEN_LATER = "TakenLater"
    """The plan says it is of a later moment than the newest time in the input."""
    TOO_YOUNG = "TooYoung"
    """A pod that hasn't run for the plan's minimum age is moved or evicted."""


Obstacle = tuple[Rule, str]
"""What keeps a pod off a node: the rule, and a clause to follow "can't go to that node:"."""


@dataclass(frozen=True)
class Violation:
    """One thing wrong with a plan.

    Attributes:
        step: number of the step, the first being 1; None for the plan as a whole.
        pod: "namespace/name", or "".
        node: the node's name, or "".
        rule: a value of Rule.
        message: a sentence with the numbers.
    """

    step: int | None
    pod: str
    node: str
    rule: str
    message: str


@dataclass(frozen=True)
class TierCount:
    """One priority's pods as the checker counts them, in pods."""

    priority: int
    placed_before: int
    placed_after: int
    pending: int


@dataclass(frozen=True)
class Verdict:
    """The checker's answer.

    Attributes:
        accepted: whether there is no violation.
        violations: the first 100, in the order found.
        omitted: how many more there were.
        steps_replayed: 0 if the plan's shape is wrong, else the number of its steps.
        placements, moves, evictions: how many the plan lists.
        cost: disruption units, recomputed.
        tiers: recomputed, highest priority first.
        notes: the first 100 sentences on what a bind relies on and wasn't checked.
    """

    accepted: bool
    violations: tuple[Violation, ...]
    steps_replayed: int = 0
    omitted: int = 0
    placements: int = 0
    moves: int = 0
    evictions: int = 0
    cost: int = 0
    tiers: tuple[TierCount, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Report:
    """Gathers violations and notes, of which it keeps the first MAX_VIOLATIONS each."""

    violations: list[Violation] = field(default_factory=list)
    omitted: int = 0
    notes: list[str] = field(default_factory=list)

    def add(
        self, rule: Rule, message: str, *, step: int | None = None, pod: str = "", node: str = ""
    ) -> None:
        """Note one violation."""
        if len(self.violations) < MAX_VIOLATIONS:
            violation = Violation(step, shown(pod), shown(node), rule.value, shown(message))
            self.violations.append(violation)
        else:
            self.omitted += 1

    def note(self, message: str) -> None:
        """Note something that a bind relies on and that isn't checked."""
        if len(self.notes) < MAX_VIOLATIONS:
            self.notes.append(shown(message))
