"""One turn of a plan's state machine: given the plan and the cluster as it is, what comes next.

    waiting ──approved, window open──▶ under way ──last step finished──▶ Succeeded
       │  ▲                              │   │
       │  └── suspended, window closed ──┘   │
       └───────────── rejected, aborted, objection, step timed out ────▶ Stale

Conditions say where it is. `Succeeded` is the state a person reads: True at the end, else False
with what is waited for as its reason. `Executing` is True while the plan is under way, and only
then it reserves (`reservations`). `Validated`: what is left of it holds. `Reserved`: every replica
of the extender keeps its room. `Stale`: it was given up.

**Order of writing and acting.** A turn either changes the status or acts, never both: what is about
to be done is on record before it is done, so whoever comes after a crash reads the same plan, looks
at the same cluster and goes on. Nothing is acted upon that a turn after the last write doesn't ask
for again (`Turn.settled`).

**Invariants** (tests): no eviction unless the plan is approved, under way, enforced as required and
its remaining steps are legal; only pods of the step under way are evicted; nothing is evicted once
it is Stale or Succeeded; a turn on an unchanged world changes nothing; steps are done in order.
"""

from dataclasses import dataclass, replace

from fairstow.api import Condition, PackingPlan, PackingPlanStatus, Reason, duration_milliseconds
from fairstow.api.plan_parts import PLAN_MAX_ENTRIES, StepProgress
from fairstow.api.status import holds as holds_true
from fairstow.api.status import with_condition
from fairstow.cluster.model import EnginePool, Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.times import seconds, written
from fairstow.packing.execution.engines import Handover, handover
from fairstow.packing.execution.objections import Objection, objections
from fairstow.packing.execution.progress import Progress, known, look
from fairstow.packing.history import closed
from fairstow.packing.reservations import PlanHolds, SnapshotWorld, holds_of

Seen = tuple[object, int]
"""A `Progress.mark`, and since when it is that, in seconds since 1970."""

_POLL = 5.0
"""Seconds until a step under way is looked at again if no event comes."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether plans may be carried out now. Attributes: shut: why not, with a sentence, or None."""

    shut: tuple[Reason, str] | None = None
    opens_in: float | None = None


@dataclass(frozen=True, slots=True)
class Enforcement:
    """Who keeps a plan's room.

    Attributes:
        expected: whether an extender is installed that is to keep it.
        missing: replicas that don't say yet that they keep this plan's room; with none ready at
            all, a sentence about that.
    """

    expected: bool
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ask:
    """What a turn is decided on.

    Attributes:
        now: seconds since 1970.
        seen: `Turn.seen` of the turn before; None after a restart.
        asked: uids of pods whose eviction was asked for a moment ago: the snapshot may not show it.
    """

    plan: PackingPlan
    snapshot: Snapshot
    now: int
    gate: Gate
    enforcement: Enforcement
    seen: Seen | None = None
    asked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Turn:
    """What a turn decides.

    Attributes:
        status: to be written, if it differs from the plan's.
        settled: it doesn't differ, so `evict` may be acted upon.
        evict: pods to evict now.
        drain: LLM engines that are to begin to hand their requests over, with their pools.
        progress: of the step under way, if there is one.
        again: seconds until the next turn if no event comes, None for never.
        seen: the progress of the step under way and since when it is that, for the next turn.
    """

    status: PackingPlanStatus
    settled: bool
    evict: tuple[Pod, ...] = ()
    drain: tuple[tuple[EnginePool, Pod], ...] = ()
    progress: Progress | None = None
    again: float | None = None
    seen: Seen | None = None


def decide(ask: Ask) -> Turn:
    """Return what comes next for a plan."""
    turn = _Turn(ask)
    if closed(ask.plan):
        return turn.rest()
    if ended := _ended(ask.plan):
        return turn.give_up(*ended)
    if turn.under_way:
        return turn.carry_on()
    return turn.wait_or_begin()


def _ended(plan: PackingPlan) -> tuple[Reason, str] | None:
    """Return why people don't want it any more."""
    spec = plan.spec
    if spec.approval is not None and spec.approval.decision == "Rejected":
        return Reason.REJECTED, f"rejected by {spec.approval.by}"
    if spec.abort is not None:
        return Reason.ABORTED, f"stopped by {spec.abort.by}"
    return None


class _Turn:
    """The conditions of a plan as they are changed by one turn."""

    def __init__(self, ask: Ask) -> None:
        self._ask, self._plan = ask, ask.plan
        self._old = ask.plan.status or PackingPlanStatus()
        self._new = self._old.model_copy(
            update={
                "steps_total": len(ask.plan.spec.steps),
                "steps_done": self._old.steps_done or 0,
                "observed_generation": ask.plan.metadata.generation,
            }
        )
        self._now = written(ask.now)
        self._seen: Seen | None = None

    @property
    def under_way(self) -> bool:
        """Whether the plan is being carried out."""
        return holds_true(self._old.conditions, "Executing")

    def rest(self) -> Turn:
        """Nothing more comes."""
        return Turn(self._old, settled=True)

    def give_up(self, reason: Reason, message: str, progress: Progress | None = None) -> Turn:
        """End it as Stale."""
        self._set("Stale", True, reason, message)
        self._set("Succeeded", False, reason, message)
        return self._end(reason, message, progress)

    def wait_or_begin(self) -> Turn:
        """Wait for approval or for the gate; else begin, or go on after a pause."""
        plan, shut = self._plan, self._ask.gate.shut
        holds = holds_of(plan)
        world = SnapshotWorld(self._ask.snapshot)
        if holds.step >= len(plan.spec.steps):
            return self._succeed()
        found = objections(plan, holds, look(plan, holds, world), self._ask.snapshot)
        if lasting := [each for each in found if not each.passes]:
            self._validated(lasting[0])
            return self.give_up(lasting[0].reason, lasting[0].message)
        self._validated(None)
        if plan.spec.budgets != "Known":
            self._waits(Reason.BUDGETS_UNKNOWN, "the budgets were unknown when it was made")
        elif not plan.spec.approved:
            self._waits(
                Reason.WAITING_FOR_APPROVAL,
                f"kubectl fairstow approve plan/{plan.metadata.name} has it carried out",
            )
        elif shut is not None:
            self._waits(*shut)
        else:
            return self._begin(holds, world)
        return self._result(again=self._ask.gate.opens_in)

    def _begin(self, holds: PlanHolds, world: SnapshotWorld) -> Turn:
        """Record a step as begun; a plan is given up whose record would be too long to be kept."""
        there = known(holds, world)
        if len(there) > PLAN_MAX_ENTRIES:
            return self.give_up(
                Reason.STEP_TOO_LARGE,
                f"step {holds.step + 1} adds pods to workloads that have {len(there)} on its nodes "
                f"already, and a plan's status has room to name {PLAN_MAX_ENTRIES} of them: limit "
                "the moves per plan",
            )
        begun = StepProgress(index=holds.step, started_at=self._now, known=there)
        self._new = self._new.model_copy(update={"step": begun})
        if not self.under_way:
            started = {"started_at": self._old.started_at or self._now}
            self._new = self._new.model_copy(update=started)
            self._set("Executing", True, Reason.EXECUTING, "its room is reserved, its steps follow")
            self._waits(Reason.RESERVING, "its room is being reserved")
        return self._result(again=0.0)

    def carry_on(self) -> Turn:
        """Go on with the step under way, or to the next one."""
        plan, world = self._plan, SnapshotWorld(self._ask.snapshot)
        holds = holds_of(plan)
        if holds.step >= len(plan.spec.steps):
            return self._succeed()
        step = self._old.step
        if step is None or holds.known is None:  # somebody edited the status
            return self._begin(holds, world)
        progress = look(plan, holds, world)
        if progress.settled(self._quiet(progress)):
            return self._next_step(replace(holds, step=holds.step + 1, known=None), world)
        if self._ask.gate.shut is not None and progress.untouched:
            if any(pod.uid in self._ask.asked for pod in progress.to_evict):
                return self._result(progress=progress, again=1.0)  # whether they go is seen soon
            return self._pause(*self._ask.gate.shut)
        found = objections(plan, holds, progress, self._ask.snapshot)
        if lasting := [each for each in found if not each.passes]:
            self._validated(lasting[0])
            return self.give_up(lasting[0].reason, lasting[0].message, progress)
        engines = handover(progress.to_evict, self._ask.snapshot)
        if engines.busy:
            said = f"{engines.busy[0].ref} still had requests when its drain's deadline was over"
            return self.give_up(Reason.ENGINE_BUSY, said, progress)
        if self._ask.now - (seconds(step.started_at) or 0) >= self._allowed_seconds:
            return self.give_up(Reason.STEP_TIMED_OUT, self._unfinished(progress, found), progress)
        return self._act(progress, found, engines)

    def _quiet(self, progress: Progress) -> float:
        """Return for how many seconds the step under way has been as it is now."""
        before, now = self._ask.seen, self._ask.now
        unchanged = before is not None and before[0] == progress.mark
        self._seen = before if unchanged else (progress.mark, now)
        assert self._seen is not None
        return float(now - self._seen[1])

    def _act(self, progress: Progress, passing: tuple[Objection, ...], engines: Handover) -> Turn:
        """Evict what is to be evicted, once everybody keeps the room and engines are idle."""
        self._validated(passing[0] if passing else None)
        keeps = self._reserved()
        if progress.to_evict and not keeps:
            self._waits(Reason.RESERVING, "not every extender replica keeps its room yet")
        elif progress.to_evict and passing:
            self._waits(passing[0].reason, passing[0].message)
        elif not engines.over:
            self._waits(Reason.HANDING_OVER, f"{self._where()}: {engines.waits_for}")
            return self._result(drain=engines.begin, progress=progress, again=_POLL)
        elif progress.to_evict:
            self._waits(Reason.EVICTING, self._where())
            evict = tuple(pod for pod in progress.to_evict if pod.uid not in self._ask.asked)
            return self._result(evict=evict, progress=progress, again=_POLL)
        else:
            self._waits(Reason.WAITING_FOR_PODS, self._where())
        return self._result(progress=progress, again=_POLL)

    def _next_step(self, holds: PlanHolds, world: SnapshotWorld) -> Turn:
        """Record a step as done and the next one as begun, at once: none goes uncounted between."""
        self._new = self._new.model_copy(update={"steps_done": holds.step, "step": None})
        if holds.step >= len(self._plan.spec.steps):
            return self._succeed()
        if self._ask.gate.shut is not None:
            return self._pause(*self._ask.gate.shut)
        return self._begin(holds, world)

    def _pause(self, reason: Reason, message: str) -> Turn:
        """Stop between two steps: no room is kept meanwhile."""
        self._new = self._new.model_copy(update={"step": None})
        self._set("Executing", False, reason, message)
        self._set("Reserved", False, reason, "its room is released")
        self._waits(reason, message)
        return self._result(again=self._ask.gate.opens_in)

    def _succeed(self) -> Turn:
        message = f"all {len(self._plan.spec.steps)} steps are carried out"
        self._set("Succeeded", True, Reason.SUCCEEDED, message)
        return self._end(Reason.SUCCEEDED, message, None)

    def _end(self, reason: Reason, message: str, progress: Progress | None) -> Turn:
        self._new = self._new.model_copy(update={"step": None, "finished_at": self._now})
        if self.under_way:
            self._set("Executing", False, reason, message)
            self._set("Reserved", False, reason, "its room is released")
        return self._result(progress=progress)

    def _reserved(self) -> bool:
        """Record who keeps the room; whether evictions may go on."""
        enforcement = self._ask.enforcement
        if not enforcement.expected:
            self._set("Reserved", False, Reason.BEST_EFFORT, Reason.BEST_EFFORT.sentence)
            return True
        if not enforcement.missing:
            self._set("Reserved", True, Reason.RESERVED, Reason.RESERVED.sentence)
            return True
        had = holds_true(self._old.conditions, "Reserved")
        reason = Reason.RESERVATION_LOST if had else Reason.RESERVING
        self._set("Reserved", False, reason, f"not by {', '.join(enforcement.missing)}"[:4096])
        return False

    @property
    def _allowed_seconds(self) -> float:
        return duration_milliseconds(self._plan.spec.step_timeout) / 1000

    def _where(self) -> str:
        done, total = self._new.steps_done or 0, len(self._plan.spec.steps)
        return f"step {done + 1} of {total} is under way"

    def _unfinished(self, progress: Progress, passing: tuple[Objection, ...]) -> str:
        left = [f"{pod.ref} is not evicted" for pod in progress.to_evict]
        left += [f"{pod.ref} is still terminating" for pod in progress.leaving]
        left += [f"{pod.ref} has not arrived on {hold.node}" for hold, pod in progress.awaited]
        left += [each.message for each in passing]
        missing = self._ask.enforcement.missing
        left += [f"its room is not kept by {', '.join(missing)}"] if missing else []
        shown = "; ".join(left[:5]) + (f"; and {len(left) - 5} more" if len(left) > 5 else "")
        return f"{self._where()} since {self._plan.spec.step_timeout}: {shown}"[:4096]

    def _validated(self, objection: Objection | None) -> None:
        if objection is None:
            self._set("Validated", True, Reason.PLAN_VALID, Reason.PLAN_VALID.sentence)
        else:
            self._set("Validated", False, objection.reason, objection.message)

    def _waits(self, reason: Reason, message: str) -> None:
        self._set("Succeeded", False, reason, message)

    def _set(self, kind: str, status: bool, reason: Reason, message: str) -> None:
        condition = Condition(
            type=kind,
            status="True" if status else "False",
            observed_generation=self._plan.metadata.generation,
            last_transition_time=self._now,
            reason=reason.value,
            message=message,
        )
        conditions = with_condition(self._new.conditions, condition)
        self._new = self._new.model_copy(update={"conditions": conditions})

    def _result(
        self,
        *,
        evict: tuple[Pod, ...] = (),
        drain: tuple[tuple[EnginePool, Pod], ...] = (),
        progress: Progress | None = None,
        again: float | None = None,
    ) -> Turn:
        if self._new != self._old:
            return Turn(self._new, settled=False, progress=progress, again=0.0, seen=self._seen)
        return Turn(self._new, True, evict, drain, progress, again, self._seen)
