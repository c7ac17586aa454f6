"""What the planner is asked and what it answers: frozen, plain, without a clock.

Terms. A *tier* is all pods of one priority value. A *placement* gives a pending pod a node; a
*move* evicts a running pod and has it recreated on another node; an *eviction* is for good.
A *step* takes its evicted pods down together and then binds its arrivals in order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot


class RuleSet(StrEnum):
    """Who may lose a place, and what disturbance costs.

    Product: evictions for good are of lower priority than a pod that gets a place, up to a limit,
    and cost far more than moves. Paper: any pod may be evicted, and a move costs two evictions;
    for comparison with arXiv 2511.08373 only.
    """

    PRODUCT = "Product"
    PAPER = "Paper"

    @property
    def move_cost(self) -> int:
        """Disruption units of a move, but for the work that is lost (`cost`)."""
        return 1 if self is RuleSet.PRODUCT else 2

    @property
    def eviction_cost(self) -> int:
        """Disruption units of an eviction for good, but for the work that is lost."""
        return 100 if self is RuleSet.PRODUCT else 1


class Order(StrEnum):
    """What comes first, tier by tier from the highest priority down.

    PlaceFirst: every tier's placements, then the least disruption over all of them.
    TierByTier: a tier's placements, then its least disruption, then the next tier: a pod never
    moves for the sake of a lower priority (the order of arXiv 2511.08373).
    """

    PLACE_FIRST = "PlaceFirst"
    TIER_BY_TIER = "TierByTier"


class Goal(StrEnum):
    """What a plan is for.

    Place: run the most pending pods, by priority. Defragment: free the largest blocks of
    accelerators by moves alone; nobody is placed and nobody evicted for good.
    """

    PLACE = "Place"
    DEFRAGMENT = "Defragment"


class Proof(StrEnum):
    """Whether a number of placed pods or free blocks is proved to be the largest possible."""

    OPTIMAL = "Optimal"
    GAP = "Gap"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a plan is confined to. Its proofs speak of plans that are confined alike.

    All pods of the cluster still count where rules between pods count them.

    Attributes:
        name: of the pool, as plans tell it.
        nodes: the only ones that pods may leave or arrive on.
        spared: namespaces none of whose running pods is disturbed.
        untried: by UID why pending pods aren't tried, as a phrase about them.
    """

    name: str
    nodes: frozenset[str]
    spared: frozenset[str] = frozenset()
    untried: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the planner.

    Attributes:
        window: seconds for the whole decision.
        effort: units of work for the search (see `effort`) instead of all the window; equal
            requests then get equal answers, unless the window cuts the search off.
        max_moves: most moves allowed; None is no limit.
        max_evictions: most evictions for good (no limit under the paper's rules).
        min_age: seconds that a pod must have run before it may be disturbed.
        cooling: workloads to leave alone, as `history.cooling` gives them.
        blocks: sizes to free under the goal Defragment; empty for the powers of two from 2 on.
        scope: what the plan is confined to; None is the whole cluster.
    """

    snapshot: Snapshot
    rules: RuleSet = RuleSet.PRODUCT
    order: Order = Order.PLACE_FIRST
    window: float = 10.0
    effort: int | None = None
    seed: int = 0
    max_moves: int | None = None
    max_evictions: int = 0
    min_age: int = 0
    cooling: frozenset[str] = frozenset()
    goal: Goal = Goal.PLACE
    blocks: tuple[int, ...] = ()
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """A pending pod and the node it gets."""

    pod: Pod
    node: str


@dataclass(frozen=True, slots=True)
class Move:
    """A running pod, where it is and where it goes."""

    pod: Pod
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Eviction:
    """A running pod that loses its place."""

    pod: Pod
    source: str


@dataclass(frozen=True, slots=True)
class Step:
    """Pods taken down together, then arrivals in order, as (pod, node)."""

    evict: tuple[Pod, ...]
    bind: tuple[tuple[Pod, str], ...]


class _Bounded:
    """A count and its proved upper bound."""

    __slots__ = ()
    after: int
    bound: int

    @property
    def proof(self) -> Proof:
        """Optimal where the bound is met."""
        return Proof.OPTIMAL if self.after >= self.bound else Proof.GAP

    @property
    def gap(self) -> int:
        """How many more the bound doesn't rule out."""
        return max(self.bound - self.after, 0)


@dataclass(frozen=True, slots=True)
class Tier(_Bounded):
    """The outcome for one priority.

    Attributes:
        before: pods of the tier that had a node (or a nomination) before.
        after: those that have one after the plan.
        pending: those that still wait.
        bound: proved upper bound on `after`, given what the tiers above got.
        left_out: of those that still wait, pods that the planner doesn't try.
    """

    priority: int
    before: int
    after: int
    pending: int
    bound: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class BlockTally(_Bounded):
    """The outcome for one size of block (see `fairstow.packing.defragment`).

    Attributes:
        resource: the accelerator.
        size: devices of a block.
        before: free blocks of this size before the plan, over all nodes.
        after: those after it.
        bound: proved upper bound on `after`, given what the larger sizes got.
    """

    resource: str
    size: int
    before: int
    after: int
    bound: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The planner's answer; empty lists mean that the current placement stands.

    Attributes:
        cost: disruption units (`cost`).
        proved_least_cost: whether no plan with these placements (or blocks) disturbs less.
        not_considered: what the answer leaves out, a sentence each.
        budgets_known: whether disruption budgets were in the snapshot.
    """

    request: Request
    placements: tuple[Placement, ...]
    moves: tuple[Move, ...]
    evictions: tuple[Eviction, ...]
    steps: tuple[Step, ...]
    tiers: tuple[Tier, ...]
    cost: int
    proved_least_cost: bool
    not_considered: tuple[str, ...]
    budgets_known: bool
    blocks: tuple[BlockTally, ...] = ()

    @property
    def work_lost(self) -> int:
        """Of `cost`, what isn't for restarts but for work that is lost, in GPU-hours."""
        rules = self.request.rules
        restarts = rules.move_cost * len(self.moves) + rules.eviction_cost * len(self.evictions)
        return self.cost - restarts
