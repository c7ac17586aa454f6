"""How many replicas a ServingPool's workload should have, and how one of them goes.

Called by the serving controller each turn. The rule is the policy's (`freeness_scaling`), which the
simulator plays, too. Here it is bound to a workload: everything that is under way is in objects of
the cluster, so that whoever takes over after a crash goes on, or undoes.

    out     the scale is raised by one
    in      1. the victim is marked to go first          (Deployments; the others' last one goes)
            2. it drains: an InstanceDrain with cause Scaling says from how many replicas
            3. once it is drained, and the scale is still what it was, that is lowered by one
            4. its pod goes, and its drain with it

A scale-in is undone (the drain deleted, the mark removed) when the load returns, the workload or
its scale was changed by others, another pod goes before it, or requests that can't be moved outlast
the drain's deadline: nobody's request is cut off to save a replica. It is one at a time.

Bounds are the workload's: instances of the pool that aren't its pods, or that drain for another
reason, shift what the policy counts. A drain that leaves too little room asks for one more replica
as any load does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fairstow.api import InstanceDrain, Reason
from fairstow.api.fields import duration_milliseconds
from fairstow.api.serving_pool import Scaling
from fairstow.api.status import condition, conditions_of
from fairstow.cluster.times import seconds, written
from fairstow.serving.drains import ABANDONED_SECONDS, Seen, begin, deadline, drained
from fairstow.serving.merged import merged
from fairstow.serving.model import InstanceView, PoolView, State
from fairstow.serving.policies import Settings, policy
from fairstow.serving.policies.baselines import requests_on
from fairstow.serving.policies.freeness_scaling import FreenessScaling
from fairstow.serving.wire import Ledger
from fairstow.serving.workloads import EnginePod, next_to_go

_STEPS = 1_000_000
"""The status holds no more."""


@dataclass(frozen=True)
class Workload:
    """Attributes: replicas: that its scale asks for; version: of that, so that it isn't stale."""

    replicas: int
    version: str = ""


@dataclass(frozen=True)
class Obstacle:
    """Why the workload can't be scaled by us."""

    reason: Reason
    said: str


@dataclass(frozen=True)
class Happened:
    """What people are told. Attributes: reason: counted, too."""

    reason: Reason
    said: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, in this order; each may be missing.

    Attributes:
        end: drains to be deleted.
        unmark, mark: pods whose annotations change.
        begin: a drain to be made.
        replicas: what the scale becomes.
        happened: what is then so.
        reason, said: of the condition; it holds where `scales`.
        freeness, desired, scaled_at, idle_since: of the status.
    """

    reason: Reason
    said: str
    scales: bool = True
    unmark: tuple[EnginePod, ...] = ()
    mark: tuple[EnginePod, ...] = ()
    end: tuple[InstanceDrain, ...] = ()
    begin: InstanceDrain | None = None
    replicas: int | None = None
    happened: Happened | None = None
    freeness: int | None = None
    desired: int | None = None
    scaled_at: str | None = None
    idle_since: str | None = None


def freeness(seen: Seen) -> int | None:
    """Return a pool's freeness in steps; None where nobody knows it, or there is no instance."""
    view = _view(seen)
    if view is None or not view.instances:
        return None
    return _clamped(_rule(seen, None).freeness(view))


def decide(seen: Seen, target: Workload | Obstacle | None) -> Decision | None:
    """Say what scaling needs now. Args: target: None where the pool isn't scaled.

    Returns None where there is nothing to do and nothing to say.
    """
    scaling = seen.pool.spec.scaling
    drains = [each for each in seen.drains if each.spec.cause == "Scaling"]
    if scaling is None or target is None:
        decision = Decision(reason=Reason.WITHIN_BOUNDS, said="", scales=False)
        return _undone(seen, decision, drains) if drains or _marked(seen, ()) else None
    if isinstance(target, Obstacle):
        stopped = Decision(reason=target.reason, said=target.said, scales=False)
        return _undone(seen, stopped, drains)
    turn = _Turn(seen, scaling, target)
    # A pod that terminates takes its drain with it, and nobody waits for that.
    gone = {pod.uid for pod in seen.pods if pod.terminating}
    there = {pod.uid for pod in seen.pods} - gone
    under_way = [each for each in drains if each.spec.pod_uid in there]
    decision = turn.go_on(under_way[0]) if under_way else turn.decide()
    # What a predecessor left: drains beside the one under way, marks that no drain accounts for.
    kept = gone | {each.spec.pod_uid for each in under_way[:1] if each not in decision.end}
    kept |= {decision.begin.spec.pod_uid} if decision.begin else set()
    return replace(
        decision,
        end=(*decision.end, *under_way[1:]),
        unmark=_marked(seen, kept),
        freeness=freeness(seen),
        desired=target.replicas if decision.replicas is None else decision.replicas,
    )


def _undone(seen: Seen, decision: Decision, drains: Iterable[InstanceDrain]) -> Decision:
    return replace(decision, end=tuple(drains), unmark=_marked(seen, ()), freeness=freeness(seen))


def _marked(seen: Seen, but: Iterable[str]) -> tuple[EnginePod, ...]:
    wanted = set(but)
    return tuple(pod for pod in seen.pods if pod.marked and pod.uid not in wanted)


def _view(seen: Seen) -> PoolView | None:
    """Return the pool's view; None where a gateway is missing in it."""
    ledgers = [each for each in seen.ledgers.values() if isinstance(each, Ledger)]
    if not ledgers or len(ledgers) < len(seen.ledgers):
        return None
    return merged(ledgers, seen.now)


def _rule(seen: Seen, scaling: Scaling | None, *, shift: int = 0) -> FreenessScaling:
    settings = Settings()
    if scaling is not None:
        settings = Settings(
            least=max(0, scaling.min_replicas + shift),
            most=max(0, scaling.max_replicas + shift),
            out_below=scaling.out_below_steps,
            in_above=scaling.in_above_steps,
        )
    rule = policy(seen.pool.spec.dispatch, settings).scaler
    assert isinstance(rule, FreenessScaling)
    return rule


def _clamped(steps: float) -> int:
    return round(max(-_STEPS, min(_STEPS, steps)))


class _Turn:
    """One decision about a workload that may be scaled."""

    def __init__(self, seen: Seen, scaling: Scaling, target: Workload) -> None:
        self._seen, self._scaling, self._target = seen, scaling, target
        ref = scaling.target_ref
        self._kind, self._ref = ref.kind, f"{ref.kind}/{ref.name}"
        self._members = [
            p for p in seen.pods if p.place.workload == self._ref and not p.terminating
        ]
        status = seen.pool.status
        self._scaled_at = status.scaled_at if status else None
        self._idle_since = status.idle_since if status else None

    def decide(self) -> Decision:
        """Decide where no scale-in is under way."""
        bounds, now = self._scaling, self._target.replicas
        if now < bounds.min_replicas:
            return self._out(bounds.min_replicas, f"at least {bounds.min_replicas}")
        view = _view(self._seen)
        if view is None:
            return self._blind()
        if any(not each.capacity for each in view.instances):
            return self._still(Reason.CAPACITY_UNKNOWN, Reason.CAPACITY_UNKNOWN.sentence, no=True)
        if now > bounds.max_replicas:
            return self._in(view, f"{now} instances, at most {bounds.max_replicas}")
        return self._by_load(view)

    def _by_load(self, view: PoolView) -> Decision:
        now = self._target.replicas
        ready = sum(each.state is State.READY for each in view.instances)
        starting = self._starting(view)
        view.starting = starting
        view.scaled = seconds(self._scaled_at or "") or float("-inf")
        rule = _rule(self._seen, self._scaling, shift=ready + starting - now)
        asked = rule.scale(view)
        if asked is None:
            return self._settled(view, rule, ready)
        if asked.desired > ready + starting:
            return self._out(now + 1, asked.reason)
        since = seconds(self._idle_since or "")
        waits = duration_milliseconds(self._scaling.in_after) / 1000
        if since is not None and self._seen.now - since >= waits:
            return self._in(view, asked.reason)
        idle = self._idle_since or written(self._seen.now)
        said = f"one instance less would do; it goes if that is still so {self._scaling.in_after} "
        return replace(self._still(Reason.IDLE, said + f"after {idle}"), idle_since=idle)

    def _settled(self, view: PoolView, rule: FreenessScaling, ready: int) -> Decision:
        """Say why nothing changes."""
        if view.starting:
            said = f"{view.starting} of {view.starting + ready} instances haven't started yet"
            return self._still(Reason.STARTING, said)
        short = (view.instances or view.waiting) and rule.freeness(view) < rule.low
        if short and self._target.replicas >= self._scaling.max_replicas:
            return self._still(Reason.AT_MAXIMUM, Reason.AT_MAXIMUM.sentence)
        return self._still(Reason.WITHIN_BOUNDS, Reason.WITHIN_BOUNDS.sentence)

    def _starting(self, view: PoolView) -> int:
        """Count the workload's instances that serve nothing yet and aren't about to go."""
        known = {each.name for each in view.instances}
        draining = {each.spec.pod_uid for each in self._seen.drains}
        missing = max(0, self._target.replicas - len(self._members))
        return missing + sum(p.uid not in known | draining for p in self._members)

    def _out(self, replicas: int, why: str) -> Decision:
        said = f"{self._ref}: {self._target.replicas} → {replicas} replicas: {why}"
        return Decision(
            reason=Reason.SCALING_OUT,
            said=said,
            replicas=replicas,
            happened=Happened(Reason.SCALED_OUT, said),
            scaled_at=written(self._seen.now),
        )

    def _in(self, view: PoolView, why: str) -> Decision:
        """Begin to remove one."""
        if len({p.place.revision for p in self._members}) > 1:
            return self._still(Reason.TARGET_CHANGING, Reason.TARGET_CHANGING.sentence, idle=True)
        if len(self._members) != self._target.replicas:
            said = f"{self._ref} has {len(self._members)} pods and is to have "
            said += f"{self._target.replicas}"
            return self._still(Reason.TARGET_CHANGING, said, idle=True)
        victim = self._next(view)
        if victim is None or victim.uid in {each.spec.pod_uid for each in self._seen.drains}:
            said = "the instance that would be removed drains for another reason"
            return self._still(Reason.IDLE, said, idle=True)
        drain = begin(
            self._seen.pool, victim.name, victim.uid, "Scaling", replicas=self._target.replicas
        )
        said = f"{victim.name} is drained and then removed: {why}"
        return replace(
            self._still(Reason.SCALING_IN, said),
            begin=drain,
            mark=(victim,) if self._kind == "Deployment" else (),
            happened=Happened(Reason.SCALING_IN, said),
        )

    def _next(self, view: PoolView) -> EnginePod | None:
        found = {each.name: requests_on(each) for each in view.instances}
        return next_to_go(self._kind, self._members, lambda pod: found.get(pod.uid, 0))

    def go_on(self, drain: InstanceDrain) -> Decision:
        """Decide where an instance is on its way out."""
        before, now = drain.spec.from_replicas, self._target.replicas
        victim = next((p for p in self._members if p.uid == drain.spec.pod_uid), None)
        name = drain.spec.pod_name
        if victim is None:
            return self._cancel(drain, f"{name} is no pod of {self._ref}")
        if now == before:
            return self._prepared(drain, victim)
        if before is None or now != before - 1:
            return self._cancel(drain, f"{self._ref} was set to {now} replicas by somebody else")
        return self._lowered(drain, name)

    def _prepared(self, drain: InstanceDrain, victim: EnginePod) -> Decision:
        """Before the scale is lowered: go on, or undo."""
        why = self._unwanted(drain, victim)
        if why:
            return self._cancel(drain, why)
        mark = (victim,) if self._kind == "Deployment" and not victim.marked else ()
        if mark or not drained(drain):
            said = f"{victim.name} hands its requests over and is removed then"
            return replace(self._still(Reason.SCALING_IN, said), mark=mark)
        lower = self._target.replicas - 1
        said = f"{self._ref}: {self._target.replicas} → {lower} replicas: {victim.name} is drained"
        return replace(
            self._still(Reason.SCALING_IN, said),
            replicas=lower,
            happened=Happened(Reason.SCALED_IN, said),
            scaled_at=written(self._seen.now),
        )

    def _unwanted(self, drain: InstanceDrain, victim: EnginePod) -> str:
        """Return why the instance had better stay, "" if it may go."""
        if self._target.replicas <= self._scaling.min_replicas:
            return f"{self._ref} has at least {self._scaling.min_replicas} replicas"
        if len({p.place.revision for p in self._members}) > 1:
            return Reason.TARGET_CHANGING.sentence
        found = condition(conditions_of(drain), "Drained")
        if found is not None and found.status == "True" and found.reason != Reason.DRAINED:
            return f"{victim.name} can't be drained: {found.message}"
        view = _view(self._seen)
        if view is None:
            return ""  # the drain waits for the gateways, too, and no longer than its deadline
        view.starting = self._starting(view)
        rule = _rule(self._seen, self._scaling)
        others = [each for each in view.instances if each.name != victim.uid]
        short = rule.freeness(_draining(view, victim.uid)) < rule.low
        allowed = self._target.replicas <= self._scaling.max_replicas
        if short and allowed and self._busy(view, others):
            return "the load returned"
        first = self._next(view)
        if drained(drain) and first is not None and first is not victim and victim.marked:
            return f"{self._ref} would remove {first.name} instead of {victim.name}"
        return ""

    @staticmethod
    def _busy(view: PoolView, others: Iterable[InstanceView]) -> bool:
        return bool(view.waiting) or any(requests_on(each) for each in others)

    def _lowered(self, drain: InstanceDrain, name: str) -> Decision:
        """After the scale was lowered: see that the right pod goes."""
        if len(self._members) <= self._target.replicas:
            said = f"{self._ref} removed another pod than {name}, which serves again"
            happened = Happened(Reason.WRONG_POD_REMOVED, said, warning=True)
            return replace(self._cancel(drain, said), happened=happened)
        over = deadline(drain, self._seen.pool, self._seen.now) + ABANDONED_SECONDS
        if self._seen.now >= over:
            return self._cancel(drain, f"{self._ref} removes no pod")
        return self._still(Reason.SCALING_IN, f"{name} is drained; {self._ref} has to remove it")

    def _cancel(self, drain: InstanceDrain, why: str) -> Decision:
        said = f"{drain.spec.pod_name} serves again: {why}"
        return replace(
            self._still(Reason.WITHIN_BOUNDS, said),
            end=(drain,),
            happened=Happened(Reason.SCALE_IN_CANCELLED, said),
        )

    def _blind(self) -> Decision:
        if not self._seen.ledgers:
            return self._still(Reason.NO_GATEWAY, Reason.NO_GATEWAY.sentence, no=True)
        return self._still(Reason.GATEWAY_SILENT, Reason.GATEWAY_SILENT.sentence, no=True)

    def _still(
        self, reason: Reason, said: str, *, no: bool = False, idle: bool = False
    ) -> Decision:
        return Decision(
            reason=reason,
            said=said,
            scales=not no,
            scaled_at=self._scaled_at,
            idle_since=self._idle_since if idle else None,
        )


def _draining(view: PoolView, name: str) -> PoolView:
    """Return the pool as it is once everybody knows that an instance drains."""
    instances = [
        replace(each, state=State.DRAINING) if each.name == name else each
        for each in view.instances
    ]
    return replace(view, instances=instances)
