"""What an explanation says, as data; texts are ready to be shown as they are."""

from dataclasses import dataclass
from enum import StrEnum

from fairstow.cluster.model import Pod
from fairstow.cluster.rules import Deficit, Refusal
from fairstow.packing.explain.amounts import shortage
from fairstow.packing.model import Eviction, Move


class State(StrEnum):
    """Where a pod stands, as far as the snapshot tells."""

    RUNNING = "Running"
    TERMINATING = "Terminating"
    GATED = "Gated"
    NOMINATED = "Nominated"
    FITS = "Fits"
    BLOCKED = "Blocked"
    UNKNOWN = "Unknown"
    """Nodes have room, but not all that decides is known or judged."""


@dataclass(frozen=True, slots=True)
class FunnelLine:
    """One filter and how many nodes are left after it.

    Attributes:
        label: which nodes are left: "with the label pool=h100".
        detail: what the others lack, or "".
    """

    label: str
    nodes_left: int
    detail: str = ""

    def __str__(self) -> str:
        said = f"{self.nodes_left} {self.label}"
        return f"{said}: {self.detail}" if self.detail else said


@dataclass(frozen=True, slots=True)
class Near:
    """A node that comes close.

    Attributes:
        deficits: what it is short of; empty where a rule alone is in the way.
        refusal: the one rule in the way, None where only room is.
    """

    node: str
    deficits: tuple[Deficit, ...]
    refusal: Refusal | None

    def __str__(self) -> str:
        if self.refusal is not None:
            return f"{self.node} has room, but {self.refusal.detail}"
        return f"{self.node}: {', '.join(shortage(d) for d in self.deficits)}"


class Change(StrEnum):
    """A kind of relaxation, the smallest first."""

    REQUEST = "AskForLess"
    UNCORDON = "Uncordon"
    TOLERATE = "Tolerate"
    SELECTOR = "DropNodeSelector"
    AFFINITY = "DropNodeAffinity"
    PORT = "DropHostPort"
    SKEW = "RaiseMaxSkew"
    SPREAD = "DropTopologySpread"
    NEAR = "DropPodAffinity"
    APART = "DropPodAntiAffinity"


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One change that alone would let the pod run now.

    Attributes:
        key: the resource, the taint's or label's key, the node's name, the port as `53/UDP`, or
            the topology key ("" for AFFINITY).
        value: the taint's or label's value, the new amount in the scheduler's unit, the new
            maxSkew, or the place of the term of (anti-)affinity among its like, from 0.
        nodes: those that would then have room, by name.
        text: "ask for 3 instead of 4 nvidia.com/gpu → fits on gpu-07".
    """

    change: Change
    key: str
    value: str
    nodes: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class PlanFix:
    """What a plan does for the pod.

    Attributes:
        text: one or two sentences.
        node: where the plan puts it; "" if it still waits.
        moves: those of the plan's moves that this needs.
        evictions: those of the plan's evictions for good that this needs.
    """

    text: str
    node: str = ""
    moves: tuple[Move, ...] = ()
    evictions: tuple[Eviction, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a pod is where it is, and what would change that.

    Attributes:
        verdict: one sentence.
        scheduler_says: the scheduler's own last message, verbatim, or "".
        funnel: filters in the scheduler's order (room last), those that removed nodes; empty for
            a pod that has its node.
        nearest: at most three nodes.
        relaxations: the smallest first; each is checked against the rules.
        plan_fixes: None without a plan.
        not_considered: what this leaves out, a sentence each.
        next_step: one command.
        next_why: what it is for.
    """

    pod: Pod
    state: State
    verdict: str
    scheduler_says: str
    funnel: tuple[FunnelLine, ...]
    nearest: tuple[Near, ...]
    relaxations: tuple[Relaxation, ...]
    plan_fixes: PlanFix | None
    not_considered: tuple[str, ...]
    next_step: str
    next_why: str

    @property
    def funnel_text(self) -> str:
        """The funnel on one line."""
        return " → ".join(str(line) for line in self.funnel)
