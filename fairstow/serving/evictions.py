"""Whether an engine's pod may be evicted now, or has to hand its requests over first.

Called by the webhook for every eviction, before disruption budgets are looked at. Who is told to
wait asks again, as `kubectl drain` does every five seconds. Nobody waits for good: a drain is over
at its deadline, and by its age where nobody carries drains out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fairstow.api import InstanceDrain, ServingPool
from fairstow.api.fields import duration_milliseconds
from fairstow.cluster.selectors import selector, selects
from fairstow.cluster.times import seconds
from fairstow.serving.drains import begin, drained, requests
from fairstow.serving.instances import of_pool


@dataclass(frozen=True, kw_only=True)
class Victim:
    """The pod that somebody evicts."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Attributes: wait: why the pod has to wait, "" if it may go; begin: the drain to make."""

    wait: str = ""
    begin: InstanceDrain | None = None


def judge(
    victim: Victim, pools: Iterable[ServingPool], drains: Iterable[InstanceDrain], now: int
) -> Answer:
    """Say whether a pod may be evicted. Args: now: seconds since 1970."""
    known = tuple(drains)
    for pool in pools:
        if pool.metadata.namespace != victim.namespace:
            continue
        if not selects(selector(pool.spec.engines.selector), victim.labels):
            continue
        mine = [each for each in of_pool(known, pool) if each.spec.pod_uid == victim.uid]
        if not mine:
            said = f"it hands its requests over first: InstanceDrain of ServingPool {_ref(pool)}"
            made = begin(pool, victim.name, victim.uid, "Eviction")
            return Answer(wait=said, begin=made)
        if not any(drained(each) or _overdue(each, pool, now) for each in mine):
            return Answer(wait=_progress(mine[0]))
    return Answer()


def _overdue(drain: InstanceDrain, pool: ServingPool, now: int) -> bool:
    """Whether a drain is older than its deadline: then nobody carries it out."""
    made = seconds(drain.metadata.creation_timestamp or "")
    allowed = duration_milliseconds(drain.spec.deadline or pool.spec.drain_deadline)
    return made is not None and now - made > allowed / 1000


def _progress(drain: InstanceDrain) -> str:
    name = f"InstanceDrain {drain.metadata.namespace}/{drain.metadata.name}"
    status = drain.status
    if status is None or status.remaining is None:
        return f"{name} has just begun"
    pinned = f", {status.pinned} of them can't be moved" if status.pinned else ""
    return f"{name}: {requests(status.remaining)} on it still{pinned}"


def _ref(pool: ServingPool) -> str:
    return f"{pool.metadata.namespace}/{pool.metadata.name}"
