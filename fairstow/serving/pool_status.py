"""A ServingPool's status: what is in the pool now, in numbers a person reads.

Called by the serving controller each turn.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairstow.api import Reason, ServingPoolStatus
from fairstow.api.status import Condition, conditions_of, with_condition
from fairstow.cluster.times import written
from fairstow.serving.drains import Seen
from fairstow.serving.room import spare_instances
from fairstow.serving.scaling import Decision, freeness
from fairstow.serving.visible import engines, migrations
from fairstow.serving.wire import InstanceEntry, Ledger, Phase, State

_RECOMPUTE = "Recompute"


def pool_status(seen: Seen, scaling: Decision | None = None) -> ServingPoolStatus:
    """Return a pool's status; conditions keep their times where they still hold.

    Args:
        seen: the pool.
        scaling: what was decided of its workload.
    """
    ledgers = [ledger for ledger in seen.ledgers.values() if ledger is not None]
    requests = [request for ledger in ledgers for request in ledger.requests]
    there = {pod.uid for pod in seen.pods}
    draining = {drain.spec.pod_uid for drain in seen.drains}
    draining |= {pod.uid for pod in seen.pods if pod.terminating}
    conditions = conditions_of(seen.pool)
    for each in _conditions(seen, ledgers):
        conditions = with_condition(conditions, each)
    if seen.pool.spec.scaling is None:
        conditions = tuple(each for each in conditions if each.type != "Scaling")
    elif scaling is not None:
        new = _condition(seen, "Scaling", scaling.scales, scaling.reason, scaling.said)
        conditions = with_condition(conditions, new)
    return ServingPoolStatus(
        instances=len(there),
        ready=len(_serving(ledgers) & there),
        draining=len(draining & there),
        gateways=len(ledgers),
        running=sum(request.phase is Phase.RUNNING for request in requests),
        waiting=sum(request.phase is not Phase.RUNNING for request in requests)
        + sum(ledger.asking for ledger in ledgers),
        spare_instances=spare_instances(ledgers, draining),
        freeness_steps=scaling.freeness if scaling else freeness(seen),
        desired_replicas=scaling.desired if scaling else None,
        scaled_at=scaling.scaled_at if scaling else None,
        idle_since=scaling.idle_since if scaling else None,
        engines=engines(seen, ledgers),
        migrations=migrations(seen, ledgers),
        conditions=conditions,
        observed_generation=seen.pool.metadata.generation,
    )


def _serving(ledgers: list[Ledger]) -> set[str]:
    return {e.name for ledger in ledgers for e in ledger.instances if e.state is State.SERVING}


def _conditions(seen: Seen, ledgers: list[Ledger]) -> Iterator[Condition]:
    silent = sorted(name for name, ledger in seen.ledgers.items() if ledger is None)
    if not seen.ledgers:
        ready = Reason.NO_GATEWAY, "the chart's values gateways[] name the pools that have one"
    elif not ledgers:
        ready = Reason.GATEWAY_SILENT, f"no answer from {', '.join(silent)}"
    elif not _serving(ledgers):
        ready = (
            Reason.NO_INSTANCE,
            _troubles(ledgers) or "its selector matches no pod that is ready",
        )
    else:
        ready = Reason.SERVING, Reason.SERVING.sentence
    yield _condition(seen, "Ready", ready[0] is Reason.SERVING, *ready)
    serving = (e for ledger in ledgers for e in ledger.instances if e.state is State.SERVING)
    entries = [e for e in serving if e.movement]  # what was tried between two engines
    if entries:
        slow = [e for e in entries if e.movement == _RECOMPUTE]
        said = f"{slow[0].url}: {slow[0].problem}" if slow else Reason.MEMORY_MOVES.sentence
        reason = Reason.RECOMPUTES if slow else Reason.MEMORY_MOVES
        yield _condition(seen, "Migrating", not slow, reason, said)


def _troubles(ledgers: list[Ledger]) -> str:
    """Say what keeps engines from serving, each thing once."""
    said: dict[str, InstanceEntry] = {}
    for ledger in ledgers:
        for entry in ledger.instances:
            if entry.problem:
                said.setdefault(entry.problem, entry)
    return "; ".join(f"{entry.url}: {problem}" for problem, entry in list(said.items())[:3])


def _condition(seen: Seen, kind: str, holds: bool, reason: Reason, said: str) -> Condition:
    return Condition(
        type=kind,
        status="True" if holds else "False",
        observed_generation=seen.pool.metadata.generation,
        last_transition_time=written(seen.now),
        reason=reason.value,
        message=said[:1024],
    )
