"""Fairstow's objects as the commands show them: read leniently, judged by their conditions.

The command line may be older or newer than what is installed in the cluster, so unknown fields and
words are no errors here; the models of `fairstow.api` are for those who write.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from fairstow.cluster.times import seconds


class View(msgspec.Struct, frozen=True, rename="camel"):
    """Part of an object; whatever it doesn't name is passed over."""


class Meta(View, frozen=True):
    """metadata."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Condition(View, frozen=True):
    """One of status.conditions."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""


class PodEntry(View, frozen=True):
    """A pod of a plan's lists; empty what its list doesn't have."""

    namespace: str = ""
    name: str = ""
    uid: str = ""
    owner: str = ""
    node: str = ""
    from_: str = msgspec.field(default="", name="from")
    to: str = ""

    @property
    def ref(self) -> str:
        """The pod as namespace/name."""
        return f"{self.namespace}/{self.name}"


class Step(View, frozen=True):
    """One of spec.steps."""

    evict: tuple[PodEntry, ...] = ()
    bind: tuple[PodEntry, ...] = ()


class Decided(View, frozen=True):
    """spec.approval or spec.abort."""

    by: str = ""
    decision: str = ""


class StepProgress(View, frozen=True):
    """status.step."""

    index: int = 0
    started_at: str = ""


class PlanSpec(View, frozen=True):
    """spec of a PackingPlan."""

    policy: str = ""
    goal: str = "Place"
    rules: str = "Product"
    budgets: str = "Known"
    cost: int = 0
    placements: tuple[PodEntry, ...] = ()
    moves: tuple[PodEntry, ...] = ()
    evictions: tuple[PodEntry, ...] = ()
    steps: tuple[Step, ...] = ()
    approval: Decided | None = None
    abort: Decided | None = None


class PlanStatus(View, frozen=True):
    """status of a PackingPlan."""

    conditions: tuple[Condition, ...] = ()
    step: StepProgress | None = None
    steps_done: int = 0
    started_at: str = ""
    finished_at: str = ""


class Plan(View, frozen=True):
    """A PackingPlan."""

    metadata: Meta
    spec: PlanSpec
    status: PlanStatus = PlanStatus()

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces whose pods it places, moves or evicts."""
        lists = (self.spec.placements, self.spec.moves, self.spec.evictions)
        return frozenset(pod.namespace for pods in lists for pod in pods)


class LastRun(View, frozen=True):
    """status.lastRun of a PackingPolicy."""

    time: str = ""
    reason: str = ""
    message: str = ""


class PoolRef(View, frozen=True):
    """spec.poolRef of a PackingPolicy."""

    name: str = ""


class PolicySpec(View, frozen=True):
    """spec of a PackingPolicy."""

    pool_ref: PoolRef = PoolRef()
    mode: str = "Observe"
    suspend: bool = False


class PolicyStatus(View, frozen=True):
    """status of a PackingPolicy."""

    conditions: tuple[Condition, ...] = ()
    last_run: LastRun | None = None
    last_plan: str = ""


class Policy(View, frozen=True):
    """A PackingPolicy."""

    metadata: Meta
    spec: PolicySpec
    status: PolicyStatus = PolicyStatus()


@dataclass(frozen=True)
class Standing:
    """How a plan stands.

    Attributes:
        state: New, Waiting, Executing, Succeeded, Stale or Rejected.
        reason: the word of `fairstow.api.Reason` that says why; may be empty.
        message: the same as a sentence; may be empty.
    """

    state: str
    reason: str = ""
    message: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will come of the plan."""
        return self.state in ("Succeeded", "Stale", "Rejected")


def condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """Return the condition of a type."""
    return next((c for c in conditions if c.type == type_), None)


def standing(plan: Plan) -> Standing:
    """Return how a plan stands."""
    by_type = {c.type: c for c in plan.status.conditions}
    succeeded, stale = by_type.get("Succeeded"), by_type.get("Stale")
    if succeeded and succeeded.status == "True":
        return _said("Succeeded", succeeded)
    if stale and stale.status == "True":
        return _said("Stale", stale)
    if plan.spec.approval and plan.spec.approval.decision == "Rejected":
        return Standing("Rejected", "Rejected", f"{plan.spec.approval.by} rejected it.")
    executing = by_type.get("Executing")
    if executing and executing.status == "True":
        return _said("Executing", succeeded or executing)
    return _said("Waiting", succeeded) if succeeded else Standing("New")


def _said(state: str, by: Condition) -> Standing:
    return Standing(state, by.reason, by.message)


def age(text: str, now: float) -> str:
    """Return how long ago a moment was, as kubectl writes it: 45s, 3m20s, 7h5m, 12d."""
    moment = seconds(text)
    if moment is None:
        return "<unknown>"
    return span(max(0, int(now) - moment))


def span(long: int) -> str:
    """Return seconds as kubectl writes a duration."""
    if long < 120:
        return f"{long}s"
    minutes, hours, days = long // 60, long // 3600, long // 86400
    if minutes < 10:
        return f"{minutes}m{long % 60}s" if long % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if days < 8 and hours % 24 else f"{days}d"
