"""What has to be done about the drains of a pool: begun, reported on, removed.

Called by the serving controller each turn with what it has just seen. Gateways carry drains out by
themselves, from the InstanceDrain or from a pod that terminates; here is only said who is to drain
and how far each one is. An instance is *drained* once every gateway of the pool says that it sends
it nothing new and has no request on it, or once the drain's deadline is over: requests that can't
be moved are waited for, never for good. Who evicts a pod asks again until it may; when its drain is
older than its deadline and some minutes, nobody does any more, and the engine serves again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairstow.api import InstanceDrain, InstanceDrainSpec, InstanceDrainStatus, ObjectMeta, Reason
from fairstow.api import ServingPool as Pool
from fairstow.api.fields import duration_milliseconds
from fairstow.api.instance_drain import Cause
from fairstow.api.model import OwnerReference
from fairstow.api.status import Condition, condition, conditions_of, with_condition
from fairstow.cluster.times import seconds, written
from fairstow.serving.wire import Ledger, State
from fairstow.serving.workloads import EnginePod

ABANDONED_SECONDS = 300
"""After its deadline, until nobody is taken to evict the pod any more."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A pool at one moment.

    Attributes:
        ledgers: by gateway; None for one that doesn't answer.
        now: seconds since 1970.
    """

    pool: Pool
    pods: tuple[EnginePod, ...]
    drains: tuple[InstanceDrain, ...]
    ledgers: Mapping[str, Ledger | None]
    now: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do. Attributes: report: the status of each drain that changed."""

    create: tuple[InstanceDrain, ...]
    delete: tuple[InstanceDrain, ...]
    report: tuple[tuple[InstanceDrain, InstanceDrainStatus], ...]


@dataclass(frozen=True)
class _Count:
    """What the gateways say of one instance."""

    remaining: int
    pinned: int
    moved: int
    recomputed: int
    silent: tuple[str, ...]
    busy: tuple[str, ...]


def decide(seen: Seen) -> Decision:
    """Say what a pool's drains need now; saying it twice changes nothing more."""
    there = {pod.uid: pod for pod in seen.pods}
    gone = tuple(drain for drain in seen.drains if not _wanted(drain, seen, there))
    kept = tuple(drain for drain in seen.drains if drain not in gone)
    known = {drain.spec.pod_uid for drain in kept}
    create = tuple(
        begin(seen.pool, pod.name, pod.uid, "Cordon")
        for pod in seen.pods
        if pod.cordoned and not pod.terminating and pod.uid not in known
    )
    reports = ((drain, status_of(drain, seen)) for drain in kept)
    changed = tuple((drain, status) for drain, status in reports if status != drain.status)
    return Decision(create=create, delete=gone, report=changed)


def _wanted(drain: InstanceDrain, seen: Seen, there: Mapping[str, EnginePod]) -> bool:
    """Whether a drain still has an object: its pod is there, and what it was begun for holds."""
    pod = there.get(drain.spec.pod_uid)
    if pod is None:
        return False
    if pod.terminating:
        return True
    match drain.spec.cause:
        case "Cordon":
            return pod.cordoned
        case "Eviction" | "Packing":
            return seen.now < deadline(drain, seen.pool, seen.now) + ABANDONED_SECONDS
    return True


def begin(
    pool: Pool, pod: str, uid: str, cause: Cause, *, replicas: int | None = None
) -> InstanceDrain:
    """Return a drain of a pod to be made; one for scaling says how many replicas there are."""
    made = drain_of(pool.metadata.namespace or "", pool.metadata.name, pod, uid, cause)
    spec = made.spec.model_copy(update={"from_replicas": replicas})
    return made.model_copy(update={"spec": spec})


def drain_of(
    namespace: str, pool: str, pod: str, uid: str, cause: Cause, *owners: OwnerReference
) -> InstanceDrain:
    """Return a drain of a pod to be made: one name for each pod, so that it is made once.

    A pod's uid ends its name, since a StatefulSet makes pods of the same name anew. Once its
    owners are gone, Kubernetes removes the drain.
    """
    meta = ObjectMeta(
        name=f"{pod[:240]}-{uid[:8]}", namespace=namespace, owner_references=owners or None
    )
    return InstanceDrain(
        kind="InstanceDrain",
        metadata=meta,
        spec=InstanceDrainSpec(pool=pool, pod_name=pod, pod_uid=uid, cause=cause),
    )


def status_of(drain: InstanceDrain, seen: Seen) -> InstanceDrainStatus:
    """Return how far a drain is; once drained it stays so."""
    counted = _counted(drain.spec.pod_uid, seen.ledgers)
    before = drain.status or InstanceDrainStatus()
    drained = condition(conditions_of(drain), "Drained")
    if drained is not None and drained.status == "True":
        reason, holds, said = drained.reason, True, drained.message
    else:
        reason, holds, said = _judged(drain, counted, seen)
    new = Condition(
        type="Drained",
        status="True" if holds else "False",
        observed_generation=drain.metadata.generation,
        last_transition_time=written(seen.now),
        reason=reason,
        message=said,
    )
    return InstanceDrainStatus(
        started_at=before.started_at or written(seen.now),
        remaining=counted.remaining,
        pinned=counted.pinned,
        moved=counted.moved,
        recomputed=counted.recomputed,
        conditions=with_condition(before.conditions, new),
        observed_generation=drain.metadata.generation,
    )


def _counted(uid: str, ledgers: Mapping[str, Ledger | None]) -> _Count:
    there = [ledger for ledger in ledgers.values() if ledger is not None]
    mine = [r for ledger in there for r in ledger.requests if r.instance == uid]
    entries = [(ledger, e) for ledger in there for e in ledger.instances if e.name == uid]
    return _Count(
        remaining=len(mine),
        pinned=sum(bool(request.pinned) for request in mine),
        moved=sum(entry.moved for _, entry in entries),
        recomputed=sum(entry.recomputed for _, entry in entries),
        silent=tuple(sorted(name for name, ledger in ledgers.items() if ledger is None)),
        busy=tuple(ledger.gateway for ledger, e in entries if e.state is State.SERVING),
    )


def _judged(drain: InstanceDrain, counted: _Count, seen: Seen) -> tuple[str, bool, str]:
    if not seen.ledgers:
        return Reason.NO_GATEWAY, True, "no gateway serves the pool, so none has requests there"
    if seen.now >= deadline(drain, seen.pool, seen.now):
        left = requests(counted.remaining)
        return Reason.DEADLINE_OVER, True, f"the deadline is over; {left} were on the instance"
    if counted.silent:
        said = f"gateways don't answer: {', '.join(counted.silent)}; asking again"
        return Reason.GATEWAY_SILENT, False, said
    if counted.busy:
        said = f"gateways don't know of the drain yet: {', '.join(counted.busy)}"
        return Reason.REQUESTS_REMAIN, False, said
    if counted.remaining:
        pinned = f", {counted.pinned} of them can't be moved and have to end"
        said = f"{requests(counted.remaining)} on the instance"
        return Reason.REQUESTS_REMAIN, False, said + (pinned if counted.pinned else "")
    return Reason.DRAINED, True, "no request is on the instance"


def requests(number: int) -> str:
    """Return `1 request`, `2 requests`."""
    return f"{number} request{'' if number == 1 else 's'}"


def deadline(drain: InstanceDrain, pool: Pool, now: int) -> int:
    """Return when a drain's waiting ends, in seconds since 1970; it runs from the drain's start."""
    started = seconds((drain.status and drain.status.started_at) or "")
    allowed = duration_milliseconds(drain.spec.deadline or pool.spec.drain_deadline)
    return (now if started is None else started) + -(-allowed // 1000)


def drained(drain: InstanceDrain) -> bool:
    """Whether a drain's instance may go."""
    found = condition(conditions_of(drain), "Drained")
    return found is not None and found.status == "True"


def ended(before: InstanceDrain, after: InstanceDrainStatus) -> str | None:
    """Return why a drain's instance may go now, None if it may not or could before."""
    found = condition(after.conditions, "Drained")
    over = found is not None and found.status == "True" and not drained(before)
    return found.reason if found and over else None
